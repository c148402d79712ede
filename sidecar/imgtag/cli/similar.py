"""``imgtag similar``: find pictures that look like one."""

from __future__ import annotations

from pathlib import Path

import anyio
import click

from imgtag.assembly import make_indexer
from imgtag.cli.main import App, pass_app
from imgtag.cli.search import print_hits, understood
from imgtag.config.configuration import Config
from imgtag.errors import Incomparable
from imgtag.models.display_names import DisplayNames
from imgtag.plugin.indexer import Similar, SimilarRequest
from imgtag.query import Query
from imgtag.types.document import Document, document_id
from imgtag.types.ref import ObjectRef

_DIGITS = 4
"""Of a similarity: int8 values give no more."""


@click.command(name="similar", context_settings={"ignore_unknown_options": True})
@click.argument("ref", metavar="REF")
@click.argument("words", metavar="[QUERY]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--json", "as_json", is_flag=True, help="One document a line, with its similarity.")
@click.option("--keys", is_flag=True, help="Only BUCKET/KEY, one a line.")
@click.option("--limit", type=click.IntRange(min=0, max=1000), default=20, show_default=True, help="At most so many.")
@pass_app
def command(app: App, ref: str, words: tuple[str, ...], *, as_json: bool, keys: bool, limit: int) -> int:
    """Show what looks like an object: BUCKET/KEY, or a file of the folder that is labelled. The most alike come first.

    A QUERY narrows it, as in `imgtag search`. Similarity is at most 1; pictures of one model are compared.
    """
    config = app.load()
    query = understood(words)
    form = "json" if as_json else "keys" if keys else "table"
    return anyio.run(_similar, config, _parsed(config, ref), query, limit, form)


async def _similar(config: Config, ref: ObjectRef, query: Query, limit: int, form: str) -> int:
    request = SimilarRequest(id=document_id(config.site.name, ref), query=query, limit=limit)
    async with make_indexer(config) as indexer:
        try:
            found = await indexer.similar(request)
        except Incomparable as error:
            raise _named(error, ref) from None
    if form == "table":
        click.echo(f"{len(found)} like {ref}", err=True)
    print_hits([_shown(each) for each in found], form, DisplayNames(config.state_dir).load() if form == "table" else {})
    return 0


def _shown(found: Similar) -> Document:
    return {**found.document, "similarity": round(found.similarity, _DIGITS)}


def _named(error: Incomparable, ref: ObjectRef) -> Incomparable:
    if error.code != "absent":
        return error
    hint = "Is it labelled yet? `imgtag search --keys` lists what is."
    return Incomparable(f"the index knows no {ref}", hint=hint, code=error.code)


def _parsed(config: Config, text: str) -> ObjectRef:
    """The object of a file below the store's folder, where it has one, else of BUCKET/KEY."""
    root: Path | None = getattr(config.store and config.store.settings, "root", None)
    path = Path(text).absolute()
    if root is not None and path.exists() and path.is_relative_to(root.absolute()):
        return ObjectRef(root.name, path.relative_to(root.absolute()).as_posix())
    try:
        return ObjectRef.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{error}, or a file of the folder that is labelled") from error
