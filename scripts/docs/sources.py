"""The sources of all packages as syntax trees, for facts that the running code cannot report."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "sidecar", ROOT / "plugins")
HOLE = "…"
"""Represents a value that is inserted into a message at run time."""


@dataclass(frozen=True)
class Source:
    """A module: its dotted name and its syntax tree."""

    name: str
    tree: ast.Module


@cache
def sources() -> tuple[Source, ...]:
    """Return all modules of the sidecar and its plugins, except those for tests."""
    return tuple(_sources())


def module(name: str) -> ast.Module:
    """Return the syntax tree of one module."""
    return next(source.tree for source in sources() if source.name == name)


def template(node: ast.expr | None) -> str:
    """Return a text with `HOLE` for each inserted value; empty if the node is not a text."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(template(value) if isinstance(value, ast.Constant) else HOLE for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (template(left) or HOLE) + (template(right) or HOLE)
    return ""


def called(call: ast.Call) -> str:
    """Return the name of the called function, without its object."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def argument(call: ast.Call, name: str) -> ast.expr | None:
    """Return the value of a keyword argument."""
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _sources() -> Iterator[Source]:
    for place in PLACES:
        for path in sorted(place.rglob("*.py")):
            name = ".".join(path.relative_to(place).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith("imgtag.testing"):
                yield Source(name, ast.parse(path.read_text(encoding="utf-8")))
