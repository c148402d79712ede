"""The Markdown elements of the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"``([^`]+)``")


def code(text: str) -> str:
    """Return text as inline code, even if it contains a backtick."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: double backticks become code, everything else is unchanged."""
    return _CODE.sub(r"`\1`", docstring.strip())


def page(title: str, *parts: str) -> str:
    """Return a whole page with a note about its origin."""
    origin = "<!-- Generated from the code by `make docs-reference`. Do not edit. -->"
    return "\n\n".join([f"# {title}", origin, *(part.strip("\n") for part in parts if part)]) + "\n"


def slug(text: str) -> str:
    """Return an anchor."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
