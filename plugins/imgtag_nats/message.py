"""Our own messages: hints that wait in the stream, and requests for a resync."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from imgtag.errors import EventError
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "removed": bool,
    "version": str,
    "sequencer": str,
    "etag": str,
    "at": (int, float),
    "parked": bool,
}


def encode(what: Hint | Scope) -> bytes:
    """What is said to another sidecar, or to ourselves, later."""
    if isinstance(what, Scope):
        return _dumped({"resync": asdict(what)})
    facts = asdict(replace(what, metadata=None))  # any mapping may stand there, and asdict copies it
    facts["metadata"] = dict(what.metadata) if what.metadata is not None else None
    return _dumped({"hint": {name: value for name, value in facts.items() if value is not None}})


def decode(data: bytes) -> Hint | Scope:
    """What was said. Unknown fields are a newer sidecar's and are passed over. Raises EventError."""
    try:
        message = json.loads(data)
        return _hint(message["hint"]) if "hint" in message else Scope(**_texts(message["resync"], "bucket", "prefix"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EventError(f"the message is no hint of a sidecar: {type(error).__name__}") from None


def _dumped(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _hint(facts: dict[str, Any]) -> Hint:
    known = {name: facts[name] for name, kind in OPTIONAL.items() if isinstance(facts.get(name), kind)}
    metadata = facts.get("metadata")
    if metadata is not None:
        known["metadata"] = _texts(metadata, *metadata)
    return Hint(ref=ObjectRef(**_texts(facts["ref"], "bucket", "key")), intent=Intent(facts["intent"]), **known)


def _texts(facts: dict[str, Any], *names: str) -> dict[str, str]:
    if not all(isinstance(facts[name], str) for name in names):
        raise TypeError(names)
    return {name: facts[name] for name in names}
