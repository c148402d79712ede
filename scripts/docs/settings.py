"""Every setting: meaning, values, default, variable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, get_args

from forms import code, page, prose, slug
from pydantic.fields import FieldInfo

from imgtag.config.environment import PREFIX
from imgtag.config.render import _example as example_value
from imgtag.config.schema import CoreSettings, parse_period, parse_size
from imgtag.config.shape import FILE, Leaf, alternatives
from imgtag.config.shape import table as keys_of
from imgtag.plugin.spec import KINDS, PluginSpec, Settings
from imgtag.registry import discover

_INTRO = """\
A configuration is one TOML file: the one named by `--config` or `$IMGTAG_CONFIG`, otherwise `/etc/imgtag/imgtag.toml`,
otherwise `./imgtag.toml`. Without a file, the environment alone can configure everything. `imgtag config example`
prints all settings on this page as a file to start from. `imgtag config show` prints the effective settings and their
origin. `imgtag config check` prints every problem and exits with code 78 if there is one.

- **Environment.** Each setting has a variable, which takes precedence over the file. Write lists and tables as JSON:
  `IMGTAG_RULES='[{"bucket": "photos"}]'`. A variable that begins with `IMGTAG_` but names no setting is a finding.
- **Secrets.** You can give a secret `x` as `x_file`: the path of a file that contains it; a final line break is
  removed. imgtag looks for a relative path in `$CREDENTIALS_DIRECTORY`, then beside the configuration.
- **Sizes** are in bytes, or have a unit: `"64 MiB"`, `"1.5 GB"`.
- **Periods** are in seconds, or have a unit: `"30m"`, `"12h"`, `"1d"`, `"1w"`.
- **Plugins.** Use at most one table of each kind: `[source.*]`, `[store.*]`, `[classifier.*]`, `[indexer.*]`. The
  default classifier is `tflite`; with `[store.directory]`, the default source is `directory` and the default index
  `sqlite`.
- **Reload.** On SIGHUP, `imgtag run` reloads the whole configuration. An invalid one is rejected and the current one
  stays in effect. Changes of `listen` and `traces` in `[ops]` take effect at the next start."""

_WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}


def settings() -> str:
    """Return the page."""
    own = CoreSettings.model_fields.items()
    parts = [_section(f"[{name}]", name, type(field.default)) for name, field in own if _plain(field)]
    parts += [_section(f"[[{name}]]", name, _items(field)) for name, field in own if not _plain(field)]
    parts += [_plugin(spec) for spec in plugins()]
    return page("Settings", _INTRO, *parts)


def plugins() -> Iterator[PluginSpec]:
    """Yield the bundled plugins by kind."""
    registry = discover()
    for kind in KINDS:
        for name, spec in sorted(registry.usable(kind).items()):
            if next(record for record in registry.of(kind) if record.name == name).origin.startswith("imgtag-sidecar "):
                yield spec


def _plain(field: FieldInfo) -> bool:
    return isinstance(field.default, Settings)


def _items(field: FieldInfo) -> type[Settings]:
    model: type[Settings] = field.annotation.__args__[0]  # type: ignore[union-attr]
    return model


def _plugin(spec: PluginSpec) -> str:
    path = f"{spec.kind}.{spec.name}"
    return _section(f"[{path}]", path, spec.settings, f"*{spec.kind.capitalize()} plugin.* {spec.summary}")


def _section(title: str, path: str, model: type[Settings], about: str = "") -> str:
    heading = f"## `{title}` {{ #{slug(path)} }}"
    listed = title.startswith("[[")
    if listed:
        about = f"{prose(model.__doc__ or '')}\n\nIn the environment: `{PREFIX}{path.upper()}`, a JSON list of tables."
    return "\n\n".join([heading, about or prose(model.__doc__ or ""), *_fields(path, model, listed=listed)])


def _fields(path: str, model: type[Settings], *, listed: bool) -> Iterator[str]:
    keys = keys_of(model)
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        facts = [_kind(field, schema["properties"][name], schema.get("$defs", {})), _default(field)]
        variable = PREFIX + "__".join(part.upper() for part in (*path.split("."), name))
        if isinstance(node := keys[name], Leaf) and node.from_file:
            facts[0] = "secret" if node.secret else facts[0]
            facts.append(f"from a file: `{name}{FILE}`, `{variable}{FILE.upper()}`")
        if not listed:
            facts.append(code(variable))
        heading = f"### `{name}` {{ #{slug(path)}-{slug(name)} }}"
        yield f"{heading}\n\n{field.description}\n\n*{facts[0]}* · {' · '.join(facts[1:])}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, Settings):
        return "not set"
    return f"default {code(example_value(field))}"


def _kind(field: FieldInfo, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    within = chain.from_iterable(getattr(kind, "__metadata__", ()) for kind in get_args(field.annotation))
    readers = {getattr(part, "func", None) for part in (*field.metadata, *within)}
    if parse_size in readers or parse_period in readers:
        return "size" if parse_size in readers else "period"
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    kinds = list(dict.fromkeys(_words(option, defs) for option in options))
    bare = next(alternatives(field.annotation), None)
    return "JSON table" if bare is dict else " or ".join(kinds)


def _words(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"table, as [\\[{_named(schema['$ref'])}\\]](#{_named(schema['$ref'])})"
    if "enum" in schema:
        return "one of " + ", ".join(code(f'"{value}"') for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_words(schema.get('items', {}), defs).removeprefix('one of ')}"
    if schema.get("format") == "path":
        return "path"
    return _WORDS.get(schema.get("type", ""), "text") + _range(schema)


def _named(reference: str) -> str:
    return {"ObjectLabelSettings": "labels", "WritebackSettings": "writeback", "LimitSettings": "pipeline"}[
        reference.rpartition("/")[2]
    ]


def _range(schema: Mapping[str, Any]) -> str:
    least, most, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    parts = [f"over {above:,}"] if above is not None else []
    parts += [f"from {least:,}"] if least is not None else []
    parts += [f"{'to' if least is not None else 'at most'} {most:,}"] if most is not None else []
    return f" {' '.join(parts)}" if parts else ""
