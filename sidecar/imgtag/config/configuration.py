"""The configuration in use: its sections, the selected plugins, and the origin of each value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, Field

from imgtag.config.environment import SOURCE
from imgtag.config.findings import Finding, InvalidConfig
from imgtag.config.lines import parent
from imgtag.config.schema import CoreSettings
from imgtag.plugin.spec import Kind, PluginContext, PluginSpec, Settings
from imgtag.registry import Registry
from imgtag.types.ref import Scope


@dataclass(frozen=True, kw_only=True)
class SelectedPlugin:
    """The one plugin of its kind, with its settings; ``entry`` is for `import_entry`."""

    kind: Kind
    name: str
    spec: PluginSpec
    settings: Settings
    entry: str


@dataclass(frozen=True, kw_only=True)
class Origins:
    """Where values came from: the file with its lines, and environment variables by the key they set."""

    path: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def finding(self, key: str, message: str) -> Finding:
        """A finding at the place where the key, or the nearest enclosing table, is set."""
        if key not in self.lines and any(_within(place, key) for place in self.names):
            return Finding(SOURCE, key, message)
        place = key
        while place:
            if place in self.names:
                return Finding(SOURCE, key, message)
            if place in self.lines:
                return Finding(str(self.path), key, message, self.lines[place])
            place = parent(place)
        return Finding(str(self.path or SOURCE), key, message)

    def source_of(self, key: str) -> str:
        """What set the key, or keys within it: a variable, a line of the file, or the default."""
        for place, name in self.names.items():
            if _within(place, key):
                return name
        for place, line in self.lines.items():
            if _within(place, key):
                return f"{self.path}:{line}"
        return "default"


def _within(place: str, key: str) -> bool:
    return place == key or place.startswith((f"{key}.", f"{key}["))


class Config(CoreSettings):
    """A valid configuration. A kind without a plugin is None; `require` raises for it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    state_dir: Path
    source: SelectedPlugin | None = None
    store: SelectedPlugin | None = None
    classifier: SelectedPlugin | None = None
    indexer: SelectedPlugin | None = None
    registry: Registry = Field(repr=False)
    origins: Origins = Field(default=Origins(), repr=False)
    secret_files: tuple[Path, ...] = ()
    """Files that settings such as `secret_key_file` name."""

    @property
    def path(self) -> Path | None:
        """The file that was read, if any."""
        return self.origins.path

    @property
    def models_dir(self) -> Path:
        """The models folder."""
        return self.models.dir or self.state_dir / "models"

    def selected(self, kind: Kind) -> SelectedPlugin | None:
        """The plugin of a kind, if any."""
        plugin: SelectedPlugin | None = getattr(self, kind)
        return plugin

    def require(self, kind: Kind) -> SelectedPlugin:
        """The plugin of a kind. Raises InvalidConfig where none is configured."""
        plugin = self.selected(kind)
        if plugin is None:
            raise InvalidConfig([self.missing(kind)])
        return plugin

    def missing(self, kind: Kind) -> Finding:
        """The finding that no plugin of a kind is configured."""
        tables = " or ".join(f"[{kind}.{name}]" for name in self.registry.usable(kind))
        message = f"no {kind} is configured: write {tables or f'[{kind}.NAME]'}"
        for record in self.registry.of(kind):
            if record.status != "ok":
                message += f"; {record.name} is {record.status}: {record.reason}"
        return self.origins.finding(kind, message)

    def context(self) -> PluginContext:
        """What plugins of the main process receive."""
        place = self.backfill.inventory
        of_rules = [
            rule.writeback if "strategy" in rule.writeback.model_fields_set else self.writeback for rule in self.rules
        ]
        return PluginContext(
            site=self.site.name,
            state_dir=self.state_dir,
            buckets=tuple(dict.fromkeys(rule.bucket for rule in self.rules)),
            strategies=frozenset(writeback.strategy for writeback in of_rules or [self.writeback]),
            store=self.store.settings if self.store else None,
            inventory_buckets=() if place is None else (Scope.parse(place).bucket,),
            needs_records=bool(self.audit.every or place),
            needs_notifications=self.source is None or self.source.spec.needs_notifications,
        )
