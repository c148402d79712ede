"""Deliveries of a source without a broker: a queue in memory."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import anyio
from anyio.abc import TaskGroup

from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

if TYPE_CHECKING:
    from imgtag.errors import EventError

MAX_KEYS = 100_000
"""Keys that may wait before they become one resync."""
MAX_SCOPES = 100
"""Parts of one bucket that may wait for a resync before they become the whole bucket."""
AT_ONCE = 0.0
"""When new work is due, in the time of the event loop."""

Target: TypeAlias = ObjectRef | Scope
Done: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True, eq=False)
class _Work:
    target: Target
    hint: Hint | None = None
    done: list[Done] = field(default_factory=list)
    attempt: int = 1
    is_owed: bool = False
    """Whether a delivery of it, or of what it replaced, was given back."""
    turn: int = -1
    due: float = AT_ONCE

    @property
    def is_plain(self) -> bool:
        """Whether a resync would do the same."""
        return self.hint is not None and self.hint.intent is Intent.NORMAL and not self.done

    def absorb(self, older: _Work) -> None:
        """Replace ``older``: its callbacks stay, its intent unless there is a newer one, and what is owed."""
        self.done[:0] = older.done
        self.is_owed |= older.is_owed
        if self.hint and older.hint and self.hint.intent is Intent.NORMAL:
            self.hint = replace(self.hint, intent=older.hint.intent)
        if self.hint and self.is_owed:
            # It may be the event of our own write, of which nothing is to be done; but what was given back is not done.
            self.hint = replace(self.hint, sequencer=None)


class LocalDelivery:
    """One key, or one resync."""

    problem: EventError | None = None

    def __init__(self, queue: LocalQueue, work: _Work) -> None:
        self.hints: Sequence[Hint] = (work.hint,) if work.hint else ()
        self.resync = work.target if isinstance(work.target, Scope) else None
        self.attempt = work.attempt
        self._queue = queue
        self._work: _Work | None = work

    async def ack(self) -> None:
        """Done: its callbacks are called."""
        work, self._work = self._work, None
        if work is None:
            return
        self._queue._finish(work)  # noqa: SLF001 - two halves of one thing
        for done in work.done:
            await done()

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds, or at once if the key has changed meanwhile."""
        work, self._work = self._work, None
        if work is not None:
            again = replace(work, attempt=work.attempt + 1, is_owed=True, due=anyio.current_time() + delay)
            self._queue._finish(work, again)  # noqa: SLF001

    async def extend(self) -> None:
        """Nothing to do: no other process could get it."""

    async def is_exclusive(self) -> bool:
        """Not known: a source that is shared and yet uses this queue is told nothing of others."""
        return False


class LocalQueue:
    """An async iterator of deliveries, one for each key that waits.

    A newer hint replaces one that waits; where that was given back, nothing of the newer one says which event it is, so
    that none is answered from memory. If one is in flight, it waits until that is answered, so no key is in flight
    twice. If more than ``limit`` keys wait, all that a resync would find as well becomes one resync of their bucket.
    To be used from the event loop only. Nothing survives the process: a hint that must comes with ``done``, which is
    called when the delivery is acknowledged. Such hints, and those with an intent, never collapse: their caller limits
    their number.
    """

    def __init__(self, *, limit: int = MAX_KEYS) -> None:
        self._limit = self._room = limit
        self._waiting: dict[Target, _Work] = {}
        self._order: list[tuple[float, int, Target]] = []
        self._in_flight: set[Target] = set()
        self._turns = count()
        self._news = anyio.Event()

    def __len__(self) -> int:
        """How many keys and resyncs wait, not counting those in flight."""
        return len(self._waiting)

    @contextmanager
    def fed(self, tasks: TaskGroup, *feeds: Callable[[LocalQueue], Coroutine[Any, Any, None]]) -> Iterator[None]:
        """Run feeds of this queue in ``tasks``; leaving the context cancels them."""
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                async with anyio.create_task_group() as feeding:
                    for feed in feeds:
                        feeding.start_soon(feed, self)

        tasks.start_soon(run)
        try:
            yield
        finally:
            scope.cancel()

    def put(self, hint: Hint, *, done: Done | None = None) -> None:
        """Deliver a hint, soon."""
        self._add(_Work(target=hint.ref, hint=hint, done=[done] if done else []))
        if len(self._waiting) > self._room:
            buckets = set()
            for work in list(self._waiting.values()):
                if isinstance(work.target, ObjectRef) and work.is_plain:
                    del self._waiting[work.target]
                    buckets.add(work.target.bucket)
            self._order = [entry for entry in self._order if self._is_current(entry)]
            heapify(self._order)
            # Work that cannot collapse must not be examined again for every key that follows.
            self._room = max(self._limit, 2 * len(self._waiting))
            for bucket in sorted(buckets):
                self.resync(Scope(bucket))

    def resync(self, scope: Scope) -> None:
        """Deliver that this part must be compared, unless a wider one waits already."""
        waiting = [target for target in self._waiting if isinstance(target, Scope) and target.bucket == scope.bucket]
        if any(scope.prefix.startswith(wider.prefix) for wider in waiting):
            return
        if len(waiting) >= MAX_SCOPES:
            scope = Scope(scope.bucket)
        for narrower in waiting:
            if narrower.prefix.startswith(scope.prefix):
                del self._waiting[narrower]
        self._add(_Work(target=scope))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LocalDelivery:
        while True:
            while self._order and self._order[0][0] <= anyio.current_time():
                entry = heappop(self._order)
                if self._is_current(entry):
                    self._in_flight.add(entry[2])
                    return LocalDelivery(self, self._waiting.pop(entry[2]))
            news = self._news
            pause = self._order[0][0] - anyio.current_time() if self._order else math.inf
            with anyio.move_on_after(max(0.0, pause)):
                await news.wait()

    def _add(self, work: _Work) -> None:
        older = self._waiting.get(work.target)
        self._waiting[work.target] = work
        if older is not None:
            work.absorb(older)
            if older.due == work.due:
                work.turn = older.turn  # so the entry in the heap stands for the new work
                return
        if work.target not in self._in_flight:
            self._queue(work)

    def _queue(self, work: _Work) -> None:
        work.turn = next(self._turns)
        heappush(self._order, (work.due, work.turn, work.target))
        self._news.set()  # wakes all that wait now; who looks later waits for the next event
        self._news = anyio.Event()

    def _is_current(self, entry: tuple[float, int, Target]) -> bool:
        """Whether the entry is not that of replaced work, which stays in the heap until it comes up."""
        work = self._waiting.get(entry[2])
        return work is not None and work.turn == entry[1]

    def _finish(self, work: _Work, again: _Work | None = None) -> None:
        self._in_flight.discard(work.target)
        newer = self._waiting.get(work.target)
        if newer is not None:
            if again is not None:
                newer.absorb(again)
            self._queue(newer)
        elif again is not None:
            self._waiting[work.target] = again
            self._queue(again)
