"""Bucket notifications -> hints: the envelopes of MinIO, AWS, RustFS, versitygw and Ceph, and those around them.

All of them contain S3 event records and wrap them differently:

- MinIO: ``{"EventName", "Key", "Records": [...]}``, key form-encoded in the record, raw in ``Key``
  (https://github.com/minio/minio/blob/master/internal/event/event.go, ToEvent in cmd/event-notification.go);
- AWS: ``{"Records": [...]}``, key form-encoded
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html);
- RustFS: like MinIO, with each record below ``data`` (crates/targets/src/target/nats);
- versitygw: a bare list, key not encoded, ``configurationId`` ending in ``-global`` (s3event/event.go);
- Ceph: key not encoded (rgw_pubsub_s3_event::dump in src/rgw/rgw_pubsub.cc); through its Lua example ``Records`` is one
  record, and names lack ``s3:`` (https://github.com/ceph/ceph/blob/main/examples/rgw/lua/nats_adapter.lua);
- SNS: any of these as the text ``Message`` (https://docs.aws.amazon.com/sns/latest/dg/sns-sqs-as-subscriber.html);
- EventBridge: one event in ``detail``, key not encoded
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html);
- CloudEvents: one record as ``data``, or the record alone, its attributes in the headers of HTTP
  (https://github.com/cloudevents/spec/blob/main/cloudevents/adapters/aws-s3.md).

Anybody with permission to publish can publish anything, so every value is checked for its type and size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from imgtag.errors import EventError
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope

MAX_BYTES = 1 << 20
"""The default limit of NATS for one message."""
MAX_RECORDS = 1000
MAX_KEY = 1024
"""Bytes of UTF-8; the limit of S3."""
MAX_BUCKET = 255
"""Bytes; names of old AWS buckets may be that long."""
MAX_TEXT = 2048
"""Characters of any other text; a longer one is left out."""
MAX_SIZE = 1 << 53
"""Bytes of an object; far above any store's limit."""
META = "x-amz-meta-"
IGNORED = ("ObjectAccessed:", "Scanner:", "BucketCreated:", "BucketRemoved:", "TestEvent")
"""Events without a change of an object. Our own reads cause ObjectAccessed: reacting to it would never end."""
REMOVED = ("ObjectRemoved:", "LifecycleExpiration:", "LifecycleDelMarkerExpiration:")
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON can name and UTF-8 cannot contain."""
MAX_REMEMBERED = 1_000
"""Messages whose content is remembered: a second target brings the same bytes again, MinIO's durable one three seconds
later."""
MAX_REMEMBERED_BYTES = 8 << 10
"""Bytes of a message that is remembered; one event of MinIO has 1 to 4 KiB."""
RAW = "ceph:s3"
"""The event source whose keys are not encoded."""
MAX_WRAPPINGS = 4
"""Envelopes around one another that are opened: an event of EventBridge through SNS is in two."""
DELETED = "Object Deleted"
"""What EventBridge calls a removed object; every other event of S3 is about one that may be there.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html
"""


@dataclass(frozen=True)
class Content:
    """What a message says; empty if there is nothing to do."""

    hints: Sequence[Hint] = ()
    resync: Scope | None = None
    problem: EventError | None = None

    def __bool__(self) -> bool:
        return bool(self.hints or self.resync or self.problem)


def parse(data: bytes) -> Content:
    """The hints of one message; empty if it is not about objects.

    Records that cannot be read become the problem, which holds them, beside the hints of the others. Raises EventError
    if nothing can be read.
    """
    return _parse_once(data) if len(data) <= MAX_REMEMBERED_BYTES else _parse(data)


def _parse(data: bytes) -> Content:
    message = _unwrap(_load_json(data))
    if "Records" not in message and _text(message.get("Event")):
        return Content()  # a test event of AWS
    if "detail-type" in message:
        return Content(hints=[_event_bridge_hint(message)])
    records = _records(message)
    # MinIO gives the raw key once for the whole message, so it belongs to a record only if there is just one.
    raw_name = message.get("Key") if len(records) == 1 else None
    hints: list[Hint] = []
    unreadable: list[tuple[Any, EventError]] = []
    for record in records:
        try:
            hint = _hint(record, raw_name)
        except EventError as error:
            unreadable.append((record, error))
        else:
            hints += [hint] if hint else []
    if not unreadable:
        return Content(hints=hints)
    _, first = unreadable[0]
    if len(unreadable) == len(records):
        raise first
    try:
        payload = json.dumps({"Records": [record for record, _ in unreadable]}).encode()
    except RecursionError:  # reading allows a little more depth than writing
        payload = data
    reason = f"{first.message} ({len(unreadable)} of {len(records)} records cannot be read)"
    return Content(hints=hints, problem=EventError(reason, payload=payload))


_parse_once = lru_cache(MAX_REMEMBERED)(_parse)


def _load_json(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise EventError(f"the message has {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise EventError("the message is nested too deeply") from None
    except ValueError as error:
        raise EventError(f"the message is not JSON: {str(error)[:200]}") from None


def _unwrap(message: Any) -> dict[str, Any]:
    """The innermost message: one with ``Records``, or an event of EventBridge, or a test event."""
    for _ in range(MAX_WRAPPINGS):
        if isinstance(message, list):
            return {"Records": message}
        if not isinstance(message, dict):
            break
        if message.get("Type") == "Notification" and isinstance(message.get("Message"), str):
            message = _load_json(message["Message"].encode(errors="surrogatepass"))
        elif "specversion" in message and "data" in message:
            message = message["data"]
        else:
            return {"Records": [message]} if "eventName" in message and "s3" in message else message
    raise EventError("the message is not a JSON object")


def _event_bridge_hint(event: Mapping[str, Any]) -> Hint:
    detail = _mapping(event, "detail")
    thing = _mapping(detail, "object")
    version = _text(thing.get("version-id"))
    return Hint(
        ref=_require_ref(_mapping(detail, "bucket").get("name"), thing.get("key")),
        removed=event["detail-type"] == DELETED,
        version=None if version == "null" else version,
        sequencer=_text(thing.get("sequencer")),
        etag=_text(thing.get("etag")),
        size=_size(thing.get("size")),
        at=_parse_time(event.get("time")),
        request=_text(detail.get("request-id")),
    )


def _records(message: Mapping[str, Any]) -> list[Any]:
    records = message.get("Records")
    if isinstance(records, dict):
        records = [records]
    if not isinstance(records, list) or not records:
        raise EventError("the message has no Records")
    if len(records) > MAX_RECORDS:
        raise EventError(f"the message has {len(records)} records; the limit is {MAX_RECORDS}")
    return records


def _hint(record: Any, raw_name: Any) -> Hint | None:
    record = record.get("data", record) if isinstance(record, dict) else record
    if not isinstance(record, dict):
        raise EventError("a record is not a JSON object")
    name = record.get("eventName")
    if not isinstance(name, str):
        raise EventError("a record has no eventName")
    name = name.removeprefix("s3:")
    if name.startswith(IGNORED):
        return None
    s3 = _mapping(record, "s3")
    thing = _mapping(s3, "object")
    version, elements = _text(thing.get("versionId")), record.get("responseElements")
    return Hint(
        ref=_ref(record, s3, raw_name),
        removed=name.startswith(REMOVED),
        version=None if version == "null" else version,  # what S3 calls the version of an object without one
        sequencer=_text(thing.get("sequencer")),
        etag=(_text(thing.get("eTag")) or "").strip('"') or None,
        size=_size(thing.get("size")),
        metadata=_metadata(thing.get("userMetadata")),
        at=_parse_time(record.get("eventTime")),
        request=_text(elements.get("x-amz-request-id")) if isinstance(elements, dict) else None,
    )


def _ref(record: Mapping[str, Any], s3: Mapping[str, Any], raw_name: Any) -> ObjectRef:
    bucket = _mapping(s3, "bucket").get("name")
    key = _mapping(s3, "object").get("key")
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise EventError("a record has no bucket name, or no key")
    if isinstance(raw_name, str) and raw_name.startswith(f"{bucket}/"):
        key = raw_name.removeprefix(f"{bucket}/")
    elif record.get("eventSource") != RAW and not str(s3.get("configurationId")).endswith("-global"):
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            raise EventError(f"the key is not UTF-8: {key[:80]!r}") from None
    return _require_ref(bucket, key)


def _require_ref(bucket: Any, key: Any) -> ObjectRef:
    if not isinstance(bucket, str) or not isinstance(key, str):
        raise EventError("a record has no bucket name, or no key")
    require_bucket(bucket)
    if not 0 < size(key) <= MAX_KEY:
        raise EventError(f"a key has 1 to {MAX_KEY} bytes, this one has {size(key)}: {key[:80]!r}")
    return ObjectRef(bucket, key)


def require_bucket(name: str) -> None:
    """Raise EventError for what no store calls a bucket."""
    if not 0 < size(name) <= MAX_BUCKET or "/" in name:
        raise EventError(f"{name[:80]!r} is not a bucket name")


def size(text: str) -> int:
    """Bytes of UTF-8. Raises EventError for half of a character, which would end whatever encodes it later."""
    if SURROGATE.search(text):
        raise EventError("a name contains half of a character")
    return len(text.encode())


def _mapping(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise EventError(f"a record has no {name}")
    return value


def _text(value: Any) -> str | None:
    """A text; anything else is left out, because the store is asked anyway.

    Halves of characters too: a hint that waits in a stream must be readable there.
    """
    is_text = isinstance(value, str) and 0 < len(value) <= MAX_TEXT
    return value if is_text and (value.isascii() or not SURROGATE.search(value)) else None


def _size(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < MAX_SIZE else None


def _metadata(value: Any) -> Mapping[str, str] | None:
    """User metadata; MinIO mixes it with headers such as ``content-type``, which are left out."""
    if not isinstance(value, dict):
        return None
    metadata = {}
    for name, text in value.items():
        lower = name.lower()
        if lower.startswith(META) and _text(name) and (text == "" or _text(text)):
            metadata[lower.removeprefix(META)] = text
    return metadata


def _parse_time(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
