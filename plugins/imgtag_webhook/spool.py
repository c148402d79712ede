"""Events that were accepted and are not done yet, in a file that survives everything but its disk."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import EventError, Unavailable
from imgtag.flow.batcher import Batcher
from imgtag.plugin import Hint
from imgtag.plugin.hint_messages import decode, encode

MAX_BATCH = 1000
"""Calls that one transaction, and so one flush to the disk, is for."""
FINISH_LINGER = 0.05
"""Seconds in which finished events gather: nobody waits for them, and one that is not recorded only comes again."""
MAX_MESSAGE = 8 << 10
"""Bytes of an event, above which its metadata is left out: the look at the object brings them."""
RETRY_PAUSE = 1.0
"""Seconds until that is tried again."""
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that looks at the file."""
TABLE = "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB NOT NULL)"

T = TypeVar("T")
log = logging.getLogger(__name__)


class Spool:
    """A table of hints. One connection, used by one thread at a time."""

    def __init__(self, path: Path, max_events: int) -> None:
        self._path = path
        self._max_events = max_events
        self._limiter = CapacityLimiter(1)
        self._connection: sqlite3.Connection | None = None
        self._put = Batcher(self._put_all, MAX_BATCH)
        self._finished: list[int] = []
        self._news = anyio.Event()
        self.size = 0
        """Events that are not finished."""

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return self.size >= self._max_events

    async def open(self) -> None:
        """Open the file, which is created if it is missing. Raises Unavailable."""
        if self._connection is None:
            self._finished = []  # of deliveries that came before it was closed: they come again
        await self._remove_finished()
        self.size = await self._run(count_events)

    async def close(self) -> None:
        """Close it, once it is recorded what is finished."""
        with suppress(Unavailable):
            await self._remove_finished()
        connection, self._connection = self._connection, None
        if connection is not None:
            await to_thread.run_sync(connection.close, limiter=self._limiter)

    async def put(self, hints: Sequence[Hint]) -> None:
        """Keep hints; durable on return. Raises Unavailable."""
        await self._put(hints)

    def finish(self, id_: int) -> None:
        """A hint is done: it never comes again, once that is recorded."""
        self._finished.append(id_)
        self.size -= 1
        self._news.set()

    async def record_finished(self) -> None:
        """Record what is finished, until cancelled."""
        while True:
            await self._news.wait()
            await anyio.sleep(FINISH_LINGER)
            self._news = anyio.Event()
            try:
                await self._remove_finished()
            except Unavailable as error:
                log.warning("spool_event_not_removed", extra={"reason": error.message})
                await anyio.sleep(RETRY_PAUSE)
                self._news.set()

    async def read(self, after: int, limit: int) -> list[tuple[int, Hint]]:
        """The hints after the one with this id, the oldest first, each with its id. Raises Unavailable."""
        return await self._run(lambda connection: _read(connection, after, limit))

    async def _put_all(self, batches: Sequence[Sequence[Hint]]) -> Sequence[None]:
        rows = [(_encode(hint),) for hints in batches for hint in hints]

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("INSERT INTO events (message) VALUES (?)", rows)

        await self._run(insert)
        self.size += len(rows)
        return [None] * len(batches)

    async def _remove_finished(self) -> None:
        ids = self._finished[:]

        def delete(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany("DELETE FROM events WHERE id = ?", [(id_,) for id_ in ids])

        if ids:
            await self._run(delete)
            del self._finished[: len(ids)]

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, check_same_thread=False)
        self._path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # each commit is on the disk before the store is answered
        connection.execute(TABLE)
        connection.commit()
        return connection

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            if self._connection is None:
                self._connection = self._open()
            return work(self._connection)

        try:
            return await to_thread.run_sync(run, limiter=self._limiter)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self._path}: {error}", hint="Make room there, or set `dir` under [state].") from error


def count_events(connection: sqlite3.Connection) -> int:
    """How many events the file has. Blocking."""
    (count,) = connection.execute("SELECT count(*) FROM events").fetchone()
    return int(count)


def count_in(path: Path) -> int | None:
    """How many events a spool has, without changing it; None where there is none. Blocking. Raises sqlite3.Error."""
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", timeout=BUSY_TIMEOUT, uri=True)) as connection:
        return count_events(connection)


def _encode(hint: Hint) -> bytes:
    message = encode(hint)
    return message if len(message) <= MAX_MESSAGE else encode(replace(hint, metadata=None))


def _read(connection: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, Hint]]:
    rows = connection.execute("SELECT id, message FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    hints = []
    for id_, message in rows:
        try:
            what = decode(message)
        except EventError as error:
            log.warning("spool_event_unreadable", extra={"reason": error.message})
            continue
        if isinstance(what, Hint):
            hints.append((id_, what))
    return hints
