"""A picture of our own that goes through everything, and is removed again.

put        -> the object is there
labelled   -> a sidecar has heard of it and has written on it (or its document is there already)
found      -> the index has its document
removed    -> every version of it, and its document, are gone
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

import anyio

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, Unavailable, WriteRefused
from imgtag.plugin.indexer import Delete, Indexer
from imgtag.plugin.service import Check
from imgtag.plugin.source import Source
from imgtag.plugin.store import Store
from imgtag.types.document import Document, document_id
from imgtag.types.event import Hint
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, ObjectState

_FIRST, _MOST, _GROWTH = 0.01, 0.1, 1.5
"""Seconds between two looks, at first and at most, and how they grow."""
_UNDER_WAY = 0.5
"""Seconds for which a write of a sidecar may still be on its way when the object is removed."""
_SETUP = "Run `imgtag setup`, and let `imgtag run` run with this configuration."
_LOG = "See the log of `imgtag run`, and `imgtag dlq list`."

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Road:
    """What it goes through, all entered; ``written``: whether labels are written on objects there."""

    site: str
    store: Store
    source: Source
    indexer: Indexer
    written: bool = True


class Untold(ImgtagError):
    """Nobody was told of it: the work was done as soon as we gave the hint."""

    default_hint = (
        "Are there notifications for this key (`imgtag setup` makes them), to the subject of [source]? A MinIO that "
        "was started within the last seconds does not notify yet; a folder that is polled takes a while: --patience."
    )


class Unworked(ImgtagError):
    """Nobody works on hints."""

    default_hint = f"Is `imgtag run` running, with this configuration? {_LOG}"


class Unlabelled(ImgtagError):
    """It was worked on, and not as it should be."""

    default_hint = f"docs/reference/what-is-kept.md tells what the code means. {_LOG}"


class Unfound(ImgtagError):
    """The index does not know of it."""

    default_hint = f"Does `imgtag run` have the same [site] and [indexer]? {_LOG}"


class Unremoved(ImgtagError):
    """It is still there."""


class Parcel:
    """``patience``: seconds that a hop may take. ``tell`` gets each hop as a check, ``say`` what takes long."""

    def __init__(
        self, ref: ObjectRef, road: Road, *, patience: float, tell: Callable[[Check], None], say: Callable[[str], None]
    ) -> None:
        self.ref = ref
        self._id = document_id(road.site, ref)
        self._road = road
        self._patience = patience
        self._tell = tell
        self._say = say
        self._at = ""
        self._laps: dict[str, float] = {}
        self._label = ""
        self._there = self._hinted = False

    async def send(self) -> None:
        """All hops, as far as it comes. However it ends, also when it is cancelled, the object is removed."""
        try:
            sent = await self._told(self._deliver)
            removed = self._there and await self._told(self._remove)
        except BaseException:
            with anyio.CancelScope(shield=True):
                if self._there:
                    await self._told(self._abandon)
            raise
        if sent and removed:
            self._total()

    async def _told(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it went well; what did not is told as the hop where it was."""
        try:
            await work()
        except ImgtagError as error:
            self._tell(Check(check=self._at, ok=False, message=error.message, hint=error.hint or _LOG))
            return False
        return True

    async def _deliver(self) -> None:
        await self._hop("put", self._put)
        if self._road.written:
            await self._hop("labelled", self._labelled)
        await self._hop("found", self._found)

    async def _remove(self) -> None:
        await self._hop("removed", self._removed)

    async def _abandon(self) -> None:
        await self._hop("removed", self._withdrawn)

    async def _hop(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """``work`` returns what came of it."""
        self._at, start = name, time.perf_counter()
        came = await work()
        self._laps[name] = (time.perf_counter() - start) * 1000
        self._tell(Check(check=name, ok=True, message=f"{came}, {self._laps[name]:.0f} ms"))

    def _total(self) -> None:
        laps = ", ".join(f"{name} {lap:.0f}" for name, lap in self._laps.items())
        after = sum(lap for name, lap in self._laps.items() if name != "removed")
        self._tell(Check(check="sent", ok=True, message=f"{self._label} after {after:.0f} ms: {laps}"))

    async def _put(self) -> str:
        data = await anyio.to_thread.run_sync(picture)
        self._there = True  # until the contrary is certain: an answer may be lost
        try:
            await self._road.store.create(self.ref, data, "image/jpeg")
        except (Conflict, WriteRefused, BucketAbsent):
            self._there = False
            raise
        return str(self.ref)

    async def _labelled(self) -> str:
        if await self._until(self._written) is None:
            raise await self._diagnosis(self._written)
        return "labels are on it"

    async def _found(self) -> str:
        document = await self._until(self._documented)
        if document is None:
            message = f"it is labelled, and after {self._patience:g} s the index has no document of it"
            raise Unfound(message) if self._road.written else await self._diagnosis(self._documented)
        self._label = _label(document)
        return self._label

    async def _removed(self) -> str:
        await self._erase()
        try:
            await self._forgotten()
        except Unavailable as error:
            message = f"{self.ref} is gone; whether its document is, is not known: {error.message}"
            raise Unremoved(message, hint=error.hint) from error
        return "object and document are gone"

    async def _forgotten(self) -> None:
        """Wait until the document is gone, too. Raises Untold, Unworked."""
        if self._hinted:  # whoever was not told of the one is not told of the other
            await self._publish(removed=True)
        if not await self._until(self._gone):
            error = await self._diagnosis(self._gone, removed=True)
            await self._road.indexer.apply([Delete(self._id)])  # where nobody else has: the object is gone for good
            raise error

    async def _withdrawn(self) -> str:
        """Removed without waiting for what becomes of it: a sidecar is told, and does the rest."""
        self._say(f"interrupted: removing {self.ref}")
        await self._erase()
        await anyio.sleep(_UNDER_WAY)
        await self._gone()
        with suppress(Unavailable):
            await self._publish(removed=True)
        return "the object is gone"

    async def _erase(self) -> None:
        try:
            await self._road.store.erase(self.ref)
        except ImgtagError as error:
            hint = f"Remove {self.ref} by hand, with all its versions. {error.hint}".rstrip()
            raise Unremoved(f"{self.ref} could not be removed: {error.message}", hint=hint) from error
        self._there = False

    async def _diagnosis(self, look: Callable[[], Awaitable[object]], *, removed: bool = False) -> ImgtagError:
        """Why nothing comes of it: it is tried whether something does when a sidecar is told directly."""
        wait = f"{self._patience:g} s"
        self._say(f"{self._at}: nothing within {wait}; a sidecar is told directly, and has another {wait}")
        try:
            if missing := await self._road.source.setup(apply=False):  # publishing would make it
                return Unworked(f"nothing within {wait}; missing, or set otherwise: {missing[0].what}", hint=_SETUP)
            await self._publish(removed=removed)
        except Unavailable as error:
            hint = error.hint or Unworked.default_hint
            return Unworked(f"nothing within {wait}, and no sidecar can be told: {error.message}", hint=hint)
        if await self._until(look):
            return Untold(f"nothing within {wait}, and at once when a sidecar was told directly: the store told nobody")
        return Unworked(f"nothing within {wait}, nor within {wait} after a hint: nobody works on the hints")

    async def _publish(self, *, removed: bool) -> None:
        await self._road.source.publish([Hint(ref=self.ref, removed=removed, at=time.time())])
        self._hinted = True

    async def _until(self, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """The first that ``look`` gives, in time; else None."""
        pause = _FIRST
        with anyio.move_on_after(self._patience):
            while not (found := await look()):
                await anyio.sleep(pause)
                pause = min(_MOST, pause * _GROWTH)
            return found
        return None

    async def _written(self) -> ObjectState | Document | None:
        """Labelled, by what is on the object; the document comes last, so with it nothing more will be written."""
        state = await self._road.store.stat(self.ref)
        if state is None:
            raise Unlabelled(
                "somebody else has removed it", hint="Is there a rule or a program that deletes new files?"
            )
        if MARK in state.metadata or state.tags:
            return state
        with suppress(Unavailable):  # of the index, which is the next hop
            return await self._documented()
        return None

    async def _documented(self) -> Document | None:
        """The document. Raises Unlabelled where it says that something is wrong."""
        document = await self._document()
        if document is not None and "code" in document:
            done = "labelled, and nothing is written on it" if document["status"] == "labelled" else document["status"]
            raise Unlabelled(f"{done}: {document['code']}: {document.get('reason', '')}")
        return document

    async def _gone(self) -> bool:
        if await self._road.store.stat(self.ref) is not None:  # a sidecar was just writing it
            await self._erase()
        return await self._document() is None

    async def _document(self) -> Document | None:
        return (await self._road.indexer.get([self._id])).get(self._id)


def _label(document: Document) -> str:
    if "top_label" not in document:
        return "no label that is sure enough"
    return f"{document['top_label']} ({document['top_confidence']:.2f})"


def picture() -> bytes:
    """What is sent: a digital clock, made by scripts/clock.py."""
    return files(__package__).joinpath("clock.jpg").read_bytes()
