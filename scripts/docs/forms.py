"""The few forms of Markdown that the pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"``([^`]+)``")
_BLOCK = re.compile(r"(?m)^(?: {4}.*(?:\n|\Z)|\n)+")


def code(text: str) -> str:
    """As code; also what holds a backtick."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell does not end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def prose(docstring: str) -> str:
    """A docstring as Markdown: double backticks are code, everything else stands as it is."""
    return _CODE.sub(r"`\1`", docstring.strip())


def page(title: str, *parts: str) -> str:
    """A whole page, which says where it comes from."""
    made = "<!-- Generated from the code by `make docs-reference`. Do not edit. -->"
    return "\n\n".join([f"# {title}", made, *(part.strip("\n") for part in parts if part)]) + "\n"


def slug(text: str) -> str:
    """An anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
