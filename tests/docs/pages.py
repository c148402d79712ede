"""The pages of the project, split into parts that tests can check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown.extensions.toc import slugify
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs"
FOLDERS = ("docs", "systemd", "helm", "examples", "scripts", "container")
_MARK = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
_ANCHOR = re.compile(r"\{\s*#([\w-]+)\s*\}\s*$")


@dataclass(frozen=True)
class Block:
    """A code block: its place, its language, its text, and the comment directly before it."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return all pages in a fixed order."""
    paths = [*ROOT.glob("*.md")]
    for folder in FOLDERS:
        paths += (ROOT / folder).rglob("*.md")
    return sorted(paths)


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """Return the Markdown tokens of a page."""
    return tuple(MarkdownIt("commonmark").enable("table").parse(read(page)))


def blocks(page: Path) -> Iterator[Block]:
    """Yield code blocks, fenced or indented."""
    mark = ""
    for token in tokens(page):
        if token.type in {"fence", "code_block"}:
            assert token.map is not None, "the parser sets the lines of blocks"
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, mark)
        if token.nesting == 0:
            comment = _MARK.match(token.content) if token.type == "html_block" else None
            mark = comment[1] if comment else ""


def inline(page: Path, kind: str) -> Iterator[Token]:
    """Yield inline tokens of one type, such as ``code_inline``."""
    for token in tokens(page):
        yield from (child for child in token.children or () if child.type == kind)


def links(page: Path) -> Iterator[str]:
    """Yield the targets of links and images."""
    yield from (str(token.attrs["href"]) for token in inline(page, "link_open"))
    yield from (str(token.attrs["src"]) for token in inline(page, "image"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, without those that a repeated heading would get."""
    names = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type == "heading_open":
            explicit = _ANCHOR.search(token.content)
            names.add(explicit[1] if explicit else slugify(re.sub(r"[`*]", "", token.content), "-"))
    return names
