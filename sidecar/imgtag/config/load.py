"""Read the configuration: TOML, the environment over it, secrets from files; then validate all of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from imgtag.config.check import check
from imgtag.config.configuration import Config, Origins, SelectedPlugin
from imgtag.config.credentials import read_secrets, secret_folders, secrets_in
from imgtag.config.environment import CONFIG, SOURCE, Overlay, merge
from imgtag.config.findings import Finding, InvalidConfig
from imgtag.config.lines import key_lines
from imgtag.config.mark_key import read_mark_key
from imgtag.config.schema import CoreSettings, PluginFolderSettings, StateSettings
from imgtag.config.shape import FILE, Leaf, Table, descend, shape, table
from imgtag.errors import PluginError
from imgtag.files.toml import parse_toml
from imgtag.plugin.spec import KINDS, Kind, Settings
from imgtag.registry import Registry, discover, suggestion

PATHS = (Path("/etc/imgtag/imgtag.toml"), Path("imgtag.toml"))
MASK = "********"
_NO_HOME = "this user has no home folder: set `dir` under [state], $STATE_DIRECTORY or $XDG_STATE_HOME"

_Model = TypeVar("_Model", bound=Settings)


@dataclass(frozen=True)
class Text:
    """A configuration file, parsed and no more; without a file it is empty."""

    path: Path | None = None
    content: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def load(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    registry: Registry | None = None,
    paths: Sequence[Path] = PATHS,
) -> Config:
    """Load this file, else the first of the default ones. Raises InvalidConfig with all findings.

    ``registry`` is for tests; without it, it is discovered as the configuration says.
    """
    env = os.environ if env is None else env
    text = read(path, env=env, paths=paths)
    return _Reading(text, env, registry or discover(_drop_in_folder(text, env))).build()


def discover_plugins(
    path: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    paths: Sequence[Path] = PATHS,
    verify: bool = False,
) -> Registry:
    """The plugins that a configuration can choose from, whether or not it is valid otherwise.

    ``verify`` also imports their factories.
    """
    env = os.environ if env is None else env
    return discover(_drop_in_folder(read(path, env=env, paths=paths), env), verify=verify)


def read(path: Path | None, *, env: Mapping[str, str], paths: Sequence[Path] = PATHS) -> Text:
    """Find and parse the file. Raises InvalidConfig where it cannot be read or is not TOML."""
    named = path or (Path(env[CONFIG]) if env.get(CONFIG) else None)
    for candidate in (named,) if named else paths:
        try:
            content = candidate.read_text(encoding="utf-8-sig")  # Windows editors write a byte order mark
            return Text(candidate, content, parse_toml(content))
        except FileNotFoundError:
            if named:
                raise _unreadable(candidate, "there is no such file") from None
        except OSError as error:
            raise _unreadable(candidate, f"cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _unreadable(candidate, "is not UTF-8") from None
        except ValueError as error:
            place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
            line = int(place[1]) if place and place[1] else len(content.splitlines())
            message = str(error)[: place.start()] if place else str(error)
            message = f"not valid TOML: {message[:1].lower()}{message[1:]}"
            raise InvalidConfig([Finding(str(candidate), "", message, line)], hint="") from None
    return Text()


def state_dir(section: StateSettings, env: Mapping[str, str], *, user: int) -> Path:
    """Where state is kept, for the process of this user id. Raises InvalidConfig where no rule gives a folder."""
    if section.dir:
        return section.dir
    if directory := env.get("STATE_DIRECTORY"):
        return Path(directory.split(":")[0])  # systemd gives all of several, the first is ours
    if user == 0:
        return Path("/var/lib/imgtag")
    try:
        return Path(env.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "imgtag"
    except RuntimeError:  # a container's user often has neither $HOME nor a passwd entry
        raise InvalidConfig([Finding(SOURCE, "state.dir", _NO_HOME)], hint="") from None


class _Reading:
    """From the text to the configuration, collecting everything that is wrong."""

    def __init__(self, text: Text, env: Mapping[str, str], registry: Registry) -> None:
        self.env, self.registry = env, registry
        self.keys = shape(registry)
        self.values = text.values
        overlay = Overlay(env, self.keys)
        self.origins = Origins(path=text.path, lines=key_lines(text.content), names=overlay.names)
        self.findings = overlay.findings
        self.secrets: list[str] = []
        merge(self.values, overlay.values)
        self.unread: set[str] = set()
        self.secret_files: list[Path] = []
        for key, message in read_secrets(self.values, self.keys, secret_folders(env, text.path), self.secret_files):
            self.unread.add(key.removesuffix(FILE))
            self.add_finding(key, message)
        self.secrets = sorted(secrets_in(self.values, self.keys), key=len, reverse=True)

    def add_finding(self, key: str, message: str) -> None:
        for secret in self.secrets:
            message = message.replace(secret, MASK)
        self.findings.append(self.origins.finding(key, message))

    def build(self) -> Config:
        own = {key: value for key, value in self.values.items() if key not in KINDS}
        core = self.validate(CoreSettings, own, "")
        chosen = {kind: self.select(kind) for kind in KINDS}
        store = chosen["store"]
        defaults: dict[Kind, str] = {"classifier": "tflite"}
        if store and store.name == "directory":
            defaults |= {"source": "directory", "indexer": "sqlite"}
        for kind, name in defaults.items():
            if not self.values.get(kind) and name in self.registry.usable(kind):
                chosen[kind] = self.plugin(kind, name, {})
        if core is None or self.findings:
            raise InvalidConfig(sorted(self.findings, key=lambda finding: (finding.line is None, finding.line or 0)))
        return self.check(core, chosen)

    def check(self, core: CoreSettings, chosen: Mapping[Kind, SelectedPlugin | None]) -> Config:
        state = state_dir(core.state, self.env, user=os.geteuid())
        labels = core.labels
        # The state folder first: the marks that are there were signed with its key.
        credentials = secret_folders(self.env, self.origins.path) if self.origins.path else ()
        if labels.mark_key is None and (stored := read_mark_key((state, *credentials))):
            labels = labels.model_copy(update={"mark_key": SecretStr(stored)})
        config = Config(
            **{name: getattr(core, name) for name in CoreSettings.model_fields if name != "labels"},
            **{str(kind): choice for kind, choice in chosen.items()},
            labels=labels,
            state_dir=state,
            registry=self.registry,
            origins=self.origins,
            secret_files=tuple(self.secret_files),
        )
        if findings := list(check(config)):
            raise InvalidConfig(findings)
        return config

    def select(self, kind: Kind) -> SelectedPlugin | None:
        """The one plugin that the configuration has a table for."""
        tables = self.values.get(kind, {})
        if not isinstance(tables, dict):
            self.add_finding(kind, f"must be a table of tables: write [{kind}.NAME]")
            return None
        names = list(tables)
        for name in names[1:]:
            self.add_finding(f"{kind}.{name}", f"only one {kind} can be configured, and [{kind}.{names[0]}] is already")
        return self.plugin(kind, names[0], tables[names[0]]) if len(names) == 1 else None

    def plugin(self, kind: Kind, name: str, table: object) -> SelectedPlugin | None:
        try:
            record = self.registry.record(kind, name)
        except PluginError as error:
            self.add_finding(f"{kind}.{name}", error.message)
            return None
        spec = self.registry.find(kind, name)
        settings = self.validate(spec.settings, table, f"{kind}.{name}")
        if settings is None:
            return None
        return SelectedPlugin(kind=kind, name=name, spec=spec, settings=settings, entry=record.entry)

    def validate(self, model: type[_Model], values: object, above: str) -> _Model | None:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            problems = [(_key(above, values, detail), self.message(above, detail)) for detail in error.errors()]
        for key in dict.fromkeys(key for key, _ in problems if key not in self.unread):
            self.add_finding(key, ", or: ".join(dict.fromkeys(message for other, message in problems if other == key)))
        return None

    def message(self, above: str, detail: ErrorDetails) -> str:
        """The message of pydantic, without the value, which may be a secret."""
        match detail["type"]:
            case "extra_forbidden":
                name, siblings = str(detail["loc"][-1]), self.siblings(above, detail)
                removed = {key: node.removed for key, node in siblings.items() if isinstance(node, Leaf)}
                return removed.get(name) or "unknown setting" + suggestion(
                    name, (key for key in siblings if not removed.get(key))
                )
            case "missing":
                return "is required"
            case "value_error" | "assertion_error":
                return str(detail["ctx"]["error"])
            case "tuple_type" | "list_type" | "frozen_set_type":
                return 'must be a list: write ["..."]'
            case "dict_type" | "model_type":
                return "must be a table"
        return detail["msg"][:1].lower() + detail["msg"][1:]

    def siblings(self, above: str, detail: ErrorDetails) -> Table:
        """The settings that exist at that place."""
        node = descend(self.keys, [*filter(None, above.split(".")), *detail["loc"][:-1]])
        return {} if node is None or isinstance(node, Leaf) else node


def _key(above: str, values: Any, detail: ErrorDetails) -> str:
    """The dotted key that pydantic complains of, without the alternatives of a type that it tried there."""
    key = above
    for part in detail["loc"]:
        if isinstance(part, int) and isinstance(values, list):
            key, values = f"{key}[{part}]", values[part]
        elif isinstance(values, dict) and (part in values or detail["type"] == "missing"):
            key, values = f"{key}.{part}" if key else str(part), values.get(part)
        else:
            break
    return key


def _drop_in_folder(text: Text, env: Mapping[str, str]) -> Path | None:
    """The drop-in folder. It is needed before anything can be validated, so invalid values are ignored."""
    section: dict[str, Any] = {}
    for values in (text.values, Overlay(env, {"plugins": table(PluginFolderSettings)}).values):
        if isinstance(values.get("plugins"), dict):
            section |= values["plugins"]
    path = section.get("dir")
    return Path(path) if path and isinstance(path, str) else None


def _unreadable(path: Path, message: str) -> InvalidConfig:
    return InvalidConfig([Finding(str(path), "", message)], hint="")
