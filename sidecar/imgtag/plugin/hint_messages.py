"""The sidecar's own messages: hints that wait at a broker, and requests for a resync."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

from imgtag.errors import EventError
from imgtag.plugin.notifications import MAX_BYTES, MAX_KEY, require_bucket, size
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

HINT, RESYNC = b'{"hint":', b'{"resync":'
"""What our messages begin with, and no notification of a store."""
OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "removed": bool,
    "version": str,
    "sequencer": str,
    "etag": str,
    "size": int,
    "request": str,
    "at": (int, float),
    "parked": bool,
    "deferred": bool,
}


def encode(what: Hint | Scope) -> bytes:
    """A hint, or a part of the store to compare, for another sidecar or for later."""
    message = {"resync": asdict(what)} if isinstance(what, Scope) else {"hint": to_fields(what)}
    return json.dumps(message, separators=(",", ":")).encode()


def to_fields(hint: Hint) -> dict[str, Any]:
    """A hint as JSON has it."""
    fields = asdict(replace(hint, metadata=None))  # metadata may be any mapping, and asdict would copy it as such
    fields["metadata"] = dict(hint.metadata) if hint.metadata is not None else None
    return {name: value for name, value in fields.items() if value is not None}


def decode(data: bytes) -> Hint | Scope:
    """The reverse of ``encode``. Raises EventError."""
    return read_message(data)[0]


def read_message(data: bytes) -> tuple[Hint | Scope, dict[str, Any]]:
    """As `decode`, with all fields of the message; unknown ones may be from a newer sidecar.

    Whoever may publish on the subject can send anything, so names and texts are checked as in a store's events.
    Raises EventError.
    """
    if len(data) > MAX_BYTES:
        raise EventError(f"the message has {len(data):,} bytes; the limit is {MAX_BYTES:,}")
    try:
        message = json.loads(data)
        return (_read_hint(message["hint"]) if "hint" in message else _read_scope(message["resync"])), message
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EventError(f"the message is not a hint of a sidecar: {type(error).__name__}") from None


def _read_hint(fields: dict[str, Any]) -> Hint:
    known = {name: fields[name] for name, kind in OPTIONAL.items() if isinstance(fields.get(name), kind)}
    metadata = fields.get("metadata")
    if metadata is not None:
        known["metadata"] = _require_texts(metadata, *metadata)
    if not math.isfinite(known.get("at") or 0.0):
        raise ValueError("at")
    ref = ObjectRef(**_require_texts(fields["ref"], "bucket", "key"))
    require_bucket(ref.bucket)
    if not 0 < size(ref.key) <= MAX_KEY:
        raise EventError(f"a key has 1 to {MAX_KEY} bytes, this one has {size(ref.key)}: {ref.key[:80]!r}")
    for text in (known.get(name) for name in ("version", "sequencer", "etag", "request")):
        size(text or "")
    return Hint(ref=ref, intent=Intent(fields["intent"]), **known)


def _read_scope(fields: dict[str, Any]) -> Scope:
    scope = Scope(**_require_texts(fields, "bucket", "prefix"))
    require_bucket(scope.bucket)
    if size(scope.prefix) > MAX_KEY:
        raise EventError(f"a prefix has at most {MAX_KEY} bytes, this one has {size(scope.prefix)}")
    return scope


def _require_texts(fields: dict[str, Any], *names: str) -> dict[str, str]:
    if not all(isinstance(fields[name], str) for name in names):
        raise TypeError(names)
    for name in names:
        size(name)
        size(fields[name])
    return {name: fields[name] for name in names}
