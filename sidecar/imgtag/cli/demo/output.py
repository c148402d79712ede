"""What the demos show: the samples, the progress, the labels, and new images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from imgtag.cli.demo.samples import SAMPLES, copy_samples
from imgtag.cli.hits import describe_labels
from imgtag.cli.terminal import escape
from imgtag.models.display_names import LabelNames
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.query import parse
from imgtag.types.document import Document

SEARCHES = ("cat", "palace@0.3", "near:28.4,-80.6,50km")
"""Queries that find samples."""
_MAX_SECONDS = 120.0
"""Until the samples must be labelled, on the slowest machine."""


def _ok() -> None:
    """Nothing is wrong."""


async def hits(indexer: Indexer, query: str) -> list[Document]:
    """The documents that a query finds, newest first."""
    return list((await indexer.search(SearchRequest(query=parse(query), limit=100))).hits)


def copy_with_credits(console: Console, folder: Path) -> None:
    """Copy the samples to ``folder``, and print their credits. Raises ImgtagError."""
    console.print(f"Copying {len(SAMPLES)} images to {folder}; their times and places are made up:")
    for sample in copy_samples(folder):
        console.print(Text(f"  {sample.name}: {sample.credit}", style="dim"))


async def show_progress(console: Console, indexer: Indexer, check: Callable[[], None] = _ok) -> dict[str, float]:
    """Show a bar until the samples are labelled; returns when each was indexed, by key, in monotonic seconds.

    ``check`` is called before each look, and may raise. Raises TimeoutError.
    """
    indexed: dict[str, float] = {}
    with Progress(console=console) as progress, anyio.fail_after(_MAX_SECONDS):
        task = progress.add_task("labelling", total=len(SAMPLES))
        while len(indexed) < len(SAMPLES):
            check()
            await anyio.sleep(0.05)
            for hit in await hits(indexer, ""):
                indexed.setdefault(hit["key"], time.monotonic())
            progress.update(task, completed=len(indexed))
    return indexed


async def show_labels(console: Console, indexer: Indexer, names: Mapping[str, LabelNames]) -> None:
    """Show a table of all labelled images; ``names`` is how each model displays its labels."""
    table = Table("image", "labels", "taken", title="In the index", title_justify="left")
    for hit in await hits(indexer, ""):
        table.add_row(Text(escape(hit["key"])), Text(describe_labels(hit, names)), str(hit["when_day"]))
    console.print(table)


async def show_news(console: Console, indexer: Indexer, check: Callable[[], None] = _ok) -> None:
    """Show each image that is labelled, refused or given up from now on, until ``check`` raises."""
    known = {hit["id"]: hit["etag"] for hit in await hits(indexer, "")}
    while True:
        check()
        await anyio.sleep(0.5)
        for hit in await hits(indexer, "status:*"):
            if known.get(hit["id"]) != hit["etag"]:
                known[hit["id"]] = hit["etag"]
                console.print(Text(f"  {escape(hit['key'])}: {describe_labels(hit)}"))
