"""Entries -> the object's metadata, or the reason why they are not written there."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imgtag.errors import WriteRefused
from imgtag.plugin.store import Rewrite, Store
from imgtag.types.document import Problem
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState

_PERIOD = 3600.0
_REMEMBERED = 10_000


class WriteLimit:
    """At most ``most`` writes per key and content in an hour: what undoes our writes must not make a loop."""

    def __init__(self, most: int = 3, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._writes: OrderedDict[tuple[ObjectRef, str], deque[float]] = OrderedDict()

    def take(self, ref: ObjectRef, content: str) -> None:
        """Count a write. Raises WriteRefused(code="write_limit")."""
        now = self._clock()
        times = self._writes.setdefault((ref, content), deque())
        while times and now - times[0] >= _PERIOD:
            times.popleft()
        if len(times) >= self._most:
            raise WriteRefused(
                f"its labels were written {self._most} times within an hour and were gone again",
                code="write_limit",
                hint="Something else rewrites this object's metadata; find out what.",
            )
        times.append(now)
        self._writes.move_to_end((ref, content))
        if len(self._writes) > _REMEMBERED:
            self._writes.popitem(last=False)


@dataclass(frozen=True, kw_only=True)
class Way:
    """How entries are written: in which form, by which strategy (``none``: not at all)."""

    codec: MetadataCodec
    strategy: str = "auto"


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The object after the write, with the entries that it carries; ``problem`` where nothing was written."""

    state: ObjectState
    entries: Entries
    problem: Problem | None = None
    written: bool = True


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """Writes entries on objects."""

    store: Store
    limit: WriteLimit

    async def annotate(
        self, state: ObjectState, user: Mapping[str, str], entries: Entries, way: Way, body: bytes
    ) -> Annotated:
        """Write, or say why not. Raises Conflict where the object is no longer what was read."""
        try:
            if way.strategy != "none":
                return await self._write(state, user, entries, way, body)
            problem = None
        except WriteRefused as error:
            problem = Problem.of(error)
        return Annotated(state=state, entries=way.codec.kept(entries), problem=problem, written=False)

    async def _write(
        self, state: ObjectState, user: Mapping[str, str], entries: Entries, way: Way, body: bytes
    ) -> Annotated:
        if state.readonly:
            raise WriteRefused(f"nothing may be written on it ({state.readonly})", code=state.readonly)
        features = self.store.features
        packed = way.codec.pack(entries, user, limit=features.metadata_limit, overhead=features.metadata_overhead)
        if entries.mark:
            self.limit.take(state.ref, entries.mark.content)
        change = Rewrite(state=state, metadata=packed.metadata, body=body, strategy=way.strategy)
        return Annotated(state=await self.store.rewrite(change), entries=packed.entries)
