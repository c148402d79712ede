"""Distributed backfills in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from imgtag.plugin.backfills import SharedBackfill
from imgtag.types.event import Hint

if TYPE_CHECKING:
    from imgtag.testing.source import MemorySource

FULL_LOOK = 0.01
"""Seconds between two looks at whether there is room again."""


@dataclass(eq=False, kw_only=True)
class _Item:
    """A hint that is not finished; ``holder`` works on it until ``due`` (seconds, monotonic)."""

    hint: Hint
    attempt: int = 0
    due: float = 0.0
    holder: object = None


@dataclass(kw_only=True)
class MemoryBackfill:
    """One backfill, for all sources on a broker."""

    description: Mapping[str, Any]
    started: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    position: str = ""
    is_published: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    items: list[_Item] = field(default_factory=list)
    owner: object = None

    def count(self, counts: Mapping[str, int]) -> None:
        """Add to the counts."""
        self.counts.update(counts)
        self.changed = time.time()


class MemoryBackfills:
    """The backfills of a broker, as one source sees them. ``max_items``: hints that may wait in one backfill."""

    def __init__(self, source: MemorySource, max_items: int = 1_000) -> None:
        self.max_items = max_items
        self._source = source
        self._held: list[_Item] = []

    async def list(self) -> Sequence[SharedBackfill]:
        """All of the broker, the oldest first."""
        await self._source.faults.meet("list_backfills")
        backfills = self._source.broker.backfills
        return [
            SharedBackfill(
                id=id_,
                description=backfill.description,
                started=backfill.started,
                changed=backfill.changed,
                is_published=backfill.is_published,
                left=len(backfill.items),
                counts=dict(backfill.counts),
            )
            for id_, backfill in sorted(backfills.items(), key=lambda item: item[1].started)
        ]

    async def begin(self, id_: str, description: Mapping[str, Any]) -> MemoryPublication:
        """Begin, or go on."""
        await self._source.faults.meet("begin_backfill", id_)
        backfills = self._source.broker.backfills
        if id_ not in backfills or (backfills[id_].is_published and not backfills[id_].items):
            backfills[id_] = MemoryBackfill(description=description)
        return MemoryPublication(self, backfills[id_])

    async def take(self, id_: str, count: int) -> Sequence[MemoryBackfillDelivery]:
        """What waits, unless a message for this source waits on the broker."""
        await self._source.faults.meet("take_backfill", id_)
        broker, now = self._source.broker, time.monotonic()
        if (self._source.is_listening and broker.waiting) or id_ not in broker.backfills:
            return ()
        backfill = broker.backfills[id_]
        due = [item for item in backfill.items if item.due <= now][:count]
        self._held += due
        return [MemoryBackfillDelivery(self, backfill, item) for item in due]

    async def drop(self, id_: str) -> bool:
        """Forget a backfill."""
        await self._source.faults.meet("drop_backfill", id_)
        backfill = self._source.broker.backfills.pop(id_, None)
        return backfill is not None

    def is_known(self, backfill: MemoryBackfill) -> bool:
        """Whether nobody has dropped it."""
        return backfill in self._source.broker.backfills.values()

    def due_time(self) -> float:
        """Until when a hint that is taken now is nobody else's."""
        wait = self._source.features.ack_wait
        return float("inf") if wait is None else time.monotonic() + wait

    def release(self) -> None:
        """Let others take what this source holds: it is gone."""
        for item in self._held:
            item.holder, item.due = None, 0.0
        self._held.clear()


class MemoryPublication:
    """Publishes to a backfill, until another one begins."""

    trouble = ""

    def __init__(self, backfills: MemoryBackfills, backfill: MemoryBackfill) -> None:
        self._backfills = backfills
        self._backfill = backfill
        backfill.owner = self

    @property
    def position(self) -> str:
        """Where it is."""
        return self._backfill.position

    async def publish(self, hints: Sequence[Hint], position: str, counts: Mapping[str, int]) -> bool:
        """Publish as soon as there is room."""
        while self._is_ours() and len(self._backfill.items) + len(hints) > self._backfills.max_items:
            self.trouble = "there is no room"
            await anyio.sleep(FULL_LOOK)
        self.trouble = ""
        if not self._is_ours():
            return False
        self._backfill.items += [_Item(hint=hint) for hint in hints]
        self._backfill.position, self._backfill.is_published = position, False
        self._backfill.count(counts)
        return True

    async def complete(self) -> bool:
        """No hints follow."""
        if self._is_ours():
            self._backfill.is_published = True
            return True
        return False

    def _is_ours(self) -> bool:
        return self._backfill.owner is self and self._backfills.is_known(self._backfill)


class MemoryBackfillDelivery:
    """One hint being worked on."""

    def __init__(self, backfills: MemoryBackfills, backfill: MemoryBackfill, item: _Item) -> None:
        item.attempt += 1
        item.holder, item.due = self, backfills.due_time()
        self.hint, self.attempt = item.hint, item.attempt
        self._backfills = backfills
        self._backfill = backfill
        self._item = item

    async def finish(self, counts: Mapping[str, int]) -> None:
        """Count it unless it was counted."""
        if self._item in self._backfill.items:
            self._backfill.items.remove(self._item)
            self._backfill.count(counts)

    async def nak(self, delay: float) -> None:
        """Let it come again."""
        if self._item.holder is self:
            self._item.holder, self._item.due = None, time.monotonic() + delay

    async def extend(self) -> None:
        """Keep it."""
        if self._item.holder is self:
            self._item.due = self._backfills.due_time()
