"""What troubleshooting must know: findings of configurations, failed checks of doctor, and warnings in logs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from log_events import events
from sources import Source, argument, called, sources, template

_FINDINGS = ("imgtag.config.check", "imgtag.config.credentials", "imgtag.config.environment", "imgtag.config.load")
_SAID = {"finding", "say", "Finding", "_refuse", "ValueError"}


def findings() -> Iterator[str]:
    """Texts that a configuration can be answered with, with a hole for each value."""
    for source in sources():
        if source.name in _FINDINGS:
            for node in ast.walk(source.tree):
                yield from (text for text in _texts(node) if " " in text)


def checks() -> Iterator[str]:
    """Messages of checks that may fail, as far as they stand beside the check."""
    for source in sources():
        for function in ast.walk(source.tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _failed(function, source)


def warnings() -> Iterator[str]:
    """Events from warning on."""
    yield from (event.text for event in events() if event.level in {"warning", "error", "exception"})


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and called(node) in _SAID:
        yield from map(template, node.args)
    elif isinstance(node, ast.Return):
        yield template(node.value)


def _failed(function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> Iterator[str]:
    named = {
        node.targets[0].id: node.value
        for node in (*ast.walk(function), *source.tree.body)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and called(node) == "Check" and not _sure(argument(node, "ok")):
            message = argument(node, "message")
            text = template(named.get(message.id) if isinstance(message, ast.Name) else message)
            if text.strip("… :"):
                yield text


def _sure(ok: ast.expr | None) -> bool:
    return isinstance(ok, ast.Constant) and ok.value is True
