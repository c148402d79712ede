"""The indexer: documents kept and searched in one index of an Elasticsearch or OpenSearch cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CancelScope, current_time, to_thread

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
from imgtag_elasticsearch.checks import run_checks
from imgtag_elasticsearch.client import Client
from imgtag_elasticsearch.errors import IndexMissing, ReadOnly
from imgtag_elasticsearch.policy import describe_roles
from imgtag_elasticsearch.rebuild import SUFFIX, Rebuild
from imgtag_elasticsearch.search import PAGE_SIZE, Searcher
from imgtag_elasticsearch.settings import ElasticsearchSettings
from imgtag_elasticsearch.setup import Setup, base_of
from imgtag_elasticsearch.versions import VersionClock
from imgtag_elasticsearch.writer import Writer

Answer = TypeVar("Answer")


class ElasticsearchIndexer:
    """Keeps one document per object in an index that other sidecars, also those of other sites, may share.

    An index that does not exist yet is searched like an empty one.
    """

    def __init__(self, settings: ElasticsearchSettings, context: PluginContext, base: str | None = None) -> None:
        self._settings = settings
        self._context = context
        self._base = base or base_of(settings)
        self.spare = f"{settings.index}{SUFFIX}"

    async def __aenter__(self) -> Self:
        self._client = await to_thread.run_sync(Client, self._settings)
        self._searcher = Searcher(self._client, self._settings.index)
        self._setup = Setup(self._client, self._settings, self._context.site, self._base)
        self._rebuild = Rebuild(self._client, self._setup, self._settings)
        self._writer = Writer(self._client, self._settings, VersionClock())
        try:
            await self._client.run(self._setup.cluster)
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
        """Return the UUID of the index behind the alias; empty where there is none."""
        index = await self._client.run(self._client.index, self._settings.index)
        return index.id if index else ""

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes; durable and visible on return. Raises Unavailable: done or not, they may be made again."""
        if not changes:
            return []
        try:
            return await self._write(changes)
        except (IndexMissing, ReadOnly):  # it may have been deleted, or another one put in its place
            return await self._write(changes)

    async def _write(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        try:
            index = await self._client.run(self._setup.ensure, current_time())
            return await self._client.run(self._writer.apply, changes, with_vectors=index.has_vectors)
        except BaseException:
            self._setup.expire()
            raise

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        """Return the documents of these ids, whole or in part; absent ones are left out."""
        return await self._ask(lambda: self._searcher.get(ids, fields), {})

    async def search(self, request: SearchRequest) -> Page:
        """Return the documents that match."""
        empty = Page(hits=[], total=0, facets={field: {} for field in request.facets})
        return await self._ask(lambda: self._searcher.search(request), empty)

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """Return the documents with the nearest vectors. Raises Incomparable."""

        def search() -> list[Similar]:
            index = self._client.index(self._settings.index)
            if index is None:
                request.among(None)
                return []
            product = self._setup.cluster().product
            return self._searcher.similar(request, product=product, has_vectors=index.has_vectors)

        return await self._client.run(search)

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """Yield the documents of a site and scope in the order of their keys' UTF-8 bytes."""
        names = {*fields, "key"} if fields else None
        after: str | None = None
        none: list[dict[str, Any]] = []
        while page := await self._ask(partial(self._searcher.page, site, scope, after, fields), none):
            for document in page:
                yield {name: document[name] for name in document if names is None or name in names}
            if len(page) < PAGE_SIZE:
                return
            after = str(page[-1]["key"])

    async def count(self, site: str, scope: Scope) -> int:
        """Return how many documents `scan` would yield."""
        return await self._ask(lambda: self._searcher.count(site, scope), 0)

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Return those of the words and labels that some document has among its terms and words."""
        return await self._ask(lambda: self._searcher.known(words), frozenset())

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Return terms with this prefix, those of most documents first."""
        return await self._ask(lambda: self._searcher.suggest(prefix, limit), [])

    async def _ask(self, question: Callable[[], Answer], empty: Answer) -> Answer:
        """The answer of the index, or the other one where there is none yet."""
        try:
            return await self._client.run(question)
        except IndexMissing:
            return empty

    def checks(self) -> AsyncIterator[Check]:
        """Look at the cluster, at the index with its mapping, and at what the login may do."""
        return run_checks(self._client, self._setup)

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Create the template, the index and its alias, or tell what would be created."""
        return await self._client.run(self._setup.apply, apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Delete the index or the template that setup created."""
        return await self._client.run(self._setup.undo, record, apply=apply)

    async def check_rebuild(self) -> None:
        """Raise ConfigError where the login does not allow it."""
        await self._client.run(self._rebuild.check)

    async def has_spare(self) -> bool:
        """Return whether the index of a rebuild is there."""
        return await self._client.run(self._rebuild.exists)

    @asynccontextmanager
    async def open_spare(self) -> AsyncIterator[ElasticsearchIndexer]:
        """Open the index beside this one; where it is missing, it is created with the settings of this one."""
        async with ElasticsearchIndexer(self._rebuild.spare_settings, self._context, self._base) as spare:
            await self._client.run(self._rebuild.create, spare._setup, current_time())
            yield spare

    async def swap(self) -> None:
        """Exchange the aliases of both indexes, at one moment."""
        await self._client.run(self._rebuild.swap)
        self._setup.expire()

    async def drop_spare(self) -> None:
        """Delete the index beside this one."""
        await self._client.run(self._rebuild.drop)

    def policy(self) -> str | None:
        """Return a role for each product that may do what the sidecar does, on the indexes of this alias alone."""
        return describe_roles(self._settings, ())

    def policy_with(self, commands: Collection[str]) -> str | None:
        """As `policy`; with `reindex` also for an index beside this one, with `setup` also for the index template."""
        return describe_roles(self._settings, commands)
