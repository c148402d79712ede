"""Which model is meant by a name of the configuration, as workers are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imgtag.config.configuration import Config, SelectedPlugin
from imgtag.config.findings import InvalidConfig
from imgtag.errors import ModelError
from imgtag.models.repository import ModelRepository
from imgtag.models.snapshots import ModelSnapshots
from imgtag.models.spec import ModelSpec
from imgtag.plugin.spec import ModelSettings
from imgtag.registry import suggestion

DEFAULT = ""
"""The name under which the default model is ordered."""
_PINS = "models.used"
_NAMING = ("model", "shadow")
"""Keys of a rule that name a model."""


class UnknownModel(ModelError):
    """There is no model of this name."""

    default_code = "unknown_model"


@dataclass(frozen=True)
class ModelResolver:
    """The models of a configuration. Blocking, as it looks at the disk."""

    config: Config

    @cached_property
    def library(self) -> ModelRepository:
        """The folder of models. Raises InvalidConfig where the classifier has no model files."""
        return ModelRepository(self.config.models_dir, self.about.suffix)

    @property
    def about(self) -> ModelSettings:
        """How the classifier is told its model. Raises InvalidConfig where its models are no files."""
        about = self._chosen.spec.models
        if about is None:
            message = f"[classifier.{self._chosen.name}] has no model files"
            raise InvalidConfig([self.config.origins.finding("classifier", message)])
        return about

    @cached_property
    def pins(self) -> ModelSnapshots:
        """Copies of the models that are in use."""
        return ModelSnapshots(self.config.state_dir / _PINS, self.about.suffix)

    @property
    def default(self) -> str:
        """The model of objects whose rule names none: the configured one, else the chosen, else the built-in."""
        about, settings = self.about, self._chosen.settings
        value: str = getattr(settings, about.name)
        if self.configured:
            return value
        return self.library.chosen() or value

    @property
    def configured(self) -> bool:
        """Whether the configuration itself names the default model."""
        return self.about.name in self._chosen.settings.model_fields_set

    def order(
        self, name: str = DEFAULT, *, pinned: bool = False, changed: Mapping[str, Any] | None = None
    ) -> ModelSpec:
        """What workers are told of a model. ``pinned``: of a copy of it that stays as it is.

        ``changed`` are settings in the place of the configured ones. Raises ModelError where there is no such model.
        """
        if self._chosen.spec.models is None:
            return self._ordered({**self._said, **(changed or {})})
        about = self.about
        wanted = name or self.default
        if wanted != getattr(self._chosen.settings, about.name):
            changed = {**dict.fromkeys(about.own), **(changed or {})}
        value = self._place(wanted, pinned=pinned)
        return self._ordered({**self._said, **(changed or {}), about.name: value})

    def all(self) -> Mapping[str, ModelSpec]:
        """Every model that the configuration names, pinned, by that name.

        Raises ModelError, Unavailable; InvalidConfig where a name stands for nothing.
        """
        named = {getattr(rule, key): f"rules[{n}].{key}" for n, rule in enumerate(self.config.rules) for key in _NAMING}
        found = {DEFAULT: self.order(pinned=True)}
        for name in filter(None, named):
            try:
                found[name] = self.order(name, pinned=True)
            except UnknownModel as error:
                finding = self.config.origins.finding(named[name], error.message)
                raise InvalidConfig([finding], hint=error.hint) from error
        return found

    def installed(self) -> list[ModelSpec]:
        """Every model that there is besides: what it has labelled is understood, though it labels no more."""
        if self._chosen.spec.models is None:
            return []
        names = [*self.about.builtin[:1], *(each.name for each in self.library.list() if each.files)]
        return [self.order(name) for name in names]

    def files(self, orders: Mapping[str, ModelSpec]) -> list[Path]:
        """The files that these were ordered by."""
        if self._chosen.spec.models is None:
            return []
        return [Path(order.settings[self.about.name]) for order in orders.values()]

    def located(self, name: str) -> Path | None:
        """The file or manifest that a name means; None where it comes with the classifier. Raises ModelError."""
        about = self.about
        found = self.library.path(name)
        if found is not None:
            return found
        if "/" in name or name.endswith(about.suffix):
            return Path(name).expanduser().absolute()
        if name in about.builtin:
            return None
        known = [*about.builtin, *(each.name for each in self.library.list())]
        message = f"there is no model {name!r} in {self.library.folder}{suggestion(name, known)}"
        raise UnknownModel(message, hint="`imgtag models list` shows what there is, `imgtag models add` adds one.")

    def _place(self, name: str, *, pinned: bool) -> str:
        path = self.located(name)
        if path is None:
            return name
        return str(self.pins.pin(path) if pinned else path)

    def _ordered(self, settings: Mapping[str, Any]) -> ModelSpec:
        checked = self._chosen.spec.settings.model_validate(
            {key: value for key, value in settings.items() if value is not None}
        )
        return ModelSpec(entry=self._chosen.entry, settings=checked.model_dump(mode="json"))

    @property
    def _said(self) -> Mapping[str, Any]:
        return self._chosen.settings.model_dump()

    @property
    def _chosen(self) -> SelectedPlugin:
        return self.config.need("classifier")
