"""Names, subjects and settings."""

import pytest
from pydantic import ValidationError

from imgtag.errors import ConfigError
from imgtag_nats import SPEC
from imgtag_nats.names import Names, covers


def names(site="home", **settings):
    return Names.of(SPEC.settings(**settings), site)


def test_names_follow_from_the_site():
    """Without settings everything is called after the site."""
    derived = names("eu-west")

    assert (derived.subject, derived.stream) == ("imgtag.eu-west.events", "imgtag-eu-west")
    assert derived.durables == {
        "imgtag-eu-west": "imgtag.eu-west.events",
        "imgtag-eu-west-hints": "imgtag.eu-west.hints",
        "imgtag-eu-west-parked": "imgtag.eu-west.parked",
    }


def test_sites_with_dots_stay_apart():
    """A dot in a site's name makes no other token, and no other site's name."""
    assert names("a.b").hints == "imgtag.a=b.hints"


@pytest.mark.parametrize("subject", [">", "imgtag.>", "imgtag.home.*", "*.*.hints", "imgtag.home.parked"])
def test_own_subjects_are_kept_apart(subject):
    """A subject that takes in ours is refused."""
    with pytest.raises(ConfigError, match="uses itself"):
        names(subject=subject)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a.>", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.>", "a.>", True),
        (">", "a.>", True),
        ("*.b", "a.*", False),
        ("*.*", "a.*", True),
        ("a.b.c", "a.b", False),
    ],
)
def test_covers(pattern, subject, expected):
    """A pattern covers what matches nothing that it does not match."""
    assert expected == covers(pattern, subject)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://h"},
        {"url": "nats://"},
        {"url": "nats://user:secret@h"},
        {"url": ""},
        {"subject": "a..b"},
        {"subject": "a.>.b"},
        {"subject": "a b"},
        {"subject": "$JS.API.>"},
        {"stream": "a.b"},
        {"durable": "a*"},
        {"user": "u"},
        {"password": "p"},
        {"user": "u", "password": "p", "token": "t"},
        {"tls_cert": "c.pem"},
        {"nkey_seed": "secret"},
        {"creds": "-----BEGIN NATS USER JWT-----\nsecret"},
        {"ack_wait": 0},
        {"replicas": 6},
        {"unknown": 1},
    ],
)
def test_wrong_settings(settings):
    """What cannot work is refused when the configuration is read, without telling secrets."""
    with pytest.raises(ValidationError) as caught:
        SPEC.settings(**settings)
    assert "secret" not in str(caught.value)


def test_secrets_are_not_shown():
    """Secrets are in no representation of the settings."""
    assert "hush" not in repr(SPEC.settings(user="u", password="hush"))


def test_every_setting_is_documented():
    """Each setting says what it is for."""
    assert [name for name, field in SPEC.settings.model_fields.items() if not field.description] == []
