"""The indexer: documents kept and searched in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from anyio import CancelScope, CapacityLimiter, sleep, to_thread
from anyio.lowlevel import checkpoint

from imgtag.errors import DocumentError, ImgtagError
from imgtag.plugin import (
    Check,
    Delete,
    Document,
    Outcome,
    Page,
    PluginContext,
    Scope,
    SearchRequest,
    ServiceBase,
    Similar,
    SimilarRequest,
    Upsert,
)
from imgtag_sqlite import search
from imgtag_sqlite.checks import check_file, check_health, check_space
from imgtag_sqlite.database import Database
from imgtag_sqlite.document import Rows, split_document
from imgtag_sqlite.rebuild import PAUSE, REPLACED, STAGED, Rebuild
from imgtag_sqlite.schema import VERSION
from imgtag_sqlite.settings import SqliteSettings
from imgtag_sqlite.writer import Writer

MAX_READERS = 4
SCAN_PAGE = 500  # documents read at a time

Answer = TypeVar("Answer")


class SqliteIndexer(ServiceBase):
    """Keeps one document per object in a SQLite file, which other processes may use at the same time.

    Entering creates the file where it is missing, so there is nothing to set up; a file that may only be read stays as
    it is.
    """

    def __init__(self, settings: SqliteSettings, context: PluginContext, database: Database | None = None) -> None:
        """``database``: the spare; by default the index in use."""
        self._settings, self._context = settings, context
        path = settings.path or context.state_dir / "index.sqlite3"
        self._database = database or Database(path, read_only=context.read_only)
        self._writer, self._rebuild = Writer(), Rebuild(self._database)

    async def __aenter__(self) -> Self:
        self._reading, self._writing = CapacityLimiter(MAX_READERS), CapacityLimiter(1)
        while not await to_thread.run_sync(self._database.prepare, limiter=self._writing):
            await checkpoint()  # a stop need not wait for the upgrade of a large index, which goes on at the next start
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await to_thread.run_sync(self._database.close, limiter=self._writing)

    async def index_id(self) -> str:
        """Return the id that was drawn when the file was created."""
        return await self._search(search.index_id, "")

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return. Raises Unavailable when none of them was made."""
        return await to_thread.run_sync(self._apply, changes, limiter=self._writing)

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        """Return the documents of these ids, whole or in part; absent ones are left out."""
        return await self._read(partial(search.get, ids=ids, fields=tuple(dict.fromkeys(fields))), {})

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        nothing = Page(hits=[], total=0, facets={field: {} for field in request.facets})
        return await self._search(partial(search.search, request=request), nothing)

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents with the nearest vectors. Raises Incomparable."""
        found = await self._search(partial(search.similar, request=request), None)
        if found is None:
            request.among(None)
        return found or []

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        names, last = {*fields, "key"}, ""
        none: list[Document] = []
        while page := await self._read(partial(search.page, site=site, scope=scope, last=last, size=SCAN_PAGE), none):
            for document in page:
                yield {name: document[name] for name in document if name in names} if fields else document
            last = page[-1]["key"]

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would yield."""
        return await self._read(partial(search.count, site=site, scope=scope), 0)

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        return await self._search(partial(search.known, texts=words), frozenset())

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms with this prefix, those of most documents first."""
        return await self._search(partial(search.suggest, prefix=prefix, limit=limit), [])

    async def checks(self) -> AsyncIterator[Check]:
        """Look at the file, at its health, and at the free space beside it."""
        limiter = CapacityLimiter(1)
        if await to_thread.run_sync(self._database.is_missing, limiter=limiter):
            yield Check(check="index", ok=True, message=f"{self._database.path} does not exist yet; `run` creates it")
            return
        if version := await to_thread.run_sync(self._database.older_format, limiter=limiter):
            message = f"{self._database.path} has format {version}; `imgtag run` upgrades it to format {VERSION}"
            yield Check(check="index", ok=True, message=message)
            return
        for check in (check_file, check_health, check_space):
            try:
                yield await to_thread.run_sync(check, self._database, limiter=limiter)
            except ImgtagError as error:
                yield Check(check="index", ok=False, message=error.message, hint=error.hint)
                return

    @property
    def spare(self) -> str:
        """The file that a rebuild fills, and where the index is that was in use before a swap."""
        return f"{self._rebuild.spare}, or tables {REPLACED}... in {self._database.path}"

    async def check_rebuild(self) -> None:
        """Raise Unavailable where there is no room."""
        await self._work(self._rebuild.check_room)

    async def has_spare(self) -> bool:
        """Tell whether a rebuild, or a swap, left something."""
        return await self._work(self._rebuild.exists)

    @asynccontextmanager
    async def open_spare(self) -> AsyncIterator[SqliteIndexer]:
        """Open the file of the spare or, after a swap, what was in use before."""
        is_swapped = await self._work(self._rebuild.is_swapped)
        database = self._rebuild.open_replaced() if is_swapped else Database(self._rebuild.spare)
        async with SqliteIndexer(self._settings, self._context, database) as spare:
            yield spare

    async def swap(self) -> None:
        """Copy the spare into the file of the index, a part at a time, and exchange the tables in one transaction."""
        for left in (STAGED, REPLACED):
            await self._work_in_parts(partial(self._rebuild.clear, left))
        await self._work_in_parts(self._rebuild.stage)
        await self._work(self._rebuild.exchange)
        await self._work(self._rebuild.delete_file)

    async def drop_spare(self) -> None:
        """Delete the file of the spare and, a part at a time, the tables that are not in use."""
        await self._work(self._rebuild.delete_file)
        for prefix in (STAGED, REPLACED):
            await self._work_in_parts(partial(self._rebuild.clear, prefix))

    async def _work_in_parts(self, part: Callable[[], bool]) -> None:
        while not await self._work(part):  # noqa: ASYNC110 - it is no event that is waited for
            await sleep(PAUSE)

    async def _work(self, work: Callable[[], Answer]) -> Answer:
        return await to_thread.run_sync(work, limiter=self._writing)

    async def _read(self, work: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        """Work that needs only the documents, which all formats have alike; ``otherwise`` where there is no file."""

        def read() -> Answer:
            return otherwise if self._database.is_missing() else self._database.read(work)

        return await to_thread.run_sync(read, limiter=self._reading)

    async def _search(self, work: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        """As `_read`, for work that needs the tables of this format. Raises PluginError where they are older."""

        def search() -> Answer:
            self._database.require_current()
            return otherwise if self._database.is_missing() else self._database.read(work)

        return await to_thread.run_sync(search, limiter=self._reading)

    def _apply(self, changes: Sequence[Upsert | Delete]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        ready: list[Rows | str] = []  # the rows of a document, or the id of one to delete
        for change in changes:
            try:
                ready.append(change.id if isinstance(change, Delete) else split_document(change.document))
                outcomes.append(Outcome(change.id))
            except DocumentError as error:
                outcomes.append(Outcome(str(change.id), error))
        self._database.write(partial(self._writer.write, changes=ready))
        return outcomes
