"""Work that was given up."""

from __future__ import annotations

from dataclasses import dataclass

from imgtag.types.ref import ObjectRef


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """Work that was given up, with the reason. ``id`` is empty until it is put."""

    ref: ObjectRef | None
    code: str
    reason: str
    at: float
    """Seconds since 1970."""
    id: str = ""
    payload: bytes = b""
    """The message itself where no key could be read from it."""
