"""The parts of a running sidecar, made from the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from imgtag.config.configuration import Config, SelectedPlugin
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.service import Service
from imgtag.plugin.source import NotificationTarget, Source
from imgtag.plugin.spec import Kind
from imgtag.plugin.store import Store
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import WorkerTerms


def make_source(config: Config) -> Source:
    """The configured source, not yet entered."""
    return cast("Source", _make(config, config.require("source")))


def make_store(config: Config, notification_target: NotificationTarget | None = None) -> Store:
    """The configured store, not yet entered. ``notification_target`` is needed only to set it up."""
    return cast("Store", _make(config, config.require("store"), notification_target=notification_target))


def make_indexer(config: Config) -> Indexer:
    """The configured indexer, not yet entered."""
    return cast("Indexer", _make(config, config.require("indexer")))


def parts(config: Config) -> dict[Kind, Callable[[], Service]]:
    """How to make those parts that are configured, in the order in which a sidecar starts them."""
    found: dict[Kind, Callable[[], Service]] = {
        "indexer": partial(make_indexer, config),
        "store": partial(make_store, config),
        "source": partial(make_source, config),
    }
    return {kind: make for kind, make in found.items() if config.chosen(kind)}


def worker_count(config: Config) -> int:
    """One worker a core that we may run on, unless the configuration says otherwise."""
    return config.pipeline.workers or len(os.sched_getaffinity(0))


def worker_terms(config: Config) -> WorkerTerms:
    """How workers live."""
    return WorkerTerms(memory=config.pipeline.worker_memory, models=config.models.max_models)


def make_pool(
    config: Config,
    count: int | None = None,
    models: Sequence[ModelSpec] | None = None,
    known: Sequence[ModelSpec] = (),
) -> WorkerPool:
    """The workers of the default model, or of these, not yet started. Raises ModelError, Unavailable."""
    specs = models or [ModelResolver(config).resolve()]
    return WorkerPool(specs, count or worker_count(config), terms=worker_terms(config), known=known)


def _make(config: Config, chosen: SelectedPlugin, **told: Any) -> object:
    return chosen.spec.load()(chosen.settings, replace(config.context(), **told))
