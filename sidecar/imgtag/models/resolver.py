"""From the name of a model in the configuration to what a worker loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imgtag.config.configuration import Config, SelectedPlugin
from imgtag.config.findings import InvalidConfig
from imgtag.errors import ModelError
from imgtag.models.manifest import find_model_files
from imgtag.models.repository import ModelRepository
from imgtag.models.snapshots import ModelSnapshots
from imgtag.models.spec import ModelSpec
from imgtag.plugin.spec import ModelSettings
from imgtag.registry import suggestion

DEFAULT = ""
"""The name under which the default model is resolved."""
_SNAPSHOTS = "models.used"
_RULE_KEYS = ("model", "shadow")
"""Keys of a rule that name a model."""


class UnknownModel(ModelError):
    """There is no model of this name."""

    default_code = "unknown_model"


@dataclass(frozen=True)
class ModelResolver:
    """The models of a configuration. Blocking, as it reads the disk."""

    config: Config

    @property
    def has_model_files(self) -> bool:
        """Whether the classifier reads its models from files; otherwise it has just one."""
        return self._classifier.spec.models is not None

    @property
    def settings(self) -> ModelSettings:
        """How the classifier is told its model file. Raises InvalidConfig where it has no model files."""
        settings = self._classifier.spec.models
        if settings is None:
            message = f"[classifier.{self._classifier.name}] has no model files"
            raise InvalidConfig([self.config.origins.finding("classifier", message)])
        return settings

    @cached_property
    def repository(self) -> ModelRepository:
        """The folder of models. Raises InvalidConfig where the classifier has no model files."""
        return ModelRepository(self.config.models_dir, self.settings.suffix)

    @cached_property
    def snapshots(self) -> ModelSnapshots:
        """Copies of the models that are in use."""
        return ModelSnapshots(self.config.state_dir / _SNAPSHOTS, self.settings.suffix)

    @property
    def default(self) -> str:
        """The model of objects whose rule names none: the configured one, else `models use`'s, else the built-in."""
        value: str = getattr(self._classifier.settings, self.settings.name)
        return value if self.is_default_configured else self.repository.default() or value

    @property
    def is_default_configured(self) -> bool:
        """Whether the configuration itself names the default model."""
        return self.settings.name in self._classifier.settings.model_fields_set

    def resolve(self, name: str = DEFAULT, *, snapshot: bool = False) -> ModelSpec:
        """What a worker loads for a model; with ``snapshot``, from a copy that does not change.

        Raises ModelError where there is no such model.
        """
        values = self._classifier.settings.model_dump()
        files: tuple[Path, ...] = ()
        if self.has_model_files:
            values[self.settings.name] = name or self.default
            path = self.locate(name or self.default)
            if path is not None:
                path = self.snapshots.take(path) if snapshot else path
                values[self.settings.name] = str(path)
                files = find_model_files(path, self.settings.suffix).all
        given = {key: value for key, value in values.items() if value is not None}
        checked = self._classifier.spec.settings.model_validate(given)
        return ModelSpec(entry=self._classifier.entry, settings=checked.model_dump(mode="json"), files=files)

    def resolve_all(self) -> Mapping[str, ModelSpec]:
        """Every model that the configuration names, as a snapshot, by that name.

        Raises ModelError, Unavailable; InvalidConfig where a rule names an unknown model.
        """
        keys = {
            getattr(rule, key): f"rules[{n}].{key}" for n, rule in enumerate(self.config.rules) for key in _RULE_KEYS
        }
        specs = {DEFAULT: self.resolve(snapshot=True)}
        for name in filter(None, keys):
            try:
                specs[name] = self.resolve(name, snapshot=True)
            except UnknownModel as error:
                finding = self.config.origins.finding(keys[name], error.message)
                raise InvalidConfig([finding], hint=error.hint) from error
        return specs

    def resolve_installed(self) -> list[ModelSpec]:
        """Every installed model: what it has labelled must be understood even when it no longer labels."""
        if not self.has_model_files:
            return []
        names = [*self.settings.builtin[:1], *(record.name for record in self.repository.list() if record.files)]
        return [self.resolve(name) for name in names]

    def files_of(self, specs: Mapping[str, ModelSpec]) -> list[Path]:
        """The files that these load; empty where the classifier has no model files."""
        if not self.has_model_files:
            return []
        return [Path(spec.settings[self.settings.name]) for spec in specs.values()]

    def locate(self, name: str) -> Path | None:
        """The manifest or file that a name stands for; None for a built-in model. Raises ModelError."""
        settings = self.settings
        if path := self.repository.find(name):
            return path
        if "/" in name or name.endswith(settings.suffix):
            try:
                return Path(name).expanduser().absolute()
            except RuntimeError as error:
                raise ModelError(f"{name}: {error}", hint="Write the path without `~`.") from error
        if name in settings.builtin:
            return None
        known = [*settings.builtin, *(record.name for record in self.repository.list())]
        message = f"there is no model {name!r} in {self.repository.folder}{suggestion(name, known)}"
        raise UnknownModel(
            message, hint="`imgtag models list` shows the available models, `imgtag models add` adds one."
        )

    @property
    def _classifier(self) -> SelectedPlugin:
        return self.config.require("classifier")
