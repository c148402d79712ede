"""The indexer: documents kept and searched in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
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
from imgtag_sqlite.settings import SqliteSettings
from imgtag_sqlite.writer import Writer

MAX_READERS = 4
SCAN_PAGE = 500  # documents read at a time

Answer = TypeVar("Answer")


class SqliteIndexer(ServiceBase):
    """Keeps one document per object in a SQLite file, which other processes may use at the same time.

    Entering creates the file where it is missing, so there is nothing to set up.
    """

    def __init__(self, settings: SqliteSettings, context: PluginContext) -> None:
        self._database = Database(settings.path or context.state_dir / "index.sqlite3", read_only=context.read_only)
        self._writer = Writer()

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
        return await self._read(search.index_id)

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return. Raises Unavailable when none of them was made."""
        return await to_thread.run_sync(self._apply, changes, limiter=self._writing)

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Return the whole documents of these ids; absent ones are left out."""
        return await self._read_existing(partial(search.get, ids=ids), {})

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        return await self._read(partial(search.search, request=request))

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents with the nearest vectors. Raises Incomparable."""
        return await self._read(partial(search.similar, request=request))

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        names, last = {*fields, "key"}, ""
        none: list[Document] = []
        while page := await self._read_existing(
            partial(search.page, site=site, scope=scope, last=last, size=SCAN_PAGE), none
        ):
            for document in page:
                yield {name: document[name] for name in document if name in names} if fields else document
            last = page[-1]["key"]

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would yield."""
        return await self._read_existing(partial(search.count, site=site, scope=scope), 0)

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        return await self._read(partial(search.known, texts=words))

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms with this prefix, those of most documents first."""
        return await self._read(partial(search.suggest, prefix=prefix, limit=limit))

    async def checks(self) -> AsyncIterator[Check]:
        """Look at the file, at its health, and at the free space beside it."""
        if self._database.is_missing():
            yield Check(check="index", ok=True, message=f"{self._database.path} does not exist yet; `run` creates it")
            return
        limiter = CapacityLimiter(1)
        for check in (check_file, check_health, check_space):
            try:
                yield await to_thread.run_sync(check, self._database, limiter=limiter)
            except ImgtagError as error:
                yield Check(check="index", ok=False, message=error.message, hint=error.hint)
                return

    async def _read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        return await to_thread.run_sync(self._database.read, work, limiter=self._reading)

    async def _read_existing(self, work: Callable[[sqlite3.Connection], Answer], otherwise: Answer) -> Answer:
        """As `_read`; ``otherwise`` where there is no file and none may be created."""

        def read() -> Answer:
            return otherwise if self._database.is_missing() else self._database.read(work)

        return await to_thread.run_sync(read, limiter=self._reading)

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
