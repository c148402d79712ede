"""Settings from the environment: ``IMGTAG_STORE__S3__ENDPOINT`` is `endpoint` of `[store.s3]`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from imgtag.config.findings import Finding
from imgtag.config.shape import Leaf, Table, descend, leaves
from imgtag.registry import suggestion

PREFIX = "IMGTAG_"
CONFIG = "IMGTAG_CONFIG"
SOURCE = "environment"


class Overlay:
    """What the environment says, to be laid over the TOML document.

    ``names`` are the variables by the dotted key that they set.
    """

    def __init__(self, env: Mapping[str, str], keys: Table) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.findings: list[Finding] = []
        for name in sorted(env):
            if name.startswith(PREFIX) and name != CONFIG:
                self._add(name, env[name], keys)

    def _add(self, name: str, text: str, keys: Table) -> None:
        path = _path(name, keys)
        node = descend(keys, path) if path else None
        if node is None:
            # The nearest name, compared without the prefix that all names share.
            known = (variable.removeprefix(PREFIX) for variable in variables(keys))
            near = suggestion(name.removeprefix(PREFIX), known).replace("`", f"`{PREFIX}", 1)
            self._refuse(name, f"unknown setting{near}")
            return
        if not text and not (isinstance(node, Leaf) and node.may_be_empty):
            # Compose and shell scripts pass unset variables on as empty ones. Taken as they are, an empty path is the
            # working directory and an empty name is another server.
            self._refuse(name, "is empty: give it a value, or unset the variable")
            return
        try:
            value = _value(text, node)
        except ValueError as error:
            self._refuse(name, str(error))
            return
        for part in reversed(path):
            value = {part: value}
        merge(self.values, value)
        self.names |= dict.fromkeys(_leaf_keys(value), name)

    def _refuse(self, name: str, message: str) -> None:
        self.findings.append(Finding(SOURCE, name, message))


def variables(keys: Table) -> Iterator[str]:
    """Every name that the environment may use."""
    for path in leaves(keys):
        yield PREFIX + "__".join(map(_upper, path))


def merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Lay ``above`` over ``below``, table by table."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            merge(below[key], value)
        else:
            below[key] = value


def _path(name: str, keys: Table) -> tuple[str, ...]:
    """The keys that a variable names, as far as they are known; empty where one is not."""
    path: list[str] = []
    node: Leaf | Table = keys
    for part in name.removeprefix(PREFIX).split("__"):
        known = {} if isinstance(node, Leaf) else {_upper(key): key for key in node}
        if part not in known or isinstance(node, Leaf):
            return ()
        path.append(known[part])
        node = node[known[part]]
    return tuple(path)


def _upper(key: str) -> str:
    return key.upper().replace("-", "_")


def _value(text: str, node: Leaf | Table) -> Any:
    """The text, or the list or table that it holds as JSON. Raises ValueError without the text in it."""
    structured = not isinstance(node, Leaf) or node.structured
    if structured and text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not valid JSON: {error.msg} at character {error.pos + 1}") from None
    if structured and not (isinstance(node, Leaf) and node.scalar):
        raise ValueError('is a list or a table: write it as JSON, such as ["a", "b"] or {"key": "value"}')
    return text


def _leaf_keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        key = f"{above}.{name}" if above else name
        if isinstance(value, dict) and value:
            yield from _leaf_keys(value, key)
        else:
            yield key
