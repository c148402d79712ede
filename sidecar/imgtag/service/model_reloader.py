"""Loads new models while the sidecar runs: those that arrive in the models folder, and a new default."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from anyio import to_thread

from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, ModelError, PluginError
from imgtag.models.display_names import DisplayNames
from imgtag.models.resolver import DEFAULT, ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.models.watch import watch_changes
from imgtag.ops.metrics import Metrics
from imgtag.workers.generations import ModelGenerations

log = logging.getLogger(__name__)


class ModelReloader:
    """Reloads whenever the folder changes. A model that cannot be used is refused, and the current one stays."""

    def __init__(self, resolver: ModelResolver, models: ModelGenerations, metrics: Metrics) -> None:
        self._resolver = resolver
        self._models = models
        self._metrics = metrics
        self._refused: Mapping[str, ModelSpec] | str | None = None
        """The models, or the message, of the last refusal."""

    async def start(self) -> None:
        """Load the models for the first time. Raises ModelError, PluginError, Unavailable, InvalidConfig."""
        specs = await to_thread.run_sync(self._resolver.resolve_all)
        await self._models.replace(specs, await to_thread.run_sync(self._resolver.resolve_installed))
        await self._publish()
        await self._remove_snapshots(self._models.specs)

    async def run(self) -> None:
        """Reload after each change, until cancelled."""
        if not self._resolver.has_model_files:
            return
        async with watch_changes(self._resolver.repository.folder) as changes:
            async for _ in changes:
                await self.reload()

    async def reload(self) -> None:
        """Load the current models, if they differ from those in use and can be loaded."""
        try:
            specs = await to_thread.run_sync(self._resolver.resolve_all)
        except ImgtagError as error:
            self._refuse(error, error.message)
            return
        if specs in (self._models.specs, self._refused):
            return
        before, old = self._ids(), self._models.specs
        try:
            await self._models.replace(specs, await to_thread.run_sync(self._resolver.resolve_installed))
        except ImgtagError as error:
            # Anything else, such as a full disk, may go well the next time.
            self._refuse(error, specs if isinstance(error, ModelError | PluginError) else None)
        else:
            self._refused = None
            self._metrics.model_changes.labels("taken").inc()
            for name, model in self._ids().items():
                if before.get(name) != model:
                    facts = {"use": name or "default", "model": model, "before": before.get(name, "")}
                    log.info("model_loaded", extra=facts)
            await self._publish()
            await self._remove_snapshots(old, specs)

    def _refuse(self, error: ImgtagError, refused: Mapping[str, ModelSpec] | str | None) -> None:
        """Report a refusal once; ``refused`` is None where the next attempt may succeed."""
        if refused is not None and refused == self._refused:
            return
        self._refused = refused
        self._metrics.model_changes.labels("refused").inc()
        facts = {"reason": error.message, "hint": error.hint, "model": self._ids()[DEFAULT]}
        log.error("model_refused", extra=facts)

    async def _publish(self) -> None:
        """Publish which models are in use, and how their labels are displayed."""
        self._metrics.models.clear()
        for name, model_id in self._ids().items():
            self._metrics.models.labels(name or "default", model_id).set(1)
        policy = PolicyResolver(self._resolver.config).general.labels
        names = {}
        for model in self._models.models.values():
            labels = model.info.vocabulary(policy).labels
            names[model.info.id] = {name: label.display for name, label in labels.items() if label.display != name}
        await to_thread.run_sync(DisplayNames(self._resolver.config.state_dir).add, names)

    def _ids(self) -> Mapping[str, str]:
        return {name: model.info.id for name, model in self._models.models.items()}

    async def _remove_snapshots(self, *used: Mapping[str, ModelSpec]) -> None:
        """Remove unused snapshots; those of the previous generation stay, as it may still be working."""
        if self._resolver.has_model_files:
            paths = [path for specs in used for path in self._resolver.files_of(specs)]
            await to_thread.run_sync(self._resolver.snapshots.remove_all_but, paths)
