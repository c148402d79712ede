"""Every log event with its fields, read from the sources so that none is missing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from forms import code, page, table
from sources import Source, sources, template

_LEVELS = ("debug", "info", "warning", "error", "exception")
_INTRO = """\
Logs go to stderr: JSON lines, or readable text on a terminal (`log_format` in [\\[ops\\]](settings.md#ops)). The event
is fixed; the facts are fields beside it, and object keys appear only in fields. Each record has `event`, `level`,
`logger` (the module) and `time` (RFC 3339, UTC), and `exception` if there is a traceback.

    {"bucket": "photos", "key": "fox.jpg", "result": "labelled", "event": "object_processed", "level": "info", ...}

[Troubleshooting](../troubleshooting.md) says what to do about warnings and errors. Libraries log through the same
handler, with their own events and fields."""


@dataclass(frozen=True, order=True)
class Event:
    """A log event: its text, level, module, and the names of its fields."""

    text: str
    level: str
    module: str
    fields: tuple[str, ...]


def log_events() -> str:
    """Return the page."""
    rows = [
        (code(event.text), event.level, ", ".join(map(code, event.fields)) or "-", code(event.module))
        for event in events()
    ]
    return page("Log events", _INTRO, table(["Event", "Level", "Fields", "Logger"], rows))


def events() -> list[Event]:
    """Return all events, ordered by text."""
    return sorted({event for source in sources() for event in _of(source)})


def _of(source: Source) -> Iterator[Event]:
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = _tables(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _is_log(node):
                    yield _event(node, names, source)


def _is_log(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="log" | "logger"), attr=name):
            return name in {*_LEVELS, "log"}
    return False


def _event(call: ast.Call, names: dict[str, ast.Dict], source: Source) -> Event:
    assert isinstance(call.func, ast.Attribute), "_is_log checked it"
    text, level = call.args[0], call.func.attr
    if level == "log":
        text, level = call.args[1], "info, debug"
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    if isinstance(text, ast.Name):
        text = _constant(source, text.id)
    return Event(template(text), level, source.name, tuple(dict.fromkeys(_fields(extra, names))))


def _constant(source: Source, name: str) -> ast.expr | None:
    """Return the value of a module constant."""
    assigned = (node for node in source.tree.body if isinstance(node, ast.Assign))
    return next((node.value for node in assigned if ast.unparse(node.targets[0]) == name), None)


def _fields(extra: ast.expr | None, names: dict[str, ast.Dict]) -> Iterator[str]:
    if isinstance(extra, ast.Name):
        extra = names.get(extra.id)
    if not isinstance(extra, ast.Dict):
        return
    for key, value in zip(extra.keys, extra.values, strict=True):
        if key is None:
            yield from _fields(value, names)
        else:
            yield template(key)


def _tables(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.Dict]:
    """Return the dictionaries that a function assigns to names."""
    return {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
