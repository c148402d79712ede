"""A running sidecar: parts are started in their order, kept, and drained."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio

from imgtag.assembly import make_indexer, make_pool, make_source, make_store
from imgtag.config.configuration import Config
from imgtag.config.label_rules import unknown
from imgtag.config.rules import Rules
from imgtag.errors import Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.pipeline import Pipeline, PipelineLimits
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.service import Service
from imgtag.plugin.source import Source
from imgtag.plugin.store import Store
from imgtag.reconcile import Reconciler
from imgtag.service.model_reloader import ModelReloader
from imgtag.service.treatments import Treatments, metadata_codec
from imgtag.stages.annotate import Annotator, WriteLimit
from imgtag.stages.classify import EntryBuilder
from imgtag.stages.compare import differences
from imgtag.stages.document import DocumentOptions
from imgtag.stages.index import Index
from imgtag.stages.receive import is_own_write
from imgtag.workers.generations import Models
from imgtag.workers.pool import WorkerPool

log = logging.getLogger(__name__)

_Part = TypeVar("_Part", bound=Service)
_Answer = TypeVar("_Answer")


@dataclass(kw_only=True)
class Sidecar:
    """The pipeline with all that it needs, made from a configuration."""

    config: Config
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)
    source: Source | None = field(default=None, init=False)
    """The source, once it is entered."""

    async def run(self, stop: anyio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Start, work until ``stop``, drain. Raises what cannot be mended by waiting."""
        for name in ("workers", "indexer", "store", "source"):
            self.health.component(name)
        async with AsyncExitStack() as stack:
            models = await stack.enter_async_context(Models(self._pool))
            renewal = ModelReloader(ModelResolver(self.config), models, self.metrics)
            await renewal.begin()
            self.health.up("workers")
            known = frozenset[str]().union(*(model.info.known() for model in models.all.values()))
            for finding in unknown(self.config, known):
                log.warning("label rule", extra={"finding": str(finding)})
            indexer = await self._started(stack, "indexer", partial(make_indexer, self.config))
            store = await self._started(stack, "store", partial(make_store, self.config))
            source = await self._started(stack, "source", partial(make_source, self.config))
            await self._prepared("indexer", indexer)
            await self._prepared("source", source)
            self.source = source
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(renewal.run)
                ready()
                await self._pipeline(source, store, indexer, models).run(stop)
                tasks.cancel_scope.cancel("drained")

    def _pool(self, models: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool:
        pool = make_pool(self.config, models=models, known=known)
        pool.on_restart = self.metrics.worker_restarted
        return pool

    async def _started(self, stack: AsyncExitStack, name: str, make: Callable[[], _Part]) -> _Part:
        """Enter a part as soon as what it depends on answers."""
        part = make()
        await self._patiently(name, lambda: stack.enter_async_context(part))
        self.health.up(name)
        return part

    async def _prepared(self, name: str, part: Source | Indexer) -> None:
        for change in await self._patiently(name, lambda: part.setup(apply=True)):
            log.info("made", extra={"part": name, "what": change.what})
        self.health.up(name)

    async def _patiently(self, name: str, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        backoff, count = self._backoff(), 0
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                count += 1
                self.health.component(name, error.message)
                delay = backoff.delay(count)
                log.warning("waiting", extra={"part": name, "reason": error.message, "in": round(delay, 1)})
            await anyio.sleep(delay)

    def _backoff(self) -> Backoff:
        pipeline = self.config.pipeline
        return Backoff(first=pipeline.retry_first, most=pipeline.retry_max)

    def _pipeline(self, source: Source, store: Store, indexer: Indexer, models: Models) -> Pipeline:
        site = self.config.site.name
        codec = metadata_codec(Rules(self.config).general)
        return Pipeline(
            source=source,
            reconcile=self._reconciler(
                store, Index(indexer, self.config.pipeline.batch, self.config.pipeline.batch_wait), models
            ),
            differences=lambda scope: differences(store, indexer, site, scope),
            own_write=lambda hint: is_own_write(hint, site, codec),
            metrics=self.metrics,
            flow=PipelineLimits(
                concurrency=self.config.pipeline.concurrency,
                backoff=self._backoff(),
                drain=self.config.pipeline.drain,
            ),
            health=self.health,
        )

    def _reconciler(self, store: Store, index: Index, models: Models) -> Reconciler:
        document = self.config.document
        return Reconciler(
            author=EntryBuilder(site=self.config.site.name, gps=document.gps, exif=document.exif),
            options=DocumentOptions(metadata=document.metadata, gps=document.gps, exif=document.exif),
            treat=Treatments(self.config, models),
            store=store,
            index=index,
            annotator=Annotator(store=store, limit=WriteLimit()),
            budget=ByteBudget(self.config.pipeline.bytes_in_flight),
            metrics=self.metrics,
        )
