"""The sidecar's own messages: hints that wait in the stream, and requests for a resync."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from imgtag.errors import EventError
from imgtag.plugin import Hint, Intent, ObjectRef, Scope

OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "removed": bool,
    "version": str,
    "sequencer": str,
    "etag": str,
    "at": (int, float),
    "parked": bool,
}


def encode(what: Hint | Scope) -> bytes:
    """A hint, or a part of the store to compare, for another sidecar or for later."""
    if isinstance(what, Scope):
        return _dump({"resync": asdict(what)})
    fields = asdict(replace(what, metadata=None))  # metadata may be any mapping, and asdict would copy it as such
    fields["metadata"] = dict(what.metadata) if what.metadata is not None else None
    return _dump({"hint": {name: value for name, value in fields.items() if value is not None}})


def decode(data: bytes) -> Hint | Scope:
    """The reverse of ``encode``. Unknown fields are from a newer sidecar and are ignored. Raises EventError."""
    try:
        message = json.loads(data)
        if "hint" in message:
            fields = message["hint"]
            known = {name: fields[name] for name, kind in OPTIONAL.items() if isinstance(fields.get(name), kind)}
            metadata = fields.get("metadata")
            if metadata is not None:
                known["metadata"] = _require_texts(metadata, *metadata)
            ref = ObjectRef(**_require_texts(fields["ref"], "bucket", "key"))
            return Hint(ref=ref, intent=Intent(fields["intent"]), **known)
        return Scope(**_require_texts(message["resync"], "bucket", "prefix"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EventError(f"the message is not a hint of a sidecar: {type(error).__name__}") from None


def _dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _require_texts(fields: dict[str, Any], *names: str) -> dict[str, str]:
    if not all(isinstance(fields[name], str) for name in names):
        raise TypeError(names)
    return {name: fields[name] for name in names}
