"""Hint -> hint, unless the event alone shows that there is nothing to do."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from imgtag.types.event import Hint, Intent
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import MARK, Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.types.signature import Trust

MAX_REMEMBERED = 10_000
"""Keys whose last event or write is remembered."""
CONFIRMATION_WAIT = 10.0
"""Seconds until a write whose event did not come is looked at; MinIO's durable target delivers three seconds late."""
MAX_LOOKS = 100
"""Writes that are looked at in one go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Write:
    """A write of ours; ``event`` identifies the one event that reported it, once that has come."""

    etag: str
    revision: str | None
    version: str | None
    request: str | None
    event: tuple[str | None, str, str] | None = None


class OwnWrites:
    """Remembers what this process wrote on objects.

    A mark with the right ETag is no proof of the content: whoever makes two files of one MD5, or sets a file's time
    back, can carry a genuine mark over to other bytes. What this process wrote itself it knows without reading.
    """

    def __init__(self, max_keys: int = MAX_REMEMBERED, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_keys = max_keys
        self._clock = clock
        self._writes: OrderedDict[ObjectRef, _Write] = OrderedDict()
        self._unconfirmed: OrderedDict[ObjectRef, tuple[float, Mapping[str, str]]] = OrderedDict()
        """Of those writes of which only their responses told: when they were done, and the metadata that was sent. The
        oldest comes first."""

    def __contains__(self, ref: ObjectRef) -> bool:
        """Whether a write on this object is remembered."""
        return ref in self._writes

    def remember(self, state: ObjectState) -> None:
        """The object as it was directly after our write."""
        write = _Write(etag=state.etag, revision=state.revision, version=state.version, request=state.request)
        self._unconfirmed.pop(state.ref, None)
        if state.is_assumed:
            self._unconfirmed[state.ref] = self._clock(), state.metadata
        self._put(state.ref, write)

    def take_unconfirmed(self, count: int = MAX_LOOKS) -> list[ObjectRef]:
        """Up to ``count`` writes of which no event told that the store kept what it was sent, CONFIRMATION_WAIT
        seconds after them. They are no longer waited for.
        """
        last = self._clock() - CONFIRMATION_WAIT
        refs = [ref for ref, (at, _) in islice(self._unconfirmed.items(), count) if at <= last]
        for ref in refs:
            del self._unconfirmed[ref]
        return refs

    def is_unchanged(self, state: ObjectState, hint: Hint) -> bool:
        """Whether nobody has written on the object since we did."""
        write = self._writes.get(state.ref)
        if write is None or (write.etag, write.revision) != (state.etag, state.revision):
            return False
        self._unconfirmed.pop(state.ref, None)
        return hint.request == write.request or not reports_write_with_mark(hint)

    def reports(self, hint: Hint, site: str, codec: MetadataCodec) -> bool:
        """Whether the event reports a write of ours: a genuine mark for this very object, and a write we remember.

        One write has one event, which may come several times: another event of the same write is somebody else's.
        """
        write, event = self._writes.get(hint.ref), _identity(hint)
        if write is None or event is None or not codec.keys or not _may_report(write, event, hint):
            return False
        if write.event == event:
            return True  # it was verified when it came first
        metadata = hint.metadata or {}
        _, sent = self._unconfirmed.get(hint.ref, (0.0, None))
        if metadata != sent:  # what was sent needs no verification, which takes a hundred times as long
            mark = Mark.decode(metadata.get(MARK, ""))
            if mark is None or mark.owner != owner_digest(site, hint.ref):
                return False
            # The mark is enough of the entries: a signature that covers all of them is of what stands in the metadata.
            if codec.verify(Entries(mark=mark), metadata) is not Trust.ALL:
                return False
        self._unconfirmed.pop(hint.ref, None)
        self._put(hint.ref, replace(write, event=event))
        return True

    def _put(self, ref: ObjectRef, write: _Write) -> None:
        self._writes[ref] = write
        self._writes.move_to_end(ref)
        if len(self._writes) > self._max_keys:
            forgotten, _ = self._writes.popitem(last=False)
            self._unconfirmed.pop(forgotten, None)


def _may_report(write: _Write, event: tuple[str | None, str, str], hint: Hint) -> bool:
    """Whether nothing but a false mark speaks against it: what the event names is that of the write."""
    same_object = (write.etag.strip('"'), write.version) == (
        (hint.etag or "").strip('"'),
        hint.version or write.version,
    )
    same_request = not (write.request and hint.request) or write.request == hint.request
    return same_object and same_request and write.event in {None, event} and MARK in (hint.metadata or {})


def reports_write_with_mark(hint: Hint) -> bool:
    """Whether the event names the request that caused it, and that request may have written a mark.

    Last-Modified has seconds: other bytes of the same MD5, put under a copied mark in the second of our own write, look
    the same in every header. Only their event tells: it has the id of another request. The event of the upload that was
    labelled has another id too, but no mark.
    """
    return hint.request is not None and (hint.metadata is None or MARK in hint.metadata)


def event_of(hint: Hint) -> Hashable | None:
    """What each copy of the event of an upload shares, and no other event; None where that cannot be told."""
    identity = None if hint.parked else _identity(hint)
    return identity and (hint.ref, *identity)


def is_upload(hint: Hint) -> bool:
    """Whether it is an event of a store that tells which content was written."""
    return event_of(hint) is not None


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
