"""A running sidecar: parts are started in their order, kept, and drained."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio

from imgtag.assembly import is_remote, make_indexer, make_pool, make_source, make_store
from imgtag.config.configuration import Config
from imgtag.config.label_rules import find_unknown_names
from imgtag.engine import Services, make_backoff, make_job_parts, make_pipeline
from imgtag.errors import Unavailable
from imgtag.jobs.distributed import BackfillWorker
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.service import Service
from imgtag.plugin.source import Source
from imgtag.service.audit_watch import show_audits
from imgtag.service.index_watch import IndexWatch
from imgtag.service.model_reloader import ModelReloader
from imgtag.service.saved_searches import count_saved_searches
from imgtag.service.schedule import make_schedule
from imgtag.web.application import serve_web
from imgtag.web.arrivals import Arrivals, announcing
from imgtag.workers.confinement import CONFINEMENT_HINT, WORKER_FEATURES, is_memory_hidden, missing_features
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool

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
    web_port: int | None = field(default=None, init=False)
    """Where the search page listens, once it does."""
    started: bool = field(default=False, init=False)
    """Whether every part is there and the pipeline runs."""

    async def run(self, stop: anyio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Start, work until ``stop``, drain. Before it has started, ``stop`` ends it at once: nothing is in work yet.

        Raises what waiting cannot mend.
        """
        remote = ("classifier",) if is_remote(self.config) else ()
        for name in (*remote, "workers", "indexer", "store", "source"):
            self.health.component(name)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._abandon_start, stop, tasks.cancel_scope)
            async with AsyncExitStack() as stack:
                generations = await stack.enter_async_context(ModelGenerations(self._make_pool))
                reloader = ModelReloader(ModelResolver(self.config), generations, self.metrics)
                await (self._retry(remote[0], reloader.start) if remote else reloader.start())
                for name in (*remote, "workers"):
                    self.health.up(name)
                self._report_confinement(generations.confinement)
                known = frozenset[str]().union(*(model.info.names() for model in generations.models.values()))
                for finding in find_unknown_names(self.config, known) if known else ():
                    log.warning("label_rule_unknown", extra={"reason": str(finding)})
                indexer = await self._enter(stack, "indexer", partial(make_indexer, self.config))
                store = await self._enter(stack, "store", partial(make_store, self.config))
                source = await self._enter(stack, "source", partial(make_source, self.config))
                await self._set_up("indexer", indexer)
                await self._set_up("source", source)
                self.source, self.started = source, True
                tasks.start_soon(reloader.run)
                if self.config.web.listen:
                    arrivals = Arrivals()
                    indexer = announcing(indexer, arrivals)
                    serve = partial(serve_web, self.config, lambda: generations.models, arrivals)
                    start = partial(tasks.start, partial(serve, metrics=self.metrics, health=self.health))
                    self.web_port = await self._retry("indexer", start)
                    self.health.up("indexer")
                ready()
                services = Services(source=source, store=store, indexer=indexer)
                pipeline = make_pipeline(self.config, services, generations, metrics=self.metrics, health=self.health)
                watch = IndexWatch(
                    indexer=indexer,
                    store=store,
                    pipeline=pipeline,
                    buckets=self.config.context().buckets,
                    file=self.config.state_dir / "index_id",
                )
                tasks.start_soon(watch.run)
                schedule = make_schedule(self.config, services, pipeline)
                if schedule:
                    tasks.start_soon(schedule.run, stop)
                records = schedule.records if schedule else None
                tasks.start_soon(count_saved_searches, self.config.searches, indexer, self.metrics)
                tasks.start_soon(show_audits, self.config.state_dir, records, self.metrics)
                backfills = getattr(source, "backfills", None)
                async with anyio.create_task_group() as working:
                    if backfills is not None:
                        parts = make_job_parts(self.config, services, pipeline)
                        worker = BackfillWorker(parts=parts, backfills=backfills, drain=self.config.pipeline.drain)
                        working.start_soon(worker.run, stop)
                    await pipeline.run(stop)
                    if not stop.is_set():
                        working.cancel_scope.cancel("the source has ended")
                tasks.cancel_scope.cancel("drained")

    async def _abandon_start(self, stop: anyio.Event, scope: anyio.CancelScope) -> None:
        await stop.wait()
        if not self.started:
            scope.cancel("stopped before the start was complete")

    def _make_pool(self, models: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool | RemotePool:
        pool = make_pool(self.config, models=models, known=known)
        pool.on_restart = lambda code: self.metrics.worker_restarts.labels(code).inc()
        return pool

    def _report_confinement(self, granted: frozenset[str]) -> None:
        for feature in WORKER_FEATURES:
            self.metrics.worker_confinement.labels(feature).set(feature in granted)
        self.metrics.worker_confinement.labels("dumpable").set(is_memory_hidden())
        missing = missing_features(granted)
        if missing:
            reason = "an image that takes over a worker can read the sidecar's files, or reach the network"
            log.warning(
                "worker_confinement_incomplete",
                extra={"missing": list(missing), "reason": reason, "hint": CONFINEMENT_HINT},
            )

    async def _enter(self, stack: AsyncExitStack, name: str, make: Callable[[], _Part]) -> _Part:
        """Enter a part as soon as what it depends on answers."""
        part = make()
        await self._retry(name, lambda: stack.enter_async_context(part))
        self.health.up(name)
        return part

    async def _set_up(self, name: str, part: Source | Indexer) -> None:
        for change in await self._retry(name, lambda: part.setup(apply=True)):
            if change.done:
                log.info("resource_created", extra={"part": name, "resource": change.what})
        self.health.up(name)

    async def _retry(self, name: str, attempt: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Attempt until it succeeds; each wait says what for."""
        backoff, failures = make_backoff(self.config), 0
        while True:
            try:
                return await attempt()
            except Unavailable as error:
                failures += 1
                self.health.component(name, error.message)
                delay = backoff.delay(failures)
                facts = {"part": name, "reason": error.message, "hint": error.hint, "delay": round(delay, 1)}
                log.warning("waiting_for_dependency", extra=facts)
            await anyio.sleep(delay)
