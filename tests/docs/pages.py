"""The pages of the project, cut into what can be checked."""

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
    """A block of code: where it begins, what it is said to be, and the comment directly before it."""

    page: Path
    line: int
    kind: str
    text: str
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """All of them, in a fixed order."""
    found = [*ROOT.glob("*.md")]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


def told(page: Path) -> str:
    """The page without what somebody else made: the changelog speaks of the past."""
    return page.read_text(encoding="utf-8")


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The page as a parser of Markdown sees it."""
    return tuple(MarkdownIt("commonmark").enable("table").parse(told(page)))


def blocks(page: Path) -> Iterator[Block]:
    """Blocks of code, fenced or indented."""
    mark = ""
    for token in tokens(page):
        if token.type in {"fence", "code_block"}:
            assert token.map is not None, "blocks know their lines"
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content, mark)
        if token.nesting == 0:
            comment = _MARK.match(token.content) if token.type == "html_block" else None
            mark = comment[1] if comment else ""


def inline(page: Path, kind: str) -> Iterator[Token]:
    """Pieces of text of one kind, such as ``code_inline``."""
    for token in tokens(page):
        yield from (child for child in token.children or () if child.type == kind)


def links(page: Path) -> Iterator[str]:
    """What the page links to, pictures too."""
    yield from (str(token.attrs["href"]) for token in inline(page, "link_open"))
    yield from (str(token.attrs["src"]) for token in inline(page, "image"))


def anchors(page: Path) -> set[str]:
    """What a link to the page may end in; a second heading of one text is not counted."""
    found = set()
    for before, token in zip(tokens(page), tokens(page)[1:], strict=False):
        if before.type == "heading_open":
            named = _ANCHOR.search(token.content)
            found.add(named[1] if named else slugify(re.sub(r"[`*]", "", token.content), "-"))
    return found
