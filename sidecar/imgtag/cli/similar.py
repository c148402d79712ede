"""``imgtag similar``: find images that look like one."""

from __future__ import annotations

from pathlib import Path

import click

from imgtag.assembly import make_indexer
from imgtag.cli.graphics import choose_graphics
from imgtag.cli.hits import output_form, output_options, print_hits
from imgtag.cli.main import App, pass_app
from imgtag.cli.search import parse_query
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.errors import Incomparable
from imgtag.models.display_names import DisplayNames
from imgtag.plugin.indexer import SimilarRequest
from imgtag.search import SIMILARITY_DECIMALS
from imgtag.types.document import Document, document_id
from imgtag.types.ref import ObjectRef


@click.command(name="similar", context_settings={"ignore_unknown_options": True})
@click.argument("ref", metavar="REF")
@click.argument("words", metavar="[QUERY]...", nargs=-1, type=click.UNPROCESSED)
@output_options
@click.option(
    "--limit", type=click.IntRange(min=0, max=1000), default=20, show_default=True, help="Maximum number of hits."
)
@pass_app
async def command(
    app: App, ref: str, words: tuple[str, ...], *, limit: int, thumbnails: bool | None, **forms: bool
) -> int:
    """Show what looks like an object: BUCKET/KEY, or a file in the labelled folder. The most similar come first.

    A QUERY narrows the result, as in `imgtag search`. Similarity is at most 1, between images labelled by one model.
    """
    query, form = parse_query(words), output_form(**forms)
    graphics = choose_graphics(wanted=thumbnails, is_table=form == "table")
    config = app.load(as_owner=True)
    target = _parse_ref(config, ref)
    request = SimilarRequest(id=document_id(config.site.name, target), query=query, limit=limit)
    async with make_indexer(config) as indexer:
        try:
            hits = await indexer.similar(request)
        except Incomparable as error:
            if error.code != "absent":
                raise
            hint = "Is it labelled yet? `imgtag search --keys` lists labelled objects."
            raise Incomparable(f"{target} is not in the index", hint=hint, code=error.code) from None
    documents: list[Document] = [
        {**hit.document, "similarity": round(hit.similarity, SIMILARITY_DECIMALS)} for hit in hits
    ]
    if form == "table":
        click.echo(f"{len(hits)} similar to {escape(str(target))}", err=True)
    names = DisplayNames(config.state_dir).load() if form == "table" else {}
    if graphics:
        from imgtag.cli.thumbnails import print_with_thumbnails  # noqa: PLC0415  (it takes half a second)

        await print_with_thumbnails(config, documents, names, graphics)
    else:
        print_hits(documents, form, names)
    return 0


def _parse_ref(config: Config, text: str) -> ObjectRef:
    """The object of a file below the store's folder, if the store has one, else BUCKET/KEY. Raises UsageError."""
    root: Path | None = getattr(config.store and config.store.settings, "root", None)
    path = Path(text).absolute()
    if root is not None and path.exists() and path.is_relative_to(root.absolute()):
        return ObjectRef(root.name, path.relative_to(root.absolute()).as_posix())
    try:
        return ObjectRef.parse(text)
    except ValueError as error:
        raise click.UsageError(f"{error}, or a file in the labelled folder") from error
