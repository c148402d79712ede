"""``imgtag demo``: the whole sidecar on sample pictures in a temporary folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from imgtag.cli.samples import SAMPLES, Sample, copy_samples
from imgtag.cli.search import said
from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.errors import Unavailable
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.plugin.store import Store
from imgtag.service.assembly import make_indexer, make_store
from imgtag.service.sidecar import Sidecar
from imgtag.types.document import Document
from imgtag.types.query import parse
from imgtag.types.ref import ObjectRef, Scope

SEARCHES = ("cat", "palace@0.3", "near:28.4,-80.6,50km")
_PATIENCE = 120.0
"""Seconds until the pictures must be done, on the slowest machine."""
_CONFIG = """\
[store.directory]
root = "{root}"

[source.directory]
settle = 0.2

[state]
dir = "{state}"

[ops]
listen = ""
"""


@click.command(name="demo")
@click.option("--once", is_flag=True, help="End when the pictures are done, instead of watching the folder.")
def command(*, once: bool) -> int:
    """Label sample pictures in a temporary folder, show what was written, search them, watch the folder."""
    logging.disable(logging.WARNING)
    with TemporaryDirectory(prefix="imgtag-demo-") as folder:
        anyio.run(_demo, Path(folder), not once and sys.stdout.isatty())
    return 0


async def _demo(folder: Path, watch: bool) -> None:  # noqa: FBT001
    console = Console()
    config = await anyio.to_thread.run_sync(_configured, folder)
    pictures = folder / "pictures"
    stop = anyio.Event()
    async with make_indexer(config) as indexer, anyio.create_task_group() as tasks:
        tasks.start_soon(Sidecar(config=config).run, stop)
        await _label(console, indexer, pictures)
        async with make_store(config) as store:
            await _show(console, indexer, store)
        if watch:
            await _watch(console, indexer, pictures)
        stop.set()


def _configured(folder: Path) -> Config:
    (folder / "pictures").mkdir()
    file = folder / "imgtag.toml"
    file.write_text(_CONFIG.format(root=folder / "pictures", state=folder / "state"), encoding="utf-8")
    return load(file, env={})


async def _label(console: Console, indexer: Indexer, pictures: Path) -> None:
    console.print(f"Copying {len(SAMPLES)} pictures to {pictures}; their times and places are made up:")
    for sample in await anyio.to_thread.run_sync(lambda: list(copy_samples(pictures))):
        console.print(Text(f"  {sample.name}: {sample.credit}", style="dim"))
    with Progress(console=console, transient=False) as progress, anyio.fail_after(_PATIENCE):
        task = progress.add_task("labelling", total=len(SAMPLES))
        while (done := await indexer.count("local", Scope(pictures.name))) < len(SAMPLES):
            progress.update(task, completed=done)
            await anyio.sleep(0.05)
        progress.update(task, completed=done)


async def _show(console: Console, indexer: Indexer, store: Store) -> None:
    table = Table("picture", "labels", "taken", title="What the index knows", title_justify="left")
    for hit in await _hits(indexer, ""):
        table.add_row(Text(hit["key"]), Text(said(hit)), str(hit["when_day"]))
    console.print(table)
    await _attributes(console, store, SAMPLES[0])
    for query in SEARCHES:
        found = [Text(f"  {hit['key']}  ({said(hit)})") for hit in await _hits(indexer, query)]
        console.print(Text(f"\n$ imgtag search {query}", style="bold"))
        console.print(*(found or [Text("  nothing")]), sep="\n")


async def _attributes(console: Console, store: Store, sample: Sample) -> None:
    state = await store.stat(ObjectRef("pictures", sample.name))
    if state is None:
        raise Unavailable(f"{sample.name} was removed meanwhile")
    console.print(Text(f"\nWhat is written on {sample.name}, as extended attributes:", style="bold"))
    for name, value in sorted(state.metadata.items()):
        console.print(Text(f"  user.{name} = {value}"))


async def _hits(indexer: Indexer, query: str) -> list[Document]:
    return list((await indexer.search(SearchRequest(query=parse(query), limit=100))).hits)


async def _watch(console: Console, indexer: Indexer, pictures: Path) -> None:
    console.print(f"\nWatching {pictures}: copy pictures there. Ctrl-C ends and removes the folder.")
    known = {hit["id"]: hit["etag"] for hit in await _hits(indexer, "")}
    try:
        while True:
            await anyio.sleep(0.5)
            for line in _news(await _hits(indexer, "status:*"), known):
                console.print(Text(line))
    except anyio.get_cancelled_exc_class():
        console.print("the folder is removed")
        raise


def _news(hits: list[Document], known: dict[str, str]) -> Iterator[str]:
    for hit in hits:
        if known.get(hit["id"]) != hit["etag"]:
            known[hit["id"]] = hit["etag"]
            yield f"  {hit['key']}: {said(hit)}"
