"""``imgtag facets``: count what was found."""

from __future__ import annotations

from collections.abc import Mapping

import click

from imgtag.assembly import make_indexer
from imgtag.cli.main import App, pass_app
from imgtag.cli.search import parse_query
from imgtag.cli.terminal import escape, to_json
from imgtag.models.display_names import DisplayNames, LabelNames
from imgtag.plugin.indexer import SearchRequest
from imgtag.search import FACETS, facet_error, most_frequent

_DEFAULT = ("labels", "category")
_OF_LABELS = frozenset({"labels", "ancestors", "top_label", "category"})
"""Fields whose values a model displays in its own way."""


@click.command(name="facets", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="[QUERY]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--field", "fields", metavar="NAME", multiple=True, help=f"One of {', '.join(FACETS)}, meta.NAME. Can be repeated."
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Values of each field.")
@click.option("--json", "as_json", is_flag=True, help="Print one value per line: field, value, count.")
@pass_app
async def command(app: App, words: tuple[str, ...], *, fields: tuple[str, ...], limit: int, as_json: bool) -> int:
    """Count values over everything that a query finds: by default labels and categories, the most frequent first.

    The query is that of `imgtag search`; without one, everything that is labelled is counted.
    """
    for name in fields:
        if message := facet_error(name):
            raise click.UsageError(message)
    fields = tuple(dict.fromkeys(fields)) or _DEFAULT
    config, query = app.load(as_owner=True), parse_query(words)
    async with make_indexer(config) as indexer:
        page = await indexer.search(SearchRequest(query=query, limit=0, facets=fields))
    counts = {field: most_frequent(page.facets.get(field, {}), limit) for field in fields}
    if as_json:
        for field in fields:
            for value, count in counts[field].items():
                click.echo(to_json({"field": field, "value": value, "count": count}))
        return 0
    click.echo(f"{page.total} found", err=True)
    names = _merge(DisplayNames(config.state_dir).load())
    for place, field in enumerate(fields):
        all_values = len(page.facets.get(field, {}))
        shown = len(counts[field])
        more = f" (the first {shown} of {all_values}: --limit)" if shown < all_values else ""
        click.echo(f"{chr(10) * bool(place)}{escape(field)}{more}")
        if not counts[field]:
            click.echo("  none")
        width = max((len(f"{count:,}") for count in counts[field].values()), default=0)
        for value, count in counts[field].items():
            text = names.get(value, value) if field in _OF_LABELS else value
            click.echo(f"  {count:>{width},}  {escape(text)}")
    return 0


def _merge(names: Mapping[str, LabelNames]) -> LabelNames:
    """How labels are displayed, whichever model they are from: the newest one decides."""
    return {label: text for labels in names.values() for label, text in labels.items()}
