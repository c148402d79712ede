"""``imgtag label``: print what the model sees on some pictures."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import click

from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.workers.process import started_ahead


@click.command(name="label")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image.")
@pass_app
def command(app: App, refs: tuple[str, ...], *, as_json: bool) -> int:
    """Classify images and print their labels: files, or BUCKET/KEY in the configured store. Nothing is written."""
    with started_ahead():
        with _no_collections():
            # Only now, while the process starts on another core.
            import anyio  # noqa: PLC0415

            from imgtag.cli.label_report import label_all  # noqa: PLC0415

            config = app.load()

        async def label() -> int:
            return await label_all(config, refs, as_json=as_json)

        return FAILED if anyio.run(label) else DONE


@contextmanager
def _no_collections() -> Iterator[None]:
    """Look for no garbage: imports make many objects that stay, and looking takes a sixth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
