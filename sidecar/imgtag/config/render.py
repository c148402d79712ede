"""The configuration as text: an example of every setting, and the effective values."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from imgtag.config.configuration import Config
from imgtag.config.schema import (
    CoreSettings,
    LabelRuleSettings,
    RuleSettings,
    SearchSettings,
    format_size,
    parse_size,
)
from imgtag.config.shape import FILE, Leaf, alternatives, table
from imgtag.plugin.spec import KINDS, Kind, PluginSpec, Settings
from imgtag.registry import Registry

MASK = "********"
_PASSWORD = re.compile(r"(?<=://)([^/@\s]*):[^/@\s]*@")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEAD = """\
Configuration of imgtag. Lines that begin with `#name =` show defaults: delete the `#` to change one.
Every setting can also come from the environment, such as IMGTAG_LABELS__TOP_K=3 for top_k of [labels],
and every secret from a file, such as mark_key_file for mark_key. Check it with `imgtag config check`."""
_SMALL_HEAD = "A small configuration of imgtag; `imgtag config example` shows every setting."
_LISTS: Mapping[str, tuple[type[Settings], str]] = {
    "label_rules": (
        LabelRuleSettings,
        "Other names, thresholds and categories for labels of the model; the first rule for a label wins.",
    ),
    "rules": (
        RuleSettings,
        "Parts of the store to label; the first rule that matches an object wins. A folder needs none.",
    ),
    "searches": (SearchSettings, "Searches whose number of hits is a metric, for alerts and reports."),
}
"""The lists of tables, and the comment above an example of each."""


def render_example(registry: Registry, *, small: bool = False) -> str:
    """A configuration that is valid as it is: one store, and everything else as comments with its default."""
    lines = [*_comment(_SMALL_HEAD if small else _HEAD), ""]
    stores = registry.usable("store")  # a folder where there is one, since that needs no server
    first = "directory" if "directory" in stores else next(iter(stores), None)
    active = (first, stores[first]) if first else None
    if small:
        lines += [*_section("site", CoreSettings.model_fields["site"].default, small=True), ""]
        lines += [*_plugin("store", *active), ""] if active else []
        lines += [*_comment(_LISTS["rules"][1]), "#[[rules]]", '#bucket = "pictures"']
    else:
        for name, field in CoreSettings.model_fields.items():
            if name in _LISTS:
                model, about = _LISTS[name]
                lines += [*_table(about, f"#[[{name}]]", model), ""]
            else:
                lines += [*_section(name, field.default), ""]
        for kind in KINDS:
            for name, spec in registry.usable(kind).items():
                lines += [*_plugin(kind, name, spec, active=active == (name, spec)), ""]
    return "\n".join(lines).rstrip() + "\n"


def render_config(config: Config) -> str:
    """Every effective value as TOML, with what set it; secrets are masked."""
    lines = [f"# {config.path or 'no configuration file'}", f"# state in {config.state_dir}", ""]
    for name in CoreSettings.model_fields:
        if name not in _LISTS:
            lines += [*_shown(config, name, getattr(config, name)), ""]
    for name in _LISTS:
        for place, rule in enumerate(getattr(config, name)):
            lines += [*_shown_rule(config, name, place, rule), ""]
    for kind in KINDS:
        if chosen := config.selected(kind):
            lines += [*_shown(config, f"{kind}.{_quoted(chosen.name)}", chosen.settings), ""]
    return "\n".join(lines).rstrip() + "\n"


def to_toml(value: Any, *, mask: bool = True) -> str:
    """One value as TOML, on one line. Secrets, and passwords in URLs, are masked."""
    match value:
        case SecretStr() | SecretBytes():
            text = _text(MASK)
        case bool():
            text = str(value).lower()
        case int():
            text = f"{value:_}" if abs(value) >= 1_000_000 else str(value)
        case float():
            text = str(value)
        case Mapping():
            text = _inline(value, mask=mask)
        case BaseModel():
            text = _inline({name: getattr(value, name) for name in type(value).model_fields}, mask=mask)
        case list() | tuple() | set() | frozenset():
            text = f"[{', '.join(to_toml(item, mask=mask) for item in value)}]"
        case _:
            text = _text(_PASSWORD.sub(rf"\1:{MASK}@", str(value)) if mask else str(value))
    return text


def _inline(values: Mapping[Any, Any], *, mask: bool) -> str:
    pairs = [f"{_quoted(str(key))} = {to_toml(value, mask=mask)}" for key, value in values.items() if value is not None]
    return "{ " + ", ".join(pairs) + " }" if pairs else "{}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _quoted(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield fill(
            line, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False, break_long_words=False
        )


def _section(name: str, section: Settings, *, small: bool = False) -> Iterator[str]:
    about = (section.__doc__ or "").partition("\n")[0]
    yield from _table(about, f"[{name}]", type(section), active=("name",) if small else ())


def _plugin(kind: Kind, name: str, spec: PluginSpec, *, active: bool = True) -> Iterator[str]:
    required = [key for key, field in spec.settings.model_fields.items() if field.is_required()]
    head = f"{'' if active else '#'}[{kind}.{_quoted(name)}]"
    yield from _table(spec.summary, head, spec.settings, active=required if active else ())


def _table(about: str, head: str, model: type[BaseModel], *, active: Collection[str] = ()) -> Iterator[str]:
    yield from _comment(about)
    yield head
    keys = table(model)
    for name, field in model.model_fields.items():
        yield from _comment(field.description or "")
        yield f"{'' if name in active else '#'}{name} = {_example(field)}"
        if isinstance(node := keys[name], Leaf) and node.from_file:
            yield f'#{name}{FILE} = "{name}"'


def _example(field: FieldInfo) -> str:
    """The default, else the field's own example, else something of its type."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if field.examples and (default is None or isinstance(default, BaseModel)):
        return to_toml(field.examples[0], mask=False)
    if default is not None:
        return _value(field, default, mask=False)
    return to_toml(_TYPICAL.get(next(alternatives(field.annotation), str), "..."), mask=False)


_TYPICAL: Mapping[Any, Any] = {bool: True, int: 1, float: 1.0, Path: "/path", list: [], tuple: [], dict: {}}


def _value(field: FieldInfo, value: Any, *, mask: bool = True) -> str:
    """As `toml`, with units where the field reads them."""
    if isinstance(value, int) and any(getattr(part, "func", None) is parse_size for part in field.metadata):
        return to_toml(format_size(value))
    return to_toml(value, mask=mask)


def _shown(config: Config, key: str, section: Settings) -> Iterator[str]:
    yield f"[{key}]"
    for name, field in type(section).model_fields.items():
        yield _line(config, f"{key}.{name}", field, getattr(section, name))


def _shown_rule(config: Config, table: str, place: int, rule: Settings) -> Iterator[str]:
    yield f"[[{table}]]"
    for name, field in type(rule).model_fields.items():
        value = getattr(rule, name)
        if isinstance(value, Settings):
            value = {key: getattr(value, key) for key in value.model_fields_set}
        if name in rule.model_fields_set or not isinstance(value, dict):
            yield _line(config, f"{table}[{place}].{name}", field, value)


def _line(config: Config, key: str, field: FieldInfo, value: Any) -> str:
    """One setting with what set it; unset ones are comments, since TOML has no null."""
    name = key.rpartition(".")[2]
    origin = config.origins.source_of(key)
    if origin == "default":
        origin = config.origins.source_of(key + FILE)
    text = f"#{name} =" if value is None else f"{name} = {_value(field, value)}"
    return f"{text:<40} # {origin}"
