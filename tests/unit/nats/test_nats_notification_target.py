"""What a source tells stores about where to publish."""

import pytest

from imgtag.plugin import NotificationTarget, PluginContext
from imgtag_nats import SPEC


def target(tmp_path, **settings):
    context = PluginContext(site="home", state_dir=tmp_path)
    return SPEC.load()(SPEC.settings(**settings), context).features.notification_target


@pytest.mark.parametrize("jetstream", [True, False])
def test_all_that_a_publisher_needs(tmp_path, jetstream):
    """One address with its port, one subject, and whether there is JetStream; with it and without."""
    expected = NotificationTarget(
        kind="nats", address="127.0.0.1:4222", subject="imgtag.home.events", jetstream=jetstream, tls=False, needs=()
    )

    assert expected == target(tmp_path, jetstream=jetstream)


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("tls://hub.example, nats://b.example:1", "hub.example:4222", True),
        ("nats://[::1]:4333", "[::1]:4333", False),
    ],
)
def test_address(tmp_path, url, address, tls):
    """The first server of a cluster, with the default port of NATS unless one is named."""
    actual = target(tmp_path, url=url)

    assert (address, tls) == (actual.address, actual.tls)


@pytest.mark.parametrize(("subject", "expected"), [("stores.*.>", "stores.store.store"), ("a.b", "a.b")])
def test_subject_without_wildcards(tmp_path, subject, expected):
    """Nobody can publish on a wildcard, so the target has a subject that it matches."""
    assert expected == target(tmp_path, subject=subject).subject


def test_no_secret_is_told(tmp_path):
    """Only which kinds of credentials are needed."""
    actual = target(tmp_path, user="me", password="s3cret", tls_ca="/ca.pem")

    assert ("user", "tls_ca") == actual.needs
    assert "s3cret" not in str(actual)
    assert "'me'" not in str(actual)
