"""Hint -> hint, unless the event alone shows that there is nothing to do."""

from __future__ import annotations

from collections import OrderedDict

from imgtag.types.event import Hint, Intent
from imgtag.types.mark import owner_digest
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef

MAX_REMEMBERED = 10_000
"""Keys whose last processed event is remembered."""


def is_own_write(hint: Hint, site: str, codec: MetadataCodec) -> bool:
    """Whether the event reports our own write: a genuine mark for this very object, with the ETag that we expect."""
    if hint.metadata is None or hint.removed or hint.intent is not Intent.NORMAL:
        return False
    entries, _ = codec.split(hint.metadata)
    mark = entries.mark
    if mark is None or mark.owner != owner_digest(site, hint.ref) or not codec.genuine(entries):
        return False
    return hint.etag is not None and hint.etag.strip('"') == mark.etag_after.strip('"')


class Recent:
    """Remembers the last event processed for each key, so that doubled events cost nothing.

    Any other event of a key clears its memory: what came in between may have changed the object.
    """

    def __init__(self, max_keys: int = MAX_REMEMBERED) -> None:
        self._max_keys = max_keys
        self._processed: OrderedDict[ObjectRef, tuple[str | None, str, str]] = OrderedDict()

    def knows(self, hint: Hint) -> bool:
        """Whether this very event was processed; any other event makes it forget the key."""
        if self._processed.get(hint.ref) == _identity(hint) is not None:
            return True
        self._processed.pop(hint.ref, None)
        return False

    def remember(self, hint: Hint) -> None:
        """Remember a processed event, unless it lacks what tells it from others (sequencer, ETag)."""
        identity = _identity(hint)
        if identity is None:
            return
        self._processed[hint.ref] = identity
        self._processed.move_to_end(hint.ref)
        if len(self._processed) > self._max_keys:
            self._processed.popitem(last=False)


def _identity(hint: Hint) -> tuple[str | None, str, str] | None:
    if hint.sequencer is None or hint.etag is None or hint.removed or hint.intent is not Intent.NORMAL:
        return None
    return hint.version, hint.sequencer, hint.etag
