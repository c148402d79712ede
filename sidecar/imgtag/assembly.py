"""Makes the parts of a running sidecar from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from imgtag.config.configuration import Config, SelectedPlugin
from imgtag.errors import ImgtagError
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.plugin.classifier import RemoteClassifier
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.service import Service
from imgtag.plugin.source import NotificationTarget, Source
from imgtag.plugin.spec import Kind
from imgtag.plugin.store import Store
from imgtag.plugin_guard import ForeignErrors, GuardedPart
from imgtag.plugin_loader import load_factory, require_members
from imgtag.workers.capacity import read_capacity
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool
from imgtag.workers.worker import WorkerTerms


def make_source(config: Config, *, read_only: bool = False) -> Source:
    """The configured source, not yet entered."""
    return cast("Source", _make(config, config.require("source"), Source, read_only=read_only))


def make_store(
    config: Config, notification_target: NotificationTarget | None = None, *, read_only: bool = False
) -> Store:
    """The configured store, not yet entered. ``notification_target`` is needed only to set it up and to check it."""
    context = {"notification_target": notification_target, "read_only": read_only}
    return cast("Store", _make(config, config.require("store"), Store, **context))


def make_indexer(config: Config, *, read_only: bool = False) -> Indexer:
    """The configured indexer, not yet entered."""
    return cast("Indexer", _make(config, config.require("indexer"), Indexer, read_only=read_only))


def make_remote_classifier(config: Config, *, read_only: bool = False) -> RemoteClassifier:
    """The configured classifier of the main process, not yet entered. `is_remote` says whether it is one."""
    plugin = config.require("classifier")
    return cast("RemoteClassifier", _make(config, plugin, RemoteClassifier, read_only=read_only))


def is_remote(config: Config) -> bool:
    """Whether the configured classifier asks a server."""
    return config.classifier is not None and config.classifier.spec.runs == "main"


def parts(config: Config, *, read_only: bool = False) -> dict[Kind, Callable[[], Service]]:
    """How to make the configured parts, in the order in which a sidecar starts them."""
    makers: dict[Kind, Callable[[], Service]] = {
        "indexer": partial(make_indexer, config, read_only=read_only),
        "store": lambda: make_store(config, _find_notification_target(config), read_only=read_only),
        "source": partial(make_source, config, read_only=read_only),
    }
    if is_remote(config):
        makers = {"classifier": partial(make_remote_classifier, config, read_only=read_only), **makers}
    return {kind: make for kind, make in makers.items() if config.selected(kind)}


def _find_notification_target(config: Config) -> NotificationTarget | None:
    """Where the source expects the store's notifications; None without a usable source, which is reported elsewhere."""
    try:
        return make_source(config, read_only=True).features.notification_target
    except ImgtagError:
        return None


def worker_count(config: Config) -> int:
    """The configured number of workers, else what this machine or container has room for."""
    return config.pipeline.workers or read_capacity().workers(config.pipeline.worker_memory)


def describe_workers(config: Config) -> str:
    """How many workers there will be, and why, as a person reads it."""
    if config.pipeline.workers:
        return f"workers: {config.pipeline.workers}, as configured"
    capacity, memory = read_capacity(), config.pipeline.worker_memory
    return f"workers: {capacity.workers(memory)}, limited by {capacity.describe(memory)}"


def worker_terms(config: Config) -> WorkerTerms:
    """How workers live."""
    return WorkerTerms(
        memory=config.pipeline.worker_memory,
        models=config.models.max_models,
        require_confinement=config.pipeline.require_confinement,
    )


def make_pool(
    config: Config,
    count: int | None = None,
    models: Sequence[ModelSpec] | None = None,
    known: Sequence[ModelSpec] = (),
) -> WorkerPool | RemotePool:
    """Workers for the default model, or for these, not yet started; or what asks a server instead of them.

    Raises ModelError, PluginError, Unavailable.
    """
    specs = models or [ModelResolver(config).resolve()]
    count, terms = count or worker_count(config), worker_terms(config)
    if is_remote(config):
        return RemotePool(specs[0], make_remote_classifier(config), WorkerPool((), count, terms=terms))
    return WorkerPool(specs, count, terms=terms, known=known)


def _make(config: Config, plugin: SelectedPlugin, protocol: type, **context: Any) -> Any:
    """The plugin's part, guarded: what it raises without the core knowing it becomes PluginError with its name."""
    factory = load_factory(plugin.spec)
    with ForeignErrors(plugin.spec):
        part = factory(plugin.settings, replace(config.context(), **context))
    require_members(plugin.spec, part, protocol)
    return GuardedPart(part, plugin.spec)
