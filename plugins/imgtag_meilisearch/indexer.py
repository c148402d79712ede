"""The indexer: documents kept in one index of a Meilisearch server and found again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope

from imgtag.errors import ImgtagError
from imgtag.plugin.indexer import Delete, Outcome, Page, SearchRequest, Similar, SimilarRequest, Upsert
from imgtag.plugin.service import Change, Check
from imgtag.plugin.spec import PluginContext
from imgtag.types.document import Document
from imgtag.types.ref import Scope
from imgtag_meilisearch import searching
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.fault import NEEDED, IndexMissing, Refused
from imgtag_meilisearch.index_settings import differing
from imgtag_meilisearch.removal import Removal
from imgtag_meilisearch.scanning import Scan
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.structure import Structure
from imgtag_meilisearch.tasks import Tasks
from imgtag_meilisearch.threads import Threads
from imgtag_meilisearch.transport import CONNECTIONS
from imgtag_meilisearch.writing import Writer

SETUP = "Run `imgtag setup`, or let the sidecar make it when it writes."


class MeilisearchIndexer:
    """Keeps one document an object in an index that other sidecars, also of other sites, may share.

    Where the index is not there yet it is empty to all who ask.
    """

    def __init__(self, settings: MeilisearchSettings, context: PluginContext) -> None:
        self._settings = settings
        self._site = context.site

    async def __aenter__(self) -> Self:
        self._threads = Threads(CONNECTIONS)
        self._connection = await self._threads.run(Connection, self._settings)
        tasks = Tasks(self._connection, self._threads)
        self._structure = Structure(self._connection, self._threads, tasks, self._settings.settings_deadline)
        self._removal = Removal(self._settings, self._site, self._connection, self._threads, self._structure)
        self._writer = Writer(self._settings, self._connection, self._threads, tasks)
        try:
            await self._threads.run(self._connection.health)
        except BaseException:
            self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._threads.run(self._connection.close)

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return. Raises Unavailable: done or not, they may be made again."""
        if not changes:
            return []
        await self._structure.ensure()
        return await self._writer.apply(changes)

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Return the whole documents of these ids; absent ones are left out."""
        try:
            return await self._threads.run(searching.get, self._connection, ids)
        except IndexMissing:
            return {}

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        try:
            return await self._threads.run(searching.search, self._connection, request)
        except IndexMissing:
            return Page(hits=[], total=0, facets={field: {} for field in request.facets})

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents of the nearest vectors. Raises Incomparable."""
        try:
            return await self._threads.run(searching.similar, self._connection, request)
        except IndexMissing:
            request.among(None)
            return []

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        try:
            async for document in Scan(self._connection, self._threads, site, scope).documents(fields):
                yield document
        except IndexMissing:
            return

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would give."""
        try:
            return await Scan(self._connection, self._threads, site, scope).count()
        except IndexMissing:
            return 0

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        try:
            return await self._threads.run(searching.known, self._connection, words)
        except IndexMissing:
            return frozenset()

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms that begin so, at most a hundred, those of most documents first."""
        try:
            return await self._threads.run(searching.suggest, self._connection, prefix, limit)
        except IndexMissing:
            return []

    async def checks(self) -> AsyncIterator[Check]:
        """Look at the server, at the index with its settings, and at what the key may do."""
        for name, look in (("index", self._look_server), ("index settings", self._look_settings)):
            yield await self._checked(name, look)
        for action, ask in self._asking().items():
            yield await self._checked(f"index key {action}", partial(_allowed, ask, action))

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Make the index and its settings, or say what would be made."""
        return await self._structure.setup(apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Delete the index that setup made, or give the settings that it changed their former values."""
        return await self._removal.undo(record, apply=apply)

    def policy(self) -> str | None:
        """The body of `POST /keys` for a key that may do what the sidecar does, on this index alone.

        https://www.meilisearch.com/docs/reference/api/keys#create-a-key
        """
        description = "Writes and searches the documents of imgtag. Without indexes.create and settings.update "
        key = {
            "name": f"imgtag on {self._settings.index}",
            "description": description + "it does so in an index that `imgtag setup` made.",
            "actions": sorted(NEEDED),
            "indexes": [self._settings.index],
            "expiresAt": None,
        }
        return json.dumps(key, indent=2)

    async def _checked(self, name: str, look: Callable[[], str]) -> Check:
        try:
            return Check(check=name, ok=True, message=await self._threads.run(look))
        except ImgtagError as error:
            return Check(check=name, ok=False, message=error.message, hint=error.hint or SETUP)

    def _look_server(self) -> str:
        self._connection.health()
        return f"Meilisearch at {self._settings.url} answers"

    def _look_settings(self) -> str:
        other = differing(self._connection.settings())
        if other:
            raise Refused(f"settings of {self._settings.index} differ: {', '.join(other)}", hint=SETUP)
        return f"the index {self._settings.index} is there, with its settings"

    def _asking(self) -> dict[str, Callable[[], object]]:
        """A question that changes nothing for each action that there is one for."""
        ask = self._connection
        return {
            "documents.add": ask.may_add,
            "documents.get": lambda: ask.fetch(limit=0),
            "search": lambda: ask.facets("", ()),
            "tasks.get": lambda: ask.tasks(limit=1),
        }


def _allowed(ask: Callable[[], object], action: str) -> str:
    with suppress(Refused, IndexMissing):  # it was understood, and nothing more was asked
        ask()
    return f"the key has {action}"
