"""The indexer: documents kept and searched in one index of a Meilisearch server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, to_thread

from imgtag.plugin import (
    Change,
    Check,
    Delete,
    Document,
    Outcome,
    Page,
    PluginContext,
    Scope,
    SearchRequest,
    Similar,
    SimilarRequest,
    Upsert,
)
from imgtag_meilisearch import search
from imgtag_meilisearch.checks import run_checks
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.errors import ACTIONS_NEEDED, IndexMissing
from imgtag_meilisearch.scan import Scan
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.setup import Setup
from imgtag_meilisearch.tasks import Tasks
from imgtag_meilisearch.writer import Writer


class MeilisearchIndexer:
    """Keeps one document per object in an index that other sidecars, also those of other sites, may share.

    An index that does not exist yet is searched like an empty one.
    """

    def __init__(self, settings: MeilisearchSettings, context: PluginContext) -> None:
        self._settings = settings
        self._site = context.site

    async def __aenter__(self) -> Self:
        self._client = await to_thread.run_sync(IndexClient, self._settings)
        tasks = Tasks(self._client)
        self._setup = Setup(self._client, tasks, self._site, self._settings.settings_deadline)
        self._writer = Writer(self._client, tasks, self._settings)
        try:
            await self._client.run(self._client.check_health)
        except BaseException:
            self._client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._client.run(self._client.close)

    async def index_id(self) -> str:
        """Return when the index was created; empty where there is none. Two swapped indexes take it with them."""
        return await self._client.run(self._client.created_at) or ""

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return. Raises Unavailable: done or not, they may be made again."""
        if not changes:
            return []
        await self._setup.ensure()
        try:
            return await self._writer.apply(changes)
        except BaseException:
            self._setup.expire()
            raise

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Return the whole documents of these ids; absent ones are left out."""
        try:
            return await self._client.run(search.get, self._client, ids)
        except IndexMissing:
            return {}

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        try:
            return await self._client.run(search.search, self._client, request)
        except IndexMissing:
            return Page(hits=[], total=0, facets={field: {} for field in request.facets})

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents with the nearest vectors. Raises Incomparable."""
        try:
            return await self._client.run(search.similar, self._client, request)
        except IndexMissing:
            request.among(None)
            return []

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        try:
            async for document in Scan(self._client, site, scope).documents(fields):
                yield document
        except IndexMissing:
            return

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would yield."""
        try:
            return await Scan(self._client, site, scope).count()
        except IndexMissing:
            return 0

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        try:
            return await self._client.run(search.known, self._client, words)
        except IndexMissing:
            return frozenset()

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms with this prefix, at most a hundred, those of most documents first."""
        try:
            return await self._client.run(search.suggest, self._client, prefix, limit)
        except IndexMissing:
            return []

    def checks(self) -> AsyncIterator[Check]:
        """Look at the server, at the index with its settings, and at what the key may do."""
        return run_checks(self._client)

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Create the index and its settings, or tell what would be created."""
        return await self._setup.apply(apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Delete the index that setup created, or give the settings that it changed their former values."""
        return await self._setup.undo(record, apply=apply)

    def policy(self) -> str | None:
        """Return the body of `POST /keys` for a key that may do what the sidecar does, on this index alone.

        https://www.meilisearch.com/docs/reference/api/keys#create-a-key
        """
        description = "Writes and searches the documents of imgtag. Without indexes.create and settings.update "
        key = {
            "name": f"imgtag on {self._settings.index}",
            "description": description + "it does so in an index that `imgtag setup` created.",
            "actions": sorted(ACTIONS_NEEDED),
            "indexes": [self._settings.index],
            "expiresAt": None,
        }
        return json.dumps(key, indent=2)
