"""What a plugin says of itself, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from imgtag.plugin.source import NotificationTarget

API_VERSION = 1

Kind = Literal["source", "store", "classifier", "indexer"]
KINDS: tuple[Kind, ...] = ("source", "store", "classifier", "indexer")


FROM_FILE = "from_file"
"""In the annotation of a setting ``x``: it may be given as the file ``x_file``, as secrets always may.

For what belongs to a secret without being one, such as a user name: a Kubernetes Secret holds both.
"""


class Settings(BaseModel):
    """Base of every settings table: unknown keys are errors, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    removed: ClassVar[Mapping[str, str]] = {}
    """Settings of earlier versions, each with what a finding says about it: where it moved, or why it went."""


class NoSettings(Settings):
    """For a plugin without settings."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """How a classifier that reads model files is told which one.

    ``name`` is the setting that names the model: one of ``builtin``, or the path of a file that ends in ``suffix``, or
    of a manifest (`imgtag.models.manifest`). ``catalogue`` is ``"package:file"``, a list of well-known models.
    """

    name: str
    suffix: str
    builtin: tuple[str, ...] = ()
    catalogue: str | None = None


@dataclass(frozen=True, kw_only=True)
class PluginSpec:
    """One plugin, as its entry point names it.

    ``factory`` is ``"module:attribute"``, imported only when the plugin is used. It is called as
    ``factory(settings, context)``; for a classifier with ``runs="worker"`` as ``factory(settings)``,
    in a process that has neither credentials nor the configuration. ``models`` is for a classifier
    whose models are files. ``needs_notifications`` is for a source: False where it finds changes by itself, so that
    `imgtag setup` asks no store to notify it, and `imgtag doctor` expects none.
    """

    name: str
    kind: Kind
    summary: str
    settings: type[Settings] = NoSettings
    factory: str
    runs: Literal["main", "worker"] = "main"
    models: ModelSettings | None = None
    needs_notifications: bool = True
    api: int = API_VERSION

    def load(self) -> Callable[..., Any]:
        """Import the factory. Raises what its module raises."""
        return import_object(self.factory)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class PluginContext:
    """What the sidecar tells the plugins of the main process.

    ``site`` is the name of this site, which each of its documents carries. ``state_dir`` is for files that a plugin
    keeps. It is not created for you, and other plugins use it too: create it, and choose a file name of your own.
    ``buckets`` are those that the rules name, empty where the store decides; ``strategies`` are those by which labels
    are written. ``store`` holds the settings of the configured store (a watching source takes its defaults from
    there). ``needs_notifications`` and ``notification_target`` are those of the source, the second only for a store
    that is being set up or checked. ``inventory_buckets`` are those of which inventories are read, whether or not rules
    name them.
    ``needs_records``: the sidecar uses the source as a `RecordKeeper`. With ``read_only`` nothing may be created, not
    even on entering: `imgtag doctor` only looks.
    """

    site: str
    state_dir: Path
    buckets: tuple[str, ...] = ()
    strategies: frozenset[str] = frozenset()
    store: Settings | None = None
    needs_notifications: bool = True
    notification_target: NotificationTarget | None = None
    inventory_buckets: tuple[str, ...] = ()
    needs_records: bool = False
    read_only: bool = False


def import_object(path: str) -> Any:
    """Import ``"module:attribute"``."""
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)
