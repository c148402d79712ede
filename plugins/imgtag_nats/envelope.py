"""Bucket notifications -> hints: the envelopes of MinIO, AWS, RustFS, versitygw and Ceph.

All of them carry S3 event records and wrap them differently:

- MinIO: ``{"EventName", "Key", "Records": [...]}``, key form-encoded in the record, raw in ``Key``
  (https://github.com/minio/minio/blob/master/internal/event/event.go, ToEvent in cmd/event-notification.go);
- AWS: ``{"Records": [...]}``, key form-encoded
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html);
- RustFS: as MinIO, with each record below ``data`` (crates/targets/src/target/nats);
- versitygw: a bare list, key as it is, ``configurationId`` ending in ``-global`` (s3event/event.go);
- Ceph through its Lua example: ``Records`` is one record, key as it is, names without ``s3:``
  (https://github.com/ceph/ceph/blob/main/examples/rgw/lua/nats_adapter.lua).

Whoever may publish on the subject may publish anything, so nothing is believed beyond its type and size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from imgtag.errors import EventError
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef

MAX_BYTES = 1 << 20
"""NATS' own default limit of a message."""
MAX_RECORDS = 1000
MAX_KEY = 1024
"""Bytes of UTF-8 that a key may have in S3."""
MAX_BUCKET = 255
"""Older buckets of AWS have names of up to 255 characters."""
MAX_TEXT = 2048
"""Characters of any other text that is taken over."""
META = "x-amz-meta-"
IGNORED = ("ObjectAccessed:", "Scanner:", "BucketCreated:", "BucketRemoved:", "TestEvent")
"""Events that say nothing of an object. Our own reading makes ObjectAccessed: answered, it would never end."""
REMOVED = ("ObjectRemoved:", "LifecycleExpiration:", "LifecycleDelMarkerExpiration:")
RAW = "ceph:s3"
"""The event source that does not encode keys."""


def parse(data: bytes) -> list[Hint]:
    """The hints of one message; none where it speaks of no object. Raises EventError."""
    message = _json(data)
    if isinstance(message, list):
        message = {"Records": message}
    if not isinstance(message, dict):
        raise EventError("the message is no object of JSON")
    if "Records" not in message and _text(message.get("Event")):
        return []
    records = _records(message)
    # Said once for the whole message, so it can only be told whose it is where there is one record.
    whole = message.get("Key") if len(records) == 1 else None
    hints = [_hint(record, whole) for record in records]
    return [hint for hint in hints if hint is not None]


def _json(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise EventError(f"the message has {len(data)} bytes; {MAX_BYTES} are the limit")
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise EventError("the message is nested too deeply") from None
    except ValueError as error:
        raise EventError(f"the message is no JSON: {str(error)[:200]}") from None


def _records(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = message.get("Records")
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not found:
        raise EventError("the message has no Records")
    if len(found) > MAX_RECORDS:
        raise EventError(f"the message has {len(found)} records; {MAX_RECORDS} are the limit")
    return [_record(each) for each in found]


def _record(record: Any) -> Mapping[str, Any]:
    inner = record.get("data", record) if isinstance(record, dict) else record
    if not isinstance(inner, dict):
        raise EventError("a record is no object of JSON")
    return inner


def _hint(record: Mapping[str, Any], whole: Any) -> Hint | None:
    name = record.get("eventName")
    if not isinstance(name, str):
        raise EventError("a record has no eventName")
    name = name.removeprefix("s3:")
    if name.startswith(IGNORED):
        return None
    s3 = _mapping(record, "s3")
    thing = _mapping(s3, "object")
    version = _text(thing.get("versionId"))
    return Hint(
        ref=_ref(record, s3, whole),
        removed=name.startswith(REMOVED),
        version=None if version == "null" else version,  # how S3 calls what has no version
        sequencer=_text(thing.get("sequencer")),
        etag=(_text(thing.get("eTag")) or "").strip('"') or None,
        metadata=_metadata(thing.get("userMetadata")),
        at=_time(record.get("eventTime")),
    )


def _ref(record: Mapping[str, Any], s3: Mapping[str, Any], whole: Any) -> ObjectRef:
    bucket = _mapping(s3, "bucket").get("name")
    key = _mapping(s3, "object").get("key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise EventError("a record has no bucket name, or no key")
    if isinstance(whole, str) and whole.startswith(f"{bucket}/"):
        key = whole.removeprefix(f"{bucket}/")
    elif _encodes_keys(record, s3):
        key = _decoded(key)
    if not 0 < _size(bucket) <= MAX_BUCKET or "/" in bucket:
        raise EventError(f"{bucket[:80]!r} is no name of a bucket")
    if not 0 < _size(key) <= MAX_KEY:
        raise EventError(f"a key has 1 to {MAX_KEY} bytes, this one {_size(key)}: {key[:80]!r}")
    return ObjectRef(bucket, key)


def _encodes_keys(record: Mapping[str, Any], s3: Mapping[str, Any]) -> bool:
    """Versitygw calls itself ``aws:s3``; only its configuration id gives it away."""
    return record.get("eventSource") != RAW and not str(s3.get("configurationId")).endswith("-global")


def _decoded(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise EventError(f"the key is not UTF-8: {key[:80]!r}") from None


def _size(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise EventError("a name has half of a character in it") from None


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = parent.get(name)
    if not isinstance(found, dict):
        raise EventError(f"a record has no {name}")
    return found


def _text(value: Any) -> str | None:
    """A text that is worth taking; what else may stand there is left out, for the store knows better."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


def _metadata(value: Any) -> Mapping[str, str] | None:
    """User metadata; MinIO mixes it with headers such as ``content-type``, which are left out."""
    if not isinstance(value, dict):
        return None
    found = ((name.lower(), text) for name, text in value.items() if text == "" or _text(text))
    return {name.removeprefix(META): text for name, text in found if name.startswith(META)}


def _time(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
