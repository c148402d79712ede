"""Waits until files stop changing."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from imgtag.errors import BucketAbsent, Unavailable, Unreadable
from imgtag.plugin import Hint, Listed, ObjectRef, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_CHANGES = 100_000
PAGE = 1000
CLOSED_FACTOR = 0.25
"""Part of the settle time that is enough once the writer has closed the file."""


@dataclass(slots=True)
class _Waiting:
    due: float
    pause: float
    etag: str | None = None
    only_attributes: bool = False


class Settling:
    """Turns changes in a watched folder into hints, each once its file has stopped changing.

    A file has if it is the same after a pause as before; a hint for a file that is gone is given at once. So what the
    changes were need not be known, only where. ``note`` may be called from any thread; ``take`` looks at files, and
    must not run twice at a time. Changes of attributes alone (who owns a file, who may read it) are given out unless
    ``is_own_write`` says that the sidecar made them. Too many changes at once become a resync. ``root_absent`` is set
    if the root did not exist when files were looked at: the changes that waited are forgotten.
    """

    def __init__(
        self,
        bucket: str,
        settle: float,
        find: Callable[[str], Listed | None],
        *,
        is_own_write: Callable[[str], bool] = lambda _: False,
        limit: int = MAX_CHANGES,
    ) -> None:
        self._bucket = bucket
        self._settle = settle
        self._find = find
        self._is_own_write = is_own_write
        self._limit = limit
        self._news: deque[tuple[str, _Waiting]] = deque()
        self._scopes: deque[Scope] = deque()
        self._waiting: dict[str, _Waiting] = {}
        self._due: list[tuple[float, str]] = []
        self.root_absent = False

    def note(self, key: str, *, closed: bool = False) -> None:
        """This key has changed; ``closed``: its writer has finished."""
        self._add(key, _Waiting(0.0, self._settle * CLOSED_FACTOR if closed else self._settle))

    def note_attributes(self, key: str) -> None:
        """The attributes of this key have changed, and perhaps nothing else."""
        self._add(key, _Waiting(0.0, self._settle * CLOSED_FACTOR, only_attributes=True))

    def note_scope(self, prefix: str = "") -> None:
        """Something below this prefix has changed, and it is not known what."""
        if len(self._scopes) < self._limit:
            self._scopes.append(Scope(self._bucket, prefix))

    @property
    def is_ready(self) -> bool:
        """Whether ``take`` would have something to do."""
        return bool(self._news or self._scopes or (self._due and self._due[0][0] <= time.monotonic()))

    def take(self) -> list[Hint | Scope]:
        """The hints and scopes that are due, at most a page of them. Blocking."""
        self._accept_news()
        taken: list[Hint | Scope] = [self._scopes.popleft() for _ in range(len(self._scopes))]
        while len(taken) < PAGE and (key := self._next_due()) is not None:
            try:
                taken.extend(self._look(key))
            except BucketAbsent:
                self.forget()
                self.root_absent = True
        return taken

    def _add(self, key: str, waiting: _Waiting) -> None:
        if len(self._news) < self._limit:
            self._news.append((key, waiting))
        else:
            self.note_scope()

    def forget(self) -> None:
        """Forget all changes: a resync will find them."""
        self._news.clear()
        self._waiting.clear()
        self._due.clear()

    def _accept_news(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._news)):
            key, waiting = self._news.popleft()
            waiting.due = now
            older = self._waiting.get(key)
            if older is not None and waiting.only_attributes:  # its writer may not have finished
                waiting.pause, waiting.only_attributes = older.pause, older.only_attributes
            self._schedule(key, waiting)
        if len(self._waiting) > self._limit:
            self.forget()
            self.note_scope()

    def _schedule(self, key: str, waiting: _Waiting) -> None:
        self._waiting[key] = waiting
        heappush(self._due, (waiting.due, key))

    def _next_due(self) -> str | None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            due, key = heappop(self._due)
            # A key that has changed again meanwhile has a later entry in the heap.
            if key in self._waiting and self._waiting[key].due == due:
                return key
        return None

    def _look(self, key: str) -> Iterator[Hint]:
        waiting = self._waiting.pop(key)
        ref = ObjectRef(self._bucket, key)
        try:
            listed = self._find(key)
            is_ours = listed is not None and waiting.only_attributes and self._is_own_write(key)
        except BucketAbsent:
            raise
        except (Unavailable, Unreadable):
            yield Hint(ref=ref, at=time.time())
            return
        if listed is None:
            yield Hint(ref=ref, removed=True, at=time.time())
        elif is_ours:
            return
        elif listed.etag == waiting.etag:
            yield Hint(ref=ref, etag=listed.etag, at=time.time())
        else:
            waiting.due, waiting.etag = time.monotonic() + waiting.pause, listed.etag
            self._schedule(key, waiting)
