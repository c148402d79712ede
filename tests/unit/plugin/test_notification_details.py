"""What a notification says exactly: names at their limits, times, texts, and the reason where one is refused."""

from __future__ import annotations

import json
import time

import pytest

from imgtag.errors import EventError
from imgtag.plugin.notifications import MAX_BUCKET, MAX_BYTES, MAX_KEY, MAX_RECORDS, MAX_TEXT, parse
from unit.plugin.test_notifications import AT, hints, keys, message, minio


def in_bucket(name, **changes):
    record = minio(**changes)
    record["s3"]["bucket"]["name"] = name
    return record


def test_the_raw_key_of_the_message_is_the_key():
    """MinIO gives it beside the record, whose own key may be encoded in any way; that of another bucket is not it."""
    assert ["dir/100%.jpg"] == keys(message(minio(key="dir/100%25.jpg?"), Key="bucket/dir/100%.jpg"))
    assert ["dir/100%.jpg"] == keys(message(minio(key="dir/100%25.jpg"), Key="bucket2/dir/100%.jpg"))
    assert ["a b.jpg"] == keys(message(minio(key="a+b.jpg"), Key=7))


def test_a_message_with_records_is_no_test_event():
    """Whatever else it has."""
    assert ["dir/a b.jpg"] == keys(message(minio(), Event="s3:TestEvent"))


@pytest.mark.parametrize("bucket", ["b", "b" * MAX_BUCKET])
@pytest.mark.parametrize("key", ["k", "k" * MAX_KEY, "ü" * (MAX_KEY // 2)])
def test_the_shortest_and_the_longest_names_are_names(bucket, key):
    """In bytes of UTF-8."""
    (hint,) = hints(message(in_bucket(bucket, key=key)))

    assert (bucket, key) == (hint.ref.bucket, hint.ref.key)


def test_as_many_records_as_may_be():
    """One message of a batch."""
    assert MAX_RECORDS == len(hints(message(*[minio(size=...)] * MAX_RECORDS)))


def test_a_message_of_the_greatest_length_is_read():
    """The limit is that of the server."""
    assert ["dir/a b.jpg"] == keys(message(minio()).ljust(MAX_BYTES))


def test_texts_at_their_limit():
    """The longest one is taken over, a longer one is left out; an empty value of user metadata is a value."""
    longest = "x" * MAX_TEXT
    (hint,) = hints(message(minio(eTag=longest, sequencer=longest + "x", userMetadata={"X-Amz-Meta-Empty": ""})))

    assert (longest, None, {"empty": ""}) == (hint.etag, hint.sequencer, hint.metadata)


def test_only_quotes_are_taken_off_an_etag():
    """What else it consists of is the store's business."""
    (hint,) = hints(message(minio(eTag='"X-1"')))

    assert "X-1" == hint.etag


@pytest.mark.parametrize(
    "text", ["2025-10-20T12:34:56.789Z", "2025-10-20T14:34:56.789+02:00", "2025-10-20 12:34:56.789"]
)
def test_a_time_without_a_zone_is_in_utc(monkeypatch, text):
    """Wherever the sidecar runs."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        (hint,) = hints(message(minio() | {"eventTime": text}))
    time.tzset()

    assert AT == hint.at


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"7", "the message is not a JSON object"),
        (b"nothing", "the message is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000 + b"]" * 100_000, "the message is nested too deeply"),
        (b"{}", "the message has no Records"),
        (b'{"Records": [1]}', "a record is not a JSON object"),
        (b'{"Records": [{}]}', "a record has no eventName"),
        (message(minio(key=7)), "a record has no bucket name, or no key"),
        (message(in_bucket(7)), "a record has no bucket name, or no key"),
        (message(minio(key="\ud800")), "a name contains half of a character"),
        (message(in_bucket("a/" + "b" * 100)), "'a/" + "b" * 78 + "' is not a bucket name"),
        (message(minio(key="k" * 1025)), "a key has 1 to 1024 bytes, this one has 1025: '" + "k" * 80 + "'"),
        (message(minio(key="k" * 100 + "%FF")), "the key is not UTF-8: '" + "k" * 80 + "'"),
        (json.dumps([1] * 1001).encode(), "the message has 1001 records; the limit is 1000"),
    ],
)
def test_the_reason_is_one_sentence_with_the_beginning_of_a_long_name(data, reason):
    """An admin reads it in the list of dead letters."""
    with pytest.raises(EventError) as caught:
        parse(data)

    assert reason == caught.value.message
