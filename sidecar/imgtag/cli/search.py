"""``imgtag search``: find objects by what is on them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import anyio
import click

from imgtag.assembly import make_indexer, make_pool
from imgtag.cli.main import App, pass_app
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, QueryError
from imgtag.models.display_names import DisplayNames, LabelNames
from imgtag.plugin.indexer import Indexer, Page, SearchRequest
from imgtag.query import Query, parse
from imgtag.types.document import Document
from imgtag.types.folding import fold

_PAGE = 1000
_ALIKE = 2
"""Letters that a mistyped word has right at its beginning."""
_HIDDEN = {"scores", "_vectors"}


# `-dog` is a word of the query, not an option.
@click.command(name="search", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUERY...", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="One document a line.")
@click.option("--keys", is_flag=True, help="Only BUCKET/KEY, one a line.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most so many hits.")
@pass_app
def command(app: App, words: tuple[str, ...], *, as_json: bool, keys: bool, limit: int) -> int:
    """Search by label and more: fox, kit_fox@0.4, "kit fox", -dog, bucket:NAME, after:2024, near:46.5,7.9,10km.

    Every word narrows; OR widens. An object is found by its labels and by the words of its key.
    """
    config = app.load()
    query = understood(words)
    return anyio.run(_search, config, query, limit, "json" if as_json else "keys" if keys else "table")


def understood(words: Sequence[str]) -> Query:
    """The query that was typed. Raises UsageError, with a caret under the place."""
    try:
        return parse(" ".join(words))
    except QueryError as error:
        raise click.UsageError(f"{error.message}\n{error.caret()}\n{error.hint}".rstrip()) from error


async def _search(config: Config, query: Query, limit: int, form: str) -> int:
    async with make_indexer(config) as indexer:
        page = await _page(indexer, query, limit)
        if form == "table":
            _say_more(page, query, await _unknown(config, indexer, query, page))
        print_hits(page.hits, form, DisplayNames(config.state_dir).load() if form == "table" else {})
    return 0


async def _page(indexer: Indexer, query: Query, limit: int) -> Page:
    """The first ``limit`` hits, fetched in parts that no server refuses."""
    first = await indexer.search(SearchRequest(query=query, limit=min(limit, _PAGE)))
    hits = list(first.hits)
    while len(hits) < min(limit, first.total):
        part = await indexer.search(SearchRequest(query=query, limit=min(limit - len(hits), _PAGE), offset=len(hits)))
        if not part.hits:
            break
        hits += part.hits
    return Page(hits=hits, total=first.total)


def print_hits(hits: Sequence[Document], form: str, names: Mapping[str, LabelNames]) -> None:
    """Print documents as ``json``, ``keys`` or a ``table``; it shows their similarity where they have one.

    ``names`` is how a table shows labels, by model.
    """
    if form == "json":
        for hit in hits:
            click.echo(json.dumps(shown(hit), ensure_ascii=False))
    elif form == "keys":
        for hit in hits:
            click.echo(f"{hit['bucket']}/{hit['key']}")
    elif hits:
        _table(hits, names)


def shown(document: Document) -> dict[str, Any]:
    """The document as people and scripts get it: labels with their confidence instead of scores and vectors."""
    kept = {name: value for name, value in document.items() if name not in _HIDDEN}
    return {**kept, "labels": _labels(document)}


def _labels(document: Document) -> Mapping[str, float]:
    scores = document.get("scores", {})
    return {label: scores.get(label, 0.0) for label in document.get("labels", ())}


def _table(hits: Sequence[Document], names: Mapping[str, LabelNames]) -> None:
    from rich.console import Console  # noqa: PLC0415  (--json and --keys need no table)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    table = Table(box=None, pad_edge=False)
    alike = ("similarity",) if "similarity" in hits[0] else ()
    for name in (*alike, "object", "labels", "when"):
        table.add_column(name, overflow="fold")
    for hit in hits:
        # Keys and labels are strangers' words: as Text, no markup in them is obeyed.
        texts = (f"{hit['bucket']}/{hit['key']}", said(hit, names), str(hit.get("when_day", "")))
        table.add_row(*(f"{hit[name]:.2f}" for name in alike), *map(Text, texts))
    console.print(table)


def said(hit: Document, names: Mapping[str, LabelNames] | None = None) -> str:
    """The labels of a document as its model shows them, or why it has none."""
    if hit["status"] in {"refused", "failed"}:
        return f"{hit['status']}: {hit.get('reason', hit.get('code', ''))}"
    shown = (names or {}).get(hit.get("model", ""), {})
    labels = (f"{shown.get(label, label)} {confidence:.2f}" for label, confidence in _labels(hit).items())
    return ", ".join(labels) or "unlabelled"


def _say_more(page: Page, query: Query, unknown: Mapping[str, Sequence[str]]) -> None:
    shown_count = len(page.hits)
    more = f", the first {shown_count} are shown (--limit)" if shown_count < page.total else ""
    click.echo(f"{page.total} found{more}", err=True)
    for word, near in unknown.items():
        instead = f"; did you mean {', '.join(near)}?" if near else ""
        click.echo(f"nothing is known as {word!r}{instead}", err=True)
    if not page.total and not unknown and not query.mentions:
        click.echo("hint: `imgtag search` alone shows everything that is labelled", err=True)


async def _unknown(config: Config, indexer: Indexer, query: Query, page: Page) -> dict[str, Sequence[str]]:
    """The words of the query that neither the index nor the model knows, with the nearest that there are."""
    if page.total:
        return {}
    known = await indexer.known([fold(word) for word in query.mentions])
    missing = [word for word in query.mentions if fold(word) not in known]
    if not missing:
        return {}
    labels = await _model_labels(config)
    terms = labels | {word for label in labels for word in label.split()}
    near = {word: await indexer.suggest(fold(word)[:_ALIKE], _PAGE) for word in missing}
    return {
        word: get_close_matches(fold(word), {*near[word], *terms}, n=3, cutoff=0.7)
        for word in missing
        if fold(word) not in terms
    }


async def _model_labels(config: Config) -> frozenset[str]:
    """What the model can say, folded; nothing where it does not load, which `imgtag doctor` says better."""
    if config.classifier is None:
        return frozenset()
    try:
        async with make_pool(config, 1) as pool:
            return pool.info.vocabulary(PolicyResolver(config).general.labels).names()
    except ImgtagError:
        return frozenset()
