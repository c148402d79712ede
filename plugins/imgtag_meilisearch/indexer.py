"""The indexer: documents kept and searched in one index of a Meilisearch server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, to_thread

from imgtag.plugin import (
    Change,
    Check,
    Condition,
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
from imgtag_meilisearch.errors import ACTIONS_NEEDED, ACTIONS_OF_REINDEX, IndexMissing
from imgtag_meilisearch.rebuild import SUFFIX, Rebuild
from imgtag_meilisearch.scan import Scan
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.setup import Setup
from imgtag_meilisearch.tasks import Tasks
from imgtag_meilisearch.tokens import sign_token
from imgtag_meilisearch.writer import Writer


class MeilisearchIndexer:
    """Keeps one document per object in an index that other sidecars, also those of other sites, may share.

    An index that does not exist yet is searched like an empty one.
    """

    def __init__(self, settings: MeilisearchSettings, context: PluginContext) -> None:
        self._settings = settings
        self._context = context
        self.spare = f"{settings.index}{SUFFIX}"

    async def __aenter__(self) -> Self:
        self._client = await to_thread.run_sync(IndexClient, self._settings)
        tasks = Tasks(self._client)
        self._setup = Setup(self._client, tasks, self._context.site, self._settings.settings_deadline)
        self._rebuild = await to_thread.run_sync(Rebuild, self._client, self._setup, self._settings)
        self._writer = Writer(self._client, tasks, self._settings)
        try:
            await self._client.run(self._client.check_health)
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with CancelScope(shield=True):
            await self._client.run(self._close)

    def _close(self) -> None:
        self._rebuild.close()
        self._client.close()

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

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        """Return the documents of these ids, whole or in part; absent ones are left out."""
        try:
            return await self._client.run(search.get, self._client, ids, fields)
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

    async def check_rebuild(self) -> None:
        """Raise ConfigError where the key does not allow it; to find out, an index is deleted that is not there."""
        await self._rebuild.check()

    async def has_spare(self) -> bool:
        """Return whether the index of a rebuild is there."""
        return await self._rebuild.exists()

    @asynccontextmanager
    async def open_spare(self) -> AsyncIterator[MeilisearchIndexer]:
        """Open the index beside this one; where it is missing, it is created with the settings of this one."""
        async with MeilisearchIndexer(self._rebuild.spare_settings, self._context) as spare:
            await self._rebuild.inherit(spare._setup)
            yield spare

    async def swap(self) -> None:
        """Swap both indexes, which take their settings and the time of their creation with them."""
        await self._rebuild.swap()

    async def drop_spare(self) -> None:
        """Delete the index beside this one."""
        await self._rebuild.drop()

    def sign_search_token(self, key: str, condition: Condition, expires: int) -> str:
        """Return a tenant token; ``key`` is the server's answer to `POST /keys`. Raises ConfigError."""
        return sign_token(key, self._settings.index, condition, expires)

    def policy(self) -> str | None:
        """Return the body of `POST /keys` for a key that may do what the sidecar does, on this index alone.

        https://www.meilisearch.com/docs/reference/api/keys#create-a-key
        """
        return self.policy_with(())

    def policy_with(self, commands: Collection[str]) -> str | None:
        """As `policy`; with `reindex`, the key may build another index beside this one, and swap the two, as well."""
        settings, rebuilds = self._settings, "reindex" in commands
        purpose = (
            "Writes and searches the documents of imgtag. Without indexes.create and settings.update it does so in an "
            "index that `imgtag setup` created."
        )
        if rebuilds:
            purpose = f"Builds {settings.index}{SUFFIX} and puts it in the place of {settings.index}."
        key = {
            "name": f"imgtag{' reindex' if rebuilds else ''} on {settings.index}",
            "description": purpose,
            "actions": sorted(ACTIONS_NEEDED | (ACTIONS_OF_REINDEX if rebuilds else frozenset())),
            "indexes": [settings.index, *([f"{settings.index}{SUFFIX}"] if rebuilds else [])],
            "expiresAt": None,
        }
        return json.dumps(key, indent=2)
