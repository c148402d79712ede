"""The pipeline and the rule that it applies, over the parts of a configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import to_thread

from imgtag.assembly import make_indexer, make_pool, make_source, make_store, worker_count
from imgtag.config.configuration import Config
from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.pipeline import Pipeline, PipelineLimits
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.source import Source
from imgtag.plugin.store import Store
from imgtag.reconcile import Reconciler
from imgtag.stages.annotate import Annotator, WriteLimit
from imgtag.stages.classify import EntryBuilder
from imgtag.stages.compare import find_differences
from imgtag.stages.document import DocumentOptions
from imgtag.stages.index import Index
from imgtag.stages.receive import OwnWrites
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool

IN_HAND = 4
"""Images for each worker that are fetched, classified and written while others wait for the index."""


@dataclass(frozen=True, kw_only=True)
class Services:
    """The servers of a sidecar, or what stands in for them, entered."""

    source: Source
    store: Store
    indexer: Indexer


@dataclass(frozen=True, kw_only=True)
class JobParts(Services):
    """What a job over many objects works with."""

    site: str
    pipeline: Pipeline
    policy_of: Callable[[ObjectRef], ObjectPolicy | None]
    metrics: Metrics


@asynccontextmanager
async def open_job_parts(config: Config, *, read_only: bool = False, labels: bool = True) -> AsyncIterator[JobParts]:
    """The parts of a sidecar for one job beside it: same rule, same models, but nothing is taken from the source.

    With ``read_only`` nothing is created or changed anywhere, and the pipeline is not to be used. A job without
    ``labels`` has one worker, which says what the models know; nothing is set up for it.

    Raises Unavailable, ModelError, PluginError, InvalidConfig.
    """
    metrics, health = Metrics(), Health()

    def make(models: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool | RemotePool:
        return make_pool(config, 1 if read_only or not labels else None, models, known)

    async with (
        make_indexer(config, read_only=read_only) as indexer,
        make_store(config, read_only=read_only) as store,
        make_source(config, read_only=read_only) as source,
        ModelGenerations(make) as generations,
    ):
        resolver = ModelResolver(config)
        models = await to_thread.run_sync(resolver.resolve_all)
        await generations.replace(models, await to_thread.run_sync(resolver.resolve_installed))
        if labels and not read_only:
            await indexer.setup(apply=True)
            await source.setup(apply=True)
        services = Services(source=source, store=store, indexer=indexer)
        pipeline = make_pipeline(config, services, generations, metrics=metrics, health=health, is_job=True)
        yield make_job_parts(config, services, pipeline)


def make_job_parts(config: Config, services: Services, pipeline: Pipeline) -> JobParts:
    """What a job works with over these services."""
    return JobParts(
        source=services.source,
        store=services.store,
        indexer=services.indexer,
        site=config.site.name,
        pipeline=pipeline,
        policy_of=pipeline.reconcile.policy_of,
        metrics=pipeline.metrics,
    )


def make_backoff(config: Config) -> Backoff:
    """The configured pauses between tries."""
    return Backoff(first=config.pipeline.retry_first, maximum=config.pipeline.retry_max)


def make_reconciler(
    config: Config,
    policy_of: PolicyResolver,
    store: Store,
    indexer: Indexer,
    generations: ModelGenerations,
    *,
    metrics: Metrics,
    health: Health,
) -> Reconciler:
    """The rule over these parts."""
    site, settings, document = config.site.name, config.pipeline, config.document
    budget, in_hand = ByteBudget(settings.bytes_in_flight), IN_HAND * worker_count(config)
    return Reconciler(
        site=site,
        entry_builder=EntryBuilder(site=site, gps=document.gps, exif=document.exif),
        document_options=DocumentOptions(metadata=document.metadata, gps=document.gps, exif=document.exif),
        policy_of=policy_of,
        models=lambda: generations.models,
        store=store,
        index=Index(
            indexer,
            health,
            settings.batch,
            settings.batch_wait,
            # The images whose bytes are held are those that keep the workers busy.
            is_due=lambda: budget.holders <= in_hand,
        ),
        annotator=Annotator(store=store, limit=WriteLimit(), metrics=metrics),
        budget=budget,
        metrics=metrics,
        health=health,
        own_writes=OwnWrites(),
        # Without notifications, all is compared every few minutes; with them, a comparison stands in for lost ones.
        suffix_decides=not config.context().needs_notifications,
    )


def make_pipeline(
    config: Config,
    services: Services,
    generations: ModelGenerations,
    *,
    metrics: Metrics,
    health: Health,
    is_job: bool = False,
) -> Pipeline:
    """The pipeline over these services, and the rule that it applies; ``is_job`` as in `Pipeline`."""
    store, indexer, site, settings = services.store, services.indexer, config.site.name, config.pipeline
    policy_of = PolicyResolver(config)
    reconcile = make_reconciler(config, policy_of, store, indexer, generations, metrics=metrics, health=health)
    own_writes = reconcile.own_writes

    def is_own_write(hint: Hint) -> bool:
        if hint.ref not in own_writes:
            return False
        return own_writes.reports(hint, site, (policy_of(hint.ref) or policy_of.general).codec)

    return Pipeline(
        source=services.source,
        reconcile=reconcile,
        find_differences=lambda scope: find_differences(store, indexer, site, scope, reconcile.may_need_document),
        is_own_write=is_own_write,
        take_unconfirmed=own_writes.take_unconfirmed,
        metrics=metrics,
        limits=PipelineLimits(concurrency=settings.concurrency, drain=settings.drain, backoff=make_backoff(config)),
        health=health,
        is_job=is_job,
    )
