"""Takes new models while the sidecar runs: what came into the folder of models, and what was chosen there."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from anyio import to_thread

from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, ModelError, PluginError
from imgtag.models.display_names import DisplayNames
from imgtag.models.resolver import DEFAULT, ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.models.watch import changes
from imgtag.ops.metrics import Metrics
from imgtag.workers.generations import ModelGenerations

log = logging.getLogger(__name__)


class ModelReloader:
    """Looks again whenever the folder has changed. A model that cannot be used is refused, and the old one stays."""

    def __init__(self, orders: ModelResolver, models: ModelGenerations, metrics: Metrics) -> None:
        self._orders = orders
        self._models = models
        self._metrics = metrics
        self._refused: Mapping[str, ModelSpec] | str | None = None

    async def begin(self) -> None:
        """Take the models for the first time. Raises ModelError, PluginError, Unavailable, InvalidConfig."""
        orders = await to_thread.run_sync(self._orders.all)
        await self._models.replace(orders, await to_thread.run_sync(self._orders.installed))
        await self._tell()
        await self._tidy(self._models.specs)

    async def run(self) -> None:
        """For ever."""
        if not self._watched():
            return
        async with changes(self._orders.library.folder) as seen:
            async for _ in seen:
                await self.look()

    async def look(self) -> None:
        """Take what is there now, if it is something else and can be used."""
        try:
            orders = await to_thread.run_sync(self._orders.all)
        except ImgtagError as error:
            self._refuse(error, error.message)
            return
        if orders in (self._models.specs, self._refused):
            return
        before, old = self._names(), self._models.specs
        try:
            await self._models.replace(orders, await to_thread.run_sync(self._orders.installed))
        except ImgtagError as error:
            self._refuse(error, orders if isinstance(error, ModelError | PluginError) else None)
        else:
            self._taken(before)
            await self._tell()
            await self._tidy(old, orders)

    def _watched(self) -> bool:
        return self._orders.config.need("classifier").spec.models is not None

    def _taken(self, before: Mapping[str, str]) -> None:
        self._refused = None
        self._metrics.model_changes.labels("taken").inc()
        after = self._names()
        for name in (name for name in after if before.get(name) != after[name]):
            facts = {"use": name or "default", "model": after[name], "before": before.get(name, "")}
            log.info("new model taken; what was labelled before keeps its labels", extra=facts)

    def _refuse(self, error: ImgtagError, what: Mapping[str, ModelSpec] | str | None) -> None:
        """Once for the same; ``what`` is None where the next look may go well."""
        if what is not None and what == self._refused:
            return
        self._refused = what
        self._metrics.model_changes.labels("refused").inc()
        facts = {"reason": error.message, "hint": error.hint, "model": self._names()[DEFAULT]}
        log.error("new model refused; the one in use stays", extra=facts)

    async def _tell(self) -> None:
        """Which models these are, and how their labels are shown."""
        self._metrics.models.clear()
        for name, model_id in self._names().items():
            self._metrics.models.labels(name or "default", model_id).set(1)
        policy = PolicyResolver(self._orders.config).general.labels
        shown = {}
        for model in self._models.models.values():
            meanings = model.info.vocabulary(policy).labels
            shown[model.info.id] = {name: said.display for name, said in meanings.items() if said.display != name}
        await to_thread.run_sync(DisplayNames(self._orders.config.state_dir).add, shown)

    def _names(self) -> Mapping[str, str]:
        return {name: model.info.id for name, model in self._models.models.items()}

    async def _tidy(self, *used: Mapping[str, ModelSpec]) -> None:
        """Copies that nobody uses go; those of the generation before stay, for it may still be at work."""
        if self._watched():
            kept = [path for orders in used for path in self._orders.files(orders)]
            await to_thread.run_sync(self._orders.pins.keep, kept)
