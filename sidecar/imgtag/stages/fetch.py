"""Opened object -> bytes."""

from __future__ import annotations

from imgtag.errors import Unreadable
from imgtag.plugin.store import Body


async def fetch(body: Body, limit: int) -> bytes:
    """All bytes of the object.

    Raises Unreadable if they cannot be read or exceed ``limit``, Conflict if the object has changed since it was
    opened.
    """
    state = body.state
    if state.unreadable:
        raise Unreadable(f"its bytes cannot be read ({state.unreadable})", code=state.unreadable)
    if state.size > limit:
        raise Unreadable(f"{state.size:,} bytes are over the limit of {limit:,}", code="too_large")
    return await body.read(limit)
