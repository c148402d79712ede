"""Messages that troubleshooting must cover: configuration findings, failed checks of doctor, and log warnings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from log_events import events
from sources import Source, argument, called, sources, template

_FINDINGS = ("imgtag.config.check", "imgtag.config.credentials", "imgtag.config.environment", "imgtag.config.load")
_MESSAGE_FUNCTIONS = {"finding", "say", "Finding", "_refuse", "ValueError"}


def findings() -> Iterator[str]:
    """Yield the texts of configuration findings."""
    for source in sources():
        if source.name in _FINDINGS:
            for node in ast.walk(source.tree):
                yield from (text for text in _texts(node) if " " in text)


def checks() -> Iterator[str]:
    """Yield the messages of checks that may fail, if the message is literal or assigned in the same function."""
    for source in sources():
        for function in ast.walk(source.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _failing_checks(function, source)


def warnings() -> Iterator[str]:
    """Yield events of level warning and above."""
    yield from (event.text for event in events() if event.level in {"warning", "error", "exception"})


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and called(node) in _MESSAGE_FUNCTIONS:
        yield from map(template, node.args)
    elif isinstance(node, ast.Return):
        yield template(node.value)


def _failing_checks(function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> Iterator[str]:
    assigned = {
        node.targets[0].id: node.value
        for node in (*ast.walk(function), *source.tree.body)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and called(node) == "Check" and not _is_always_ok(argument(node, "ok")):
            message = argument(node, "message")
            text = template(assigned.get(message.id) if isinstance(message, ast.Name) else message)
            if text.strip("… :"):
                yield text


def _is_always_ok(ok: ast.expr | None) -> bool:
    return isinstance(ok, ast.Constant) and ok.value is True
