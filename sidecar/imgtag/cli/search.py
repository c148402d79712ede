"""``imgtag search``: find objects by what is on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import click

from imgtag.assembly import is_remote, make_indexer
from imgtag.cli.graphics import choose_graphics
from imgtag.cli.hits import output_form, output_options, print_hits
from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, QueryError
from imgtag.jobs.labelling import open_labeller
from imgtag.models.display_names import DisplayNames
from imgtag.plugin.indexer import Page, SearchRequest
from imgtag.query import Query, parse
from imgtag.search import MAX_PAGE, SORTS, find_unknown_words, order_by


# `-dog` is a word of the query, not an option.
@click.command(name="search", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUERY...", nargs=-1, type=click.UNPROCESSED)
@click.option("--saved", metavar="NAME", help="A search of [[searches]], which QUERY narrows.")
@output_options
@click.option("--limit", type=click.IntRange(min=0), default=20, show_default=True, help="Maximum number of hits.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default=SORTS[0],
    show_default=True,
    help="best: by the confidence of the first label of the query, then newest first.",
)
@pass_app
async def command(
    app: App,
    words: tuple[str, ...],
    *,
    saved: str | None,
    limit: int,
    sort: str,
    thumbnails: bool | None,
    **forms: bool,
) -> int:
    """Search by label and more: fox, kit_fox@0.4, "kit fox", -dog, bucket:NAME, after:2024, near:46.5,7.9,10km.

    Every word narrows the result; OR widens it. Objects match by their labels and by the words of their key.
    """
    form = output_form(**forms)
    graphics = choose_graphics(wanted=thumbnails, is_table=form == "table")
    config = app.load(as_owner=True)
    if saved:
        words = (_find_saved(config, saved), *words)
    query = order_by(parse_query(words), sort)
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
            # Where something was found, every word is known.
            unknown = {} if page.total else await find_unknown_words(indexer, query, partial(_read_label_names, config))
            count = len(page.hits)
            more = f", showing the first {count} (--limit)" if count < page.total else ""
            click.echo(f"{page.total} found{more}", err=True)
            for word, near in unknown.items():
                suggestions = f"; did you mean {', '.join(map(escape, near))}?" if near else ""
                click.echo(f"no label or keyword matches {escape(repr(word))}{suggestions}", err=True)
            if not page.total and not unknown and not query.mentions:
                click.echo("hint: `imgtag search` without a query shows everything that is labelled", err=True)
    names = DisplayNames(config.state_dir).load() if form == "table" else {}
    if graphics:
        from imgtag.cli.thumbnails import print_with_thumbnails  # noqa: PLC0415  (it takes half a second)

        await print_with_thumbnails(config, page.hits, names, graphics)
    else:
        print_hits(page.hits, form, names)
    return 0


def parse_query(words: Sequence[str]) -> Query:
    """The query that was typed. Raises UsageError, with a caret under the place."""
    try:
        return parse(" ".join(words))
    except QueryError as error:
        raise click.UsageError(f"{error.message}\n{error.caret()}\n{error.hint}".rstrip()) from error


def _find_saved(config: Config, name: str) -> str:
    """The query of a saved search, as a part of another query. Raises UsageError."""
    queries = {search.name: search.query for search in config.searches}
    if name not in queries:
        known = f"the configuration has {', '.join(queries)}" if queries else "write [[searches]] in the configuration"
        raise click.UsageError(f"there is no saved search {escape(repr(name))}; {known}")
    return f"({queries[name]})" if queries[name].strip() else ""


async def _read_label_names(config: Config) -> frozenset[str]:
    """The folded labels of the model; none where it does not load, which `imgtag doctor` explains."""
    if config.classifier is not None and not is_remote(config):  # no server has a list of all its labels
        with suppress(ImgtagError):
            async with open_labeller(config, pictures=1) as labeller:
                return labeller.vocabulary().names()
    return frozenset()
