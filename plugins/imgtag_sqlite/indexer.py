"""The indexer: documents kept in one SQLite file and found again."""

from __future__ import annotations

import shutil
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread

from imgtag.errors import DocumentError, ImgtagError
from imgtag.plugin.indexer import Delete, Outcome, Page, SearchRequest, Similar, SimilarRequest, Upsert
from imgtag.plugin.service import Change, Check
from imgtag.plugin.spec import PluginContext
from imgtag.types.document import Document
from imgtag.types.ref import Scope
from imgtag_sqlite import database, reading
from imgtag_sqlite.entry import Entry, read
from imgtag_sqlite.fault import rebuild_hint, told
from imgtag_sqlite.settings import SqliteSettings
from imgtag_sqlite.writing import Batch

READERS = 4
SCANNED = 500  # documents read at a time
ROOM = 100 * 2**20  # bytes that should be free on the disk

Answer = TypeVar("Answer")


class SqliteIndexer:
    """Keeps one document an object in a SQLite file, which other processes may have open too."""

    def __init__(self, settings: SqliteSettings, context: PluginContext) -> None:
        self._path = settings.path or context.state_dir / "index.sqlite3"
        self._readers: deque[sqlite3.Connection] = deque()
        self._writer: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        self._reading, self._writing = CapacityLimiter(READERS), CapacityLimiter(1)
        await to_thread.run_sync(self._prepare, limiter=self._writing)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await to_thread.run_sync(self._close, limiter=self._writing)

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return. Raises Unavailable when none of them was made."""
        return await to_thread.run_sync(self._apply, changes, limiter=self._writing)

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Return the whole documents of these ids; absent ones are left out."""
        return await self._read(partial(reading.get, ids=ids))

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        return await self._read(partial(reading.search, request=request))

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents of the nearest vectors. Raises Incomparable."""
        return await self._read(partial(reading.similar, request=request))

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        wanted, last = {*fields, "key"}, ""
        while found := await self._read(partial(reading.page, site=site, scope=scope, last=last, size=SCANNED)):
            for document in found:
                yield {name: document[name] for name in document if name in wanted} if fields else document
            last = found[-1]["key"]

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would give."""
        return await self._read(partial(reading.count, site=site, scope=scope))

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        return await self._read(partial(reading.known, texts=words))

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms that begin so, those of most documents first."""
        return await self._read(partial(reading.suggest, prefix=prefix, limit=limit))

    async def checks(self) -> AsyncIterator[Check]:
        """Look at the file, at its health, and at the room beside it."""
        limiter = CapacityLimiter(1)
        for look in (self._check_open, self._check_health, self._check_room):
            try:
                yield await to_thread.run_sync(look, limiter=limiter)
            except ImgtagError as error:
                yield Check(check="index", ok=False, message=error.message, hint=error.hint)
                return

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002  # the file is made on entering
        """Nothing: the file is made where it is missing."""
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was made."""
        return None

    def policy(self) -> str | None:
        """None: files have no policy."""
        return None

    async def _read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return await to_thread.run_sync(self._with_reader, work, limiter=self._reading)

    def _with_reader(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        with told(self._path):
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = database.reader(self._path)
            try:
                with database.transaction(connection, "BEGIN"):
                    answer = work(connection)
            except BaseException:
                connection.close()
                raise
        self._readers.append(connection)
        return answer

    def _apply(self, changes: Sequence[Upsert | Delete]) -> list[Outcome]:
        entries = [_entry(change) for change in changes]
        with told(self._path):
            self._writer = self._writer or database.writer(self._path)
            try:
                with database.transaction(self._writer, "BEGIN IMMEDIATE"):
                    _write(Batch(self._writer), entries)
            except BaseException:
                self._writer.close()
                self._writer = None
                raise
        return [_outcome(entry) for entry in entries]

    def _prepare(self) -> None:
        with told(self._path):
            database.prepare(self._path)

    def _close(self) -> None:
        while self._readers:
            self._readers.pop().close()
        if self._writer:
            self._writer.close()
            self._writer = None

    def _check_open(self) -> Check:
        self._prepare()
        with told(self._path), closing(database.writer(self._path)):
            message = f"{self._path} is opened, with full-text search; SQLite {sqlite3.sqlite_version}"
            return Check(check="index", ok=True, message=message)

    def _check_health(self) -> Check:
        with told(self._path), closing(database.reader(self._path)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found == "ok":
            return Check(check="index health", ok=True, message=f"{self._path} is healthy")
        message = f"{self._path} is damaged: {found}"
        return Check(check="index health", ok=False, message=message, hint=rebuild_hint(self._path))

    def _check_room(self) -> Check:
        with told(self._path):
            free = shutil.disk_usage(self._path.parent).free
        hint = "" if free >= ROOM else f"Make room on the disk of {self._path}."
        message = f"{free // 2**20} MB are free for {self._path}"
        return Check(check="index room", ok=free >= ROOM, message=message, hint=hint)


def _entry(change: Upsert | Delete) -> Entry | Delete | Outcome:
    if isinstance(change, Delete):
        return change
    try:
        return read(change.document)
    except DocumentError as error:
        return Outcome(str(change.document.get("id", "")), error)


def _write(batch: Batch, entries: Sequence[Entry | Delete | Outcome]) -> None:
    for entry in entries:
        match entry:
            case Entry():
                batch.put(entry)
            case Delete(id_):
                batch.delete(id_)
    batch.finish()


def _outcome(entry: Entry | Delete | Outcome) -> Outcome:
    return entry if isinstance(entry, Outcome) else Outcome(entry.id)
