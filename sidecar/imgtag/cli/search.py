"""``imgtag search``: find objects by what is on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import click

from imgtag.assembly import make_indexer
from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape, print_key, to_json
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, QueryError
from imgtag.jobs.labelling import open_labeller
from imgtag.models.display_names import DisplayNames, LabelNames
from imgtag.plugin.indexer import Indexer, Page, SearchRequest
from imgtag.query import Query, parse
from imgtag.types.document import Document
from imgtag.types.folding import fold

MAX_PAGE = 1000
"""Hits of one request; no server refuses so many."""
_PREFIX = 2
"""Letters at the beginning of a mistyped word that are assumed to be right."""
_HIDDEN = {"scores", "_vectors"}


# `-dog` is a word of the query, not an option.
@click.command(name="search", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUERY...", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="Print one document per line.")
@click.option("--keys", is_flag=True, help="Print only BUCKET/KEY, one per line.")
@click.option("-0", "zero", is_flag=True, help="End each line of --keys with a NUL byte, for keys with line breaks.")
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Maximum number of hits.")
@pass_app
async def command(app: App, words: tuple[str, ...], *, as_json: bool, keys: bool, zero: bool, limit: int) -> int:
    """Search by label and more: fox, kit_fox@0.4, "kit fox", -dog, bucket:NAME, after:2024, near:46.5,7.9,10km.

    Every word narrows the result; OR widens it. Objects match by their labels and by the words of their key.
    """
    config = app.load(as_owner=True)
    query, form = parse_query(words), output_form(as_json=as_json, keys=keys, zero=zero)
    async with make_indexer(config) as indexer:
        # The first ``limit`` hits.
        first = await indexer.search(SearchRequest(query=query, limit=min(limit, MAX_PAGE)))
        hits = list(first.hits)
        while len(hits) < min(limit, first.total):
            rest = min(limit - len(hits), MAX_PAGE)
            part = await indexer.search(SearchRequest(query=query, limit=rest, offset=len(hits)))
            if not part.hits:  # documents were deleted meanwhile
                break
            hits += part.hits
        page = Page(hits=hits, total=first.total)
        if form == "table":
            unknown = await _find_unknown_words(config, indexer, query, page)
            count = len(page.hits)
            more = f", showing the first {count} (--limit)" if count < page.total else ""
            click.echo(f"{page.total} found{more}", err=True)
            for word, near in unknown.items():
                suggestions = f"; did you mean {', '.join(map(escape, near))}?" if near else ""
                click.echo(f"no label or keyword matches {escape(repr(word))}{suggestions}", err=True)
            if not page.total and not unknown and not query.mentions:
                click.echo("hint: `imgtag search` without a query shows everything that is labelled", err=True)
        print_hits(page.hits, form, DisplayNames(config.state_dir).load() if form == "table" else {})
    return 0


def output_form(*, as_json: bool, keys: bool, zero: bool) -> str:
    """The form that the options ask for, as `print_hits` takes it. Raises UsageError."""
    if as_json and (keys or zero):
        raise click.UsageError("--json cannot be combined with --keys or -0")
    return "json" if as_json else "keys0" if zero else "keys" if keys else "table"


def parse_query(words: Sequence[str]) -> Query:
    """The query that was typed. Raises UsageError, with a caret under the place."""
    try:
        return parse(" ".join(words))
    except QueryError as error:
        raise click.UsageError(f"{error.message}\n{error.caret()}\n{error.hint}".rstrip()) from error


def print_hits(hits: Sequence[Document], form: str, names: Mapping[str, LabelNames]) -> None:
    """Print documents as ``json``, ``keys``, ``keys0`` or a ``table``, which shows their similarity if they have one.

    ``names`` is how a table displays labels, by model.
    """
    if form == "json":
        for hit in hits:
            click.echo(to_json(public_fields(hit)))
    elif form in {"keys", "keys0"}:
        for hit in hits:
            print_key(f"{hit['bucket']}/{hit['key']}", end=b"\0" if form == "keys0" else b"\n")
    elif hits:
        _print_table(hits, names)


def public_fields(document: Document) -> dict[str, Any]:
    """The document as --json has it: labels with their confidence instead of scores and vectors."""
    fields = {name: value for name, value in document.items() if name not in _HIDDEN}
    return {**fields, "labels": _labels(document)}


def _labels(document: Document) -> Mapping[str, float]:
    scores = document.get("scores", {})
    return {label: scores.get(label, 0.0) for label in document.get("labels", ())}


def _print_table(hits: Sequence[Document], names: Mapping[str, LabelNames]) -> None:
    from rich.console import Console  # noqa: PLC0415  (--json and --keys need no table)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    table = Table(box=None, pad_edge=False)
    extra = ("similarity",) if "similarity" in hits[0] else ()
    for name in (*extra, "object", "labels", "when"):
        table.add_column(name, overflow="fold")
    for hit in hits:
        # As Text, so that no markup in the words of strangers is obeyed.
        texts = (escape(f"{hit['bucket']}/{hit['key']}"), describe_labels(hit, names), str(hit.get("when_day", "")))
        table.add_row(*(f"{hit[name]:.2f}" for name in extra), *map(Text, texts))
    console.print(table)


def describe_labels(hit: Document, names: Mapping[str, LabelNames] | None = None) -> str:
    """The labels of a document as its model displays them, or why it has none; escaped."""
    if hit["status"] in {"refused", "failed"}:
        return escape(f"{hit['status']}: {hit.get('reason', hit.get('code', ''))}")
    display = (names or {}).get(hit.get("model", ""), {})
    labels = (f"{display.get(label, label)} {confidence:.2f}" for label, confidence in _labels(hit).items())
    return escape(", ".join(labels)) or "unlabelled"


async def _find_unknown_words(config: Config, indexer: Indexer, query: Query, page: Page) -> dict[str, Sequence[str]]:
    """The words of the query that neither the index nor the model knows, with the nearest that exist."""
    if page.total or not query.mentions:
        return {}
    known = await indexer.known([fold(word) for word in query.mentions])
    missing = [word for word in query.mentions if fold(word) not in known]
    if not missing:
        return {}
    labels = frozenset[str]()
    if config.classifier is not None:
        with suppress(ImgtagError):  # `imgtag doctor` explains why the model does not load
            async with open_labeller(config, pictures=1) as labeller:
                labels = labeller.vocabulary().names()
    terms = labels | {word for label in labels for word in label.split()}
    near = {word: await indexer.suggest(fold(word)[:_PREFIX], MAX_PAGE) for word in missing}
    return {
        word: get_close_matches(fold(word), {*near[word], *terms}, n=3, cutoff=0.7)
        for word in missing
        if fold(word) not in terms
    }
