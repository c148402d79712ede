"""Hint -> hint: what the event alone shows to be done already."""

from __future__ import annotations

from collections import OrderedDict

from imgtag.types.event import Hint, Intent
from imgtag.types.mark import owner_digest
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef

_REMEMBERED = 10_000
"""Keys just done that are remembered."""


def is_own_write(hint: Hint, site: str, codec: MetadataCodec) -> bool:
    """Whether the event is that of our own write: a genuine mark for this very object with the ETag that we expect."""
    if hint.metadata is None or hint.removed or hint.intent is not Intent.NORMAL:
        return False
    entries, _ = codec.split(hint.metadata)
    mark = entries.mark
    if mark is None or mark.owner != owner_digest(site, hint.ref) or not codec.genuine(entries):
        return False
    return hint.etag is not None and hint.etag.strip('"') == mark.etag_after.strip('"')


class Recent:
    """A small memory of what was just done, so that doubled events cost nothing.

    Any other event of a key clears it.
    """

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._most = most
        self._done: OrderedDict[ObjectRef, tuple[str | None, str, str]] = OrderedDict()

    def knows(self, hint: Hint) -> bool:
        """Whether this very event was done; forgets the key where it is another one."""
        if self._done.get(hint.ref) == _event(hint) is not None:
            return True
        self._done.pop(hint.ref, None)
        return False

    def remember(self, hint: Hint) -> None:
        """This event is done. Events that cannot be told apart are not remembered."""
        event = _event(hint)
        if event is None:
            return
        self._done[hint.ref] = event
        self._done.move_to_end(hint.ref)
        if len(self._done) > self._most:
            self._done.popitem(last=False)


def _event(hint: Hint) -> tuple[str | None, str, str] | None:
    if hint.sequencer is None or hint.etag is None or hint.removed or hint.intent is not Intent.NORMAL:
        return None
    return hint.version, hint.sequencer, hint.etag
