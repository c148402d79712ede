"""``imgtag models compare``: what would change if another model did the labelling."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import anyio
import click

from imgtag.cli.main import FAILED, App, pass_app
from imgtag.cli.search import parse_query
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError
from imgtag.jobs.labelling import Picture, file_picture, find_pictures, open_hits, open_labeller
from imgtag.labels.difference import Difference, compare_labels
from imgtag.models.resolver import ModelResolver
from imgtag.types.labels import Label

_MAX_ROWS = 20
"""Of each table."""


@click.command(name="compare", short_help="Show what another model would change.")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.argument("what", metavar="QUERY-or-FOLDER", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Maximum number of images.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image, then one with the totals.")
@pass_app
def compare(app: App, one: str, other: str, what: tuple[str, ...], *, limit: int, as_json: bool) -> int:
    """Label the images of a folder, or those that a query finds, with two models, and show what B would change.

    Nothing is written.
    """
    config = app.load()
    tally = anyio.run(_compare, config, (one, other), " ".join(what), limit, as_json)
    if as_json:
        click.echo(json.dumps(tally.as_object()))
    else:
        _print(tally, one, other)
    return FAILED if tally.failed or not tally.compared else 0


@dataclass
class Tally:
    """The differences so far."""

    compared: int = 0
    same: int = 0
    failed: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By result (kept, lost, gained) and label."""
    changed: list[tuple[str, tuple[Label, ...], tuple[Label, ...]]] = field(default_factory=list)

    def add(self, name: str, before: tuple[Label, ...], after: tuple[Label, ...]) -> Difference:
        """Count one picture."""
        difference = compare_labels(before, after)
        self.compared += 1
        self.same += difference.same
        for result in ("kept", "lost", "gained"):
            self.labels.update((result, label) for label in getattr(difference, result))
        if not difference.same:
            self.changed.append((name, before, after))
        return difference

    def count(self, result: str) -> int:
        """How many labels were kept, lost or gained."""
        return sum(count for (key, _), count in self.labels.items() if key == result)

    def as_object(self) -> dict[str, Any]:
        """The last line of --json."""
        counts = {result: self.count(result) for result in ("kept", "lost", "gained")}
        return {"done": True, "pictures": self.compared, "same": self.same, "failed": self.failed, **counts}


async def _compare(config: Config, names: tuple[str, str], what: str, limit: int, as_json: bool) -> Tally:  # noqa: FBT001
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    resolver, tally = ModelResolver(config), Tally()
    specs = [await anyio.to_thread.run_sync(resolver.resolve, name) for name in names]
    async with (
        open_labeller(config, specs) as labeller,
        _open_pictures(config, what, limit, labeller.max_bytes) as pictures,
    ):
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("labelling twice", total=len(pictures))

            async def label_twice(picture: Picture) -> None:
                try:
                    data = await picture.read()
                    before, after = [(await labeller.label(data, spec)).labels for spec in specs]
                except ImgtagError as error:
                    tally.failed += 1
                    click.echo(f"skipped {escape(picture.name)}: {escape(error.message)}", err=True)
                else:
                    difference = tally.add(picture.name, before, after)
                    if as_json:
                        click.echo(
                            to_json(
                                {
                                    "ref": picture.name,
                                    "same": difference.same,
                                    "kept": difference.kept,
                                    "lost": difference.lost,
                                    "gained": difference.gained,
                                }
                            )
                        )
                progress.advance(task)

            await labeller.for_each(pictures, label_twice)
    return tally


@asynccontextmanager
async def _open_pictures(config: Config, what: str, count: int, max_bytes: int) -> AsyncIterator[list[Picture]]:
    """At most ``count`` pictures of a folder, else of a query. Raises Unavailable, UsageError."""
    if await anyio.Path(what).is_dir():
        paths = await anyio.to_thread.run_sync(lambda: list(islice(find_pictures(Path(what)), count)))
        yield [file_picture(path, max_bytes) for path in paths]
    else:
        async with open_hits(config, parse_query((what,)), count, max_bytes) as pictures:
            yield pictures


def _print(tally: Tally, one: str, other: str) -> None:
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not tally.compared:
        click.echo("no image was compared", err=True)
        return
    console = Console()
    changes = Table("label", f"{other} keeps", "loses", "gains", box=box.SIMPLE_HEAD)
    moves: Counter[str] = Counter()
    for (result, label), count in tally.labels.items():
        if result != "kept":
            moves[label] += count
    for label, _ in moves.most_common(_MAX_ROWS):
        counts = (tally.labels[result, label] for result in ("kept", "lost", "gained"))
        changes.add_row(Text(escape(label)), *(str(count) for count in counts))
    pairs = Table("image", one, other, box=box.SIMPLE_HEAD)
    for name, before, after in tally.changed[:_MAX_ROWS]:
        pairs.add_row(Text(escape(name)), Text(_as_text(before)), Text(_as_text(after)))
    console.print(pairs, changes)
    click.echo(
        f"{tally.compared:,} images: {tally.same:,} have the same best label ({tally.same / tally.compared:.0%}); of "
        f"all labels {tally.count('kept'):,} are kept, {tally.count('lost'):,} lost, {tally.count('gained'):,} gained"
    )


def _as_text(labels: Sequence[Label]) -> str:
    return ", ".join(f"{escape(label.name)} {label.confidence:.2f}" for label in labels) or "nothing"
