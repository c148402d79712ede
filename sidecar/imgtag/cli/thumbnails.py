"""Hits with their pictures, on a terminal that shows some. The workers make the pictures, as they do for the page."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from shutil import get_terminal_size
from textwrap import wrap

import anyio
import click
from anyio import to_thread

from imgtag.assembly import make_pool, make_store, worker_count
from imgtag.cli.graphics import Graphics
from imgtag.cli.hits import describe_labels, print_hits, shorten
from imgtag.cli.main import flatten
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.flow.budget import ByteBudget
from imgtag.models.display_names import LabelNames
from imgtag.models.resolver import ModelResolver
from imgtag.ops.metrics import Metrics
from imgtag.types.document import Document
from imgtag.types.thumbnail import ThumbnailOrder
from imgtag.web.errors import HttpError
from imgtag.web.thumbnail_cache import ThumbnailCache
from imgtag.web.thumbnails import Thumbnails
from imgtag.workers.generations import ModelGenerations

COLUMNS, ROWS = 14, 6
"""Characters that a picture takes."""
MIN_ROOM = 20
"""Characters beside a picture, however narrow the terminal is."""
MAX_THUMBNAILS = 200
"""Hits with a picture; each reads an object. Those after them are printed as a table."""
_SAVE, _RESTORE = "\x1b7", "\x1b8"


@dataclass
class _Slot:
    """The picture of a hit, once it is there: pixels, or why there are none."""

    done: anyio.Event = field(default_factory=anyio.Event)
    pixels: bytes = b""
    reason: str = ""


async def print_with_thumbnails(
    config: Config, hits: Sequence[Document], names: Mapping[str, LabelNames], graphics: Graphics
) -> None:
    """Print the first hits with pictures, others as a table; without workers or the store, all of them."""
    first = hits[:MAX_THUMBNAILS] if config.classifier and config.store else ()
    if first:
        try:
            await _print_pictures(config, first, graphics, names)
        except* ImgtagError as group:
            click.echo(f"no pictures: {escape(str(next(flatten(group))))}", err=True)
            first = ()
    print_hits(hits[len(first) :], "table", names)


async def _print_pictures(
    config: Config, hits: Sequence[Document], graphics: Graphics, names: Mapping[str, LabelNames]
) -> None:
    """Print hits in order, each as soon as its picture is there. Raises Unavailable, ModelError, PluginError."""
    slots = [_Slot() for _ in hits]
    width, height = COLUMNS * graphics.cell[0], ROWS * graphics.cell[1]
    order = ThumbnailOrder(width=min(width, 512), height=min(height, 512), format="ppm")
    workers = min(len(hits), await to_thread.run_sync(worker_count, config))
    places = anyio.CapacityLimiter(workers + 1)
    async with _open_thumbnails(config, workers) as thumbnails, anyio.create_task_group() as tasks:

        async def make(hit: Document, slot: _Slot) -> None:
            try:
                async with places:
                    slot.pixels = await _read(thumbnails, config.site.name, hit, order)
            except (HttpError, ImgtagError) as error:
                slot.reason = error.message
            slot.done.set()

        for hit, slot in zip(hits, slots, strict=True):
            tasks.start_soon(make, hit, slot)
        for hit, slot in zip(hits, slots, strict=True):
            await slot.done.wait()
            _print_hit(hit, slot, graphics, names)
            slot.pixels = b""


async def _read(thumbnails: Thumbnails, site: str, hit: Document, order: ThumbnailOrder) -> bytes:
    if hit["site"] != site:
        raise HttpError(404, "other_site", "the object is in the store of another site")
    return (await thumbnails.get(hit, order)).data


@asynccontextmanager
async def _open_thumbnails(config: Config, workers: int) -> AsyncIterator[Thumbnails]:
    """What makes thumbnails: with workers of its own, and the same files as the page's."""
    spec = await to_thread.run_sync(ModelResolver(config).resolve)
    policy_of = await to_thread.run_sync(PolicyResolver, config)
    async with (
        make_store(config, read_only=True) as store,
        ModelGenerations(lambda models, known: make_pool(config, workers, models, known)) as generations,
    ):
        await generations.replace({"": spec})
        yield Thumbnails(
            store,
            lambda: generations.models,
            policy_of,
            ThumbnailCache(config.state_dir / "thumbnails", config.web.thumbnail_cache),
            Metrics(),
            ByteBudget(config.pipeline.bytes_in_flight),
        )


def _print_hit(hit: Document, slot: _Slot, graphics: Graphics, names: Mapping[str, LabelNames]) -> None:
    """The picture, and beside it the key, the labels, and the day."""
    room = max(get_terminal_size().columns - COLUMNS - 3, MIN_ROOM)
    lines = [shorten(escape(f"{hit['bucket']}/{hit['key']}"), room)]
    if "similarity" in hit:
        lines.append(f"similarity {hit['similarity']:.2f}")
    lines += wrap(describe_labels(hit, names), room, max_lines=ROWS - len(lines) - 2, placeholder=" …")
    lines.append(str(hit.get("when_day", "")))
    if slot.reason:
        lines.append(shorten(escape(f"no picture: {slot.reason}"), room, tail=True))
    picture = b""
    if slot.pixels:
        try:
            picture = graphics.encode(slot.pixels, COLUMNS, ROWS)
        except ImgtagError as error:
            lines.append(shorten(escape(f"no picture: {error.message}"), room, tail=True))
    # The lines are made first: a picture at the lower edge must not scroll what is beside it.
    frame = "\n" * ROWS + f"\x1b[{ROWS}A{_SAVE}"
    beside = "".join(
        f"{_RESTORE}\x1b[{row}B" * (row > 0) + f"\x1b[{COLUMNS + 2}C{line}" for row, line in enumerate(lines)
    )
    output = sys.stdout.buffer
    sys.stdout.flush()
    output.write(frame.encode() + picture + _RESTORE.encode())
    encoding = sys.stdout.encoding or "utf-8"
    output.write(beside.encode(encoding, "backslashreplace") + f"{_RESTORE}\x1b[{ROWS}B".encode())
    output.flush()
