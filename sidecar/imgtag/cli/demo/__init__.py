"""``imgtag demo``: the whole sidecar on sample images in a temporary folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import click
from rich.console import Console
from rich.text import Text

from imgtag.assembly import make_indexer, make_store
from imgtag.cli.demo.output import SEARCHES, copy_with_credits, hits, show_labels, show_news, show_progress
from imgtag.cli.demo.samples import SAMPLES
from imgtag.cli.hits import describe_labels
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.errors import Unavailable
from imgtag.models.display_names import DisplayNames, LabelNames
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Store
from imgtag.service.sidecar import Sidecar
from imgtag.types.ref import ObjectRef

_CONFIG = """\
[store.directory]
root = "{root}"

[source.directory]
settle = 0.2

[state]
dir = "{state}"

[ops]
listen = ""

[web]
listen = "{listen}"
"""


@click.command(name="demo")
@click.option("--once", is_flag=True, help="Exit when the images are labelled, instead of keeping the page open.")
def command(*, once: bool) -> int:
    """Label sample images in a temporary folder, show what was written, and keep the search page open on loopback."""
    watch = not once and sys.stdout.isatty()
    logging.disable(logging.WARNING)
    with TemporaryDirectory(prefix="imgtag-demo-") as folder:
        pictures, file = Path(folder, "pictures"), Path(folder, "imgtag.toml")
        pictures.mkdir()
        listen = "127.0.0.1:0" if watch else ""
        text = _CONFIG.format(root=pictures, state=Path(folder, "state"), listen=listen)
        file.write_text(text, encoding="utf-8")
        anyio.run(_demo, load(file, env={}), pictures, watch)
    return 0


async def _demo(config: Config, pictures: Path, watch: bool) -> None:  # noqa: FBT001
    console = Console()
    stop = anyio.Event()
    async with make_indexer(config) as indexer, anyio.create_task_group() as tasks:
        sidecar = Sidecar(config=config)
        tasks.start_soon(sidecar.run, stop)
        await anyio.to_thread.run_sync(copy_with_credits, console, pictures)
        await show_progress(console, indexer)
        async with make_store(config) as store:
            names = await anyio.to_thread.run_sync(DisplayNames(config.state_dir).load)
            await _show(console, indexer, store, names)
        if watch:
            console.print(f"\nSearch page: http://127.0.0.1:{sidecar.web_port}", soft_wrap=True)
            console.print(f"Watching {pictures}: copy images there. Ctrl-C stops and removes the folder.")
            try:
                await show_news(console, indexer)
            except anyio.get_cancelled_exc_class():
                console.print("the folder is removed")
                raise
        stop.set()


async def _show(console: Console, indexer: Indexer, store: Store, names: Mapping[str, LabelNames]) -> None:
    await show_labels(console, indexer, names)
    sample = SAMPLES[0]
    state = await store.stat(ObjectRef("pictures", sample.name))
    if state is None:
        raise Unavailable(f"{sample.name} was removed in the meantime")
    console.print(Text(f"\nExtended attributes of {sample.name}:", style="bold"))
    for name, value in sorted(state.metadata.items()):
        console.print(Text(escape(f"  user.{name} = {value}")))
    for query in SEARCHES:
        lines = [Text(f"  {escape(hit['key'])}  ({describe_labels(hit, names)})") for hit in await hits(indexer, query)]
        console.print(Text(f"\n$ imgtag search {query}", style="bold"))
        console.print(*(lines or [Text("  nothing")]), sep="\n")
