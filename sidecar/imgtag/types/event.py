"""What a notification says: look at this key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgtag.types.ref import ObjectRef


class Intent(StrEnum):
    """Why a key is looked at."""

    NORMAL = "normal"
    RETRY = "retry"
    """Try again what failed before, also on the same ETag."""
    STALE = "stale"
    """Label again what another model or other rules labelled."""
    INCOMPLETE = "incomplete"
    """Label again what lacks an embedding or facts that are to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hint:
    """A key to look at, with what the event said of it; all but ``ref`` may be missing or wrong.

    ``metadata`` is the user metadata of the event, names in lower case without ``x-amz-meta-``, or
    None where the event carries none. ``sequencer`` is comparable as text for one key.
    """

    ref: ObjectRef
    intent: Intent = Intent.NORMAL
    removed: bool = False
    version: str | None = None
    sequencer: str | None = None
    etag: str | None = None
    size: int | None = None
    """Bytes."""
    metadata: Mapping[str, str] | None = None
    at: float | None = None
    """Seconds since 1970."""
    request: str | None = None
    """The id of the request to the store that caused the event."""
    parked: bool = False
    """Whether it waits for the index only: its object was dealt with otherwise."""
    deferred: bool = False
    """Whether it was put behind the events of other uploaders already."""
