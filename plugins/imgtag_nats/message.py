"""The sidecar's own messages: hints that wait in the stream, and requests for a resync."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

from imgtag.errors import EventError
from imgtag.plugin import Hint, Intent, ObjectRef, Scope
from imgtag_nats.envelope import MAX_BYTES, MAX_KEY, require_bucket, size

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
    if isinstance(what, Scope):
        return _dump({"resync": asdict(what)})
    fields = asdict(replace(what, metadata=None))  # metadata may be any mapping, and asdict would copy it as such
    fields["metadata"] = dict(what.metadata) if what.metadata is not None else None
    return _dump({"hint": {name: value for name, value in fields.items() if value is not None}})


def decode(data: bytes) -> Hint | Scope:
    """The reverse of ``encode``. Unknown fields are from a newer sidecar and are ignored. Raises EventError.

    Whoever may publish on the subject can send anything, so names and texts are checked as in a store's events.
    """
    if len(data) > MAX_BYTES:
        raise EventError(f"the message has {len(data):,} bytes; the limit is {MAX_BYTES:,}")
    try:
        message = json.loads(data)
        if "hint" in message:
            fields = message["hint"]
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
        scope = Scope(**_require_texts(message["resync"], "bucket", "prefix"))
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EventError(f"the message is not a hint of a sidecar: {type(error).__name__}") from None

    require_bucket(scope.bucket)
    if size(scope.prefix) > MAX_KEY:
        raise EventError(f"a prefix has at most {MAX_KEY} bytes, this one has {size(scope.prefix)}")
    return scope


def _dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _require_texts(fields: dict[str, Any], *names: str) -> dict[str, str]:
    if not all(isinstance(fields[name], str) for name in names):
        raise TypeError(names)
    for name in names:
        size(name)
        size(fields[name])
    return {name: fields[name] for name in names}
