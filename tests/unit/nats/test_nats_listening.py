"""What is told of us to whoever sets up a store's notifications."""

import pytest

from imgtag.plugin.spec import PluginContext
from imgtag_nats import SPEC


def told(tmp_path, **settings):
    return SPEC.load()(SPEC.settings(**settings), PluginContext(site="home", state_dir=tmp_path)).features.listens


@pytest.mark.parametrize("jetstream", [True, False])
def test_all_that_a_publisher_needs(tmp_path, jetstream):
    """One address with its port, one subject, and whether there is JetStream; with it and without."""
    expected = {"kind": "nats", "address": "127.0.0.1:4222", "subject": "imgtag.home.events", "tls": "off", "needs": ""}

    assert expected | {"jetstream": "on" if jetstream else "off"} == told(tmp_path, jetstream=jetstream)


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("tls://hub.example, nats://b.example:1", "hub.example:4222", "on"),
        ("nats://[::1]:4333", "[::1]:4333", "off"),
    ],
)
def test_address(tmp_path, url, address, tls):
    """The first of a cluster; NATS' own port where none is named."""
    listens = told(tmp_path, url=url)

    assert (address, tls) == (listens["address"], listens["tls"])


@pytest.mark.parametrize(("subject", "expected"), [("stores.*.>", "stores.store.store"), ("a.b", "a.b")])
def test_subject_without_wildcards(tmp_path, subject, expected):
    """Nobody can publish on a wildcard: one that it takes in is told."""
    assert expected == told(tmp_path, subject=subject)["subject"]


def test_no_secret_is_told(tmp_path):
    """Only which kind of them is needed."""
    listens = told(tmp_path, user="me", password="s3cret", tls_ca="/ca.pem")

    assert "user tls_ca" == listens["needs"]
    assert "s3cret" not in str(listens)
    assert "me" not in listens.values()
