"""Headers of an object, as servers show them, and what is read from them."""

from datetime import UTC, datetime, timedelta

import pytest

from imgtag.types.ref import ObjectRef
from imgtag_s3.state import Native, decode_words, parse_state

REF = ObjectRef("photos", "a.jpg")
BASE = {"ETag": '"9e10"', "Last-Modified": "Mon, 01 Jul 2024 20:24:06 GMT", "Content-Type": "image/jpeg"}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _state(headers, write_on=()):
    return parse_state(REF, {**BASE, **headers}, {}, size=7, write_on=frozenset(write_on))


def test_plain_object():
    """ETag without quotes, size, time and type; no version, no lock."""
    state = _state({})

    assert (state.etag, state.size, state.modified, state.content_type) == ("9e10", 7, 1719865446.0, "image/jpeg")
    assert (state.version, state.readonly, state.unreadable) == (None, None, None)


@pytest.mark.parametrize(("shown", "version"), [("null", None), ("3f2a", "3f2a")])
def test_version(shown, version):
    """`null` is no version."""
    assert _state({"x-amz-version-id": shown}).version == version


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        ("plain", "plain"),
        ("=?UTF-8?q?caf=C3=A9?=", "café"),
        ("=?UTF-8?b?WsO8cmljaA==?=", "Zürich"),
        ("=?UTF-8?b?WsO8?= =?UTF-8?b?cmljaA==?=", "Zürich"),
        ("=?nonsense?q?x?=", "=?nonsense?q?x?="),
        ("a=?b", "a=?b"),
        ("Zürich", "Zürich"),
    ],
)
def test_metadata(shown, value):
    """RFC 2047 words and raw UTF-8 are read; the words are kept as they came for sending them again."""
    state = _state({"X-Amz-Meta-Place": shown})
    native: Native = state.native

    assert state.metadata == {"place": value}
    assert native.raw["place"] == shown


def test_bytes_that_are_no_utf8():
    """What is neither ASCII nor UTF-8 is shown somehow, and is told apart when it is to be sent."""
    state = _state({"x-amz-meta-place": "caf\udce9"})

    with pytest.raises(UnicodeEncodeError):
        state.native.raw["place"].encode()


LOCKS = [
    ({"x-amz-object-lock-legal-hold": "ON"}, "legal_hold"),
    ({"x-amz-object-lock-legal-hold": "OFF"}, None),
    ({"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": TOMORROW}, "retention"),
    ({"x-amz-object-lock-mode": "COMPLIANCE", "x-amz-object-lock-retain-until-date": "2020-01-01T00:00:00Z"}, None),
    ({"x-amz-replication-status": "REPLICA"}, "replica"),
    ({"x-amz-replication-status": "COMPLETED"}, None),
]


@pytest.mark.parametrize(("headers", "code"), LOCKS)
def test_locks(headers, code):
    """Locks that bind, and replicas, are not written on; unless asked for by name."""
    assert _state(headers).readonly == code
    assert _state(headers, {"retention", "legal_hold", "replica"}).readonly is None


def test_retention_that_is_over_is_not_sent_again():
    """No server takes a date in the past."""
    state = _state(
        {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2020-01-01T00:00:00Z"}
    )

    assert "x-amz-object-lock-mode" not in state.native.headers


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-storage-class": "GLACIER"}, "archived"),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="true"'}, "archived"),
        ({"x-amz-storage-class": "GLACIER", "x-amz-restore": 'ongoing-request="false", expiry-date="..."'}, None),
        ({"x-amz-storage-class": "GLACIER_IR"}, None),
        ({"x-amz-storage-class": "COLD"}, None),
        ({"x-amz-storage-class": "COLD", "Server": "MinIO"}, "archived"),
        ({"x-amz-storage-class": "REDUCED_REDUNDANCY", "Server": "MinIO"}, None),
        ({"x-amz-archive-status": "DEEP_ARCHIVE_ACCESS"}, "archived"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "customer_key"),
    ],
)
def test_unreadable(headers, code):
    """Archives, a MinIO's remote tiers, and objects with a customer's key cannot be read."""
    assert _state(headers).unreadable == code


def test_decoding_never_raises():
    """Whatever stands there is text."""
    assert decode_words("=?utf-8?q?=ff?=") == "=?utf-8?q?=ff?="
