"""Waits until files stay as they are."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from imgtag.errors import BucketAbsent, Unavailable
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 100_000
PAGE = 1000
BRIEF = 0.25
"""Part of the settle time that is enough once the writer closed the file."""


@dataclass(slots=True)
class _Waiting:
    due: float
    pause: float
    etag: str | None = None


class Settling:
    """Changes of a watched folder, given out as hints when each file has come to rest.

    A file has, when it is the same after a pause as before it; one that is gone is given out at once.
    So what the changes were need not be known, only where. ``changed`` may be called from any one
    thread; ``settled`` looks at files, and must not run twice at a time. Too many changes at once
    become a resync. ``absent`` is set when the root was not there to look at: what was waiting is forgotten.
    """

    def __init__(self, bucket: str, settle: float, find: Callable[[str], Listed | None], *, limit: int = LIMIT) -> None:
        self._bucket = bucket
        self._settle = settle
        self._find = find
        self._limit = limit
        self._news: deque[tuple[str, float]] = deque()
        self._parts: deque[Scope] = deque()
        self._waiting: dict[str, _Waiting] = {}
        self._due: list[tuple[float, str]] = []
        self.absent = False

    def changed(self, key: str, *, closed: bool = False) -> None:
        """Something happened to this key; ``closed`` where its writer has finished."""
        if len(self._news) < self._limit:
            self._news.append((key, self._settle * BRIEF if closed else self._settle))
        else:
            self.lost()

    def lost(self, prefix: str = "") -> None:
        """Something happened below this prefix, and it is not known to what."""
        if len(self._parts) < self._limit:
            self._parts.append(Scope(self._bucket, prefix))

    @property
    def ready(self) -> bool:
        """Whether ``settled`` would have something to do."""
        return bool(self._news or self._parts or (self._due and self._due[0][0] <= time.monotonic()))

    def settled(self) -> list[Hint | Scope]:
        """What can be given out now, at most a page of it. Blocking."""
        self._arrive()
        given: list[Hint | Scope] = [self._parts.popleft() for _ in range(len(self._parts))]
        while len(given) < PAGE and (key := self._next()) is not None:
            try:
                given.extend(self._look(key))
            except BucketAbsent:
                self.forget()
                self.absent = True
        return given

    def forget(self) -> None:
        """Whatever was heard of, a resync will find it."""
        self._news.clear()
        self._waiting.clear()
        self._due.clear()

    def _arrive(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._news)):
            key, pause = self._news.popleft()
            self._wait(key, _Waiting(now, pause))
        if len(self._waiting) > self._limit:
            self.forget()
            self.lost()

    def _wait(self, key: str, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        heappush(self._due, (waiting.due, key))

    def _next(self) -> str | None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, key = heappop(self._due)
            # What was heard of again meanwhile has another place in the heap.
            if key in self._waiting and self._waiting[key].due == due:
                return key
        return None

    def _look(self, key: str) -> Iterator[Hint]:
        waiting = self._waiting.pop(key)
        ref = ObjectRef(self._bucket, key)
        try:
            found = self._find(key)
        except BucketAbsent:
            raise
        except Unavailable:
            yield Hint(ref=ref, at=time.time())
            return
        if found is None:
            yield Hint(ref=ref, removed=True, at=time.time())
        elif found.etag == waiting.etag:
            yield Hint(ref=ref, etag=found.etag, at=time.time())
        else:
            self._wait(key, _Waiting(time.monotonic() + waiting.pause, waiting.pause, found.etag))
