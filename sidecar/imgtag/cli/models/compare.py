"""``imgtag models compare``: what would change if another model labelled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import click

from imgtag.assembly import make_pool, worker_count
from imgtag.cli.main import FAILED, App, pass_app
from imgtag.cli.pictures import Picture, pictures
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.labels.difference import Difference, compare_labels
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import Label
from imgtag.workers.pool import WorkerPool

_SHOWN = 20
"""Rows of each table."""


@click.command(name="compare")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.argument("what", metavar="QUERY-or-FOLDER", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many pictures.")
@click.option("--json", "as_json", is_flag=True, help="One picture a line, last the counts.")
@pass_app
def compare(app: App, one: str, other: str, what: tuple[str, ...], *, limit: int, as_json: bool) -> int:
    """Label pictures by two models, of a folder or of what a query finds, and show what B would change.

    Nothing is written.
    """
    config = app.load()
    tally = anyio.run(_compare, config, (one, other), " ".join(what), limit, as_json)
    if as_json:
        click.echo(json.dumps(tally.as_object()))
    else:
        _print(tally, one, other)
    return FAILED if tally.failed or not tally.seen else 0


@dataclass
class Tally:
    """What was seen so far."""

    seen: int = 0
    same: int = 0
    failed: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    changed: list[tuple[str, tuple[Label, ...], tuple[Label, ...]]] = field(default_factory=list)

    def add(self, name: str, before: tuple[Label, ...], after: tuple[Label, ...]) -> Difference:
        """One picture."""
        difference = compare_labels(before, after)
        self.seen += 1
        self.same += difference.same
        for result in ("kept", "lost", "gained"):
            self.labels.update((result, label) for label in getattr(difference, result))
        if not difference.same:
            self.changed.append((name, before, after))
        return difference

    def count(self, result: str) -> int:
        """How many labels were kept, lost or gained."""
        return sum(count for (what, _), count in self.labels.items() if what == result)

    def as_object(self) -> dict[str, Any]:
        """The last line of --json."""
        counts = {result: self.count(result) for result in ("kept", "lost", "gained")}
        return {"done": True, "pictures": self.seen, "same": self.same, "failed": self.failed, **counts}


async def _compare(config: Config, names: tuple[str, str], what: str, limit: int, as_json: bool) -> Tally:  # noqa: FBT001
    resolver = ModelResolver(config)
    pair = [await anyio.to_thread.run_sync(resolver.resolve, name) for name in names]
    async with make_pool(config, models=pair) as pool, pictures(config, what, limit) as found:
        comparison = _Comparison(config, pool, pair, as_json=as_json)
        await comparison.run(found)
    return comparison.tally


class _Comparison:
    """Labels each picture by both models, as many pictures at a time as there are workers."""

    def __init__(self, config: Config, pool: WorkerPool, pair: Sequence[ModelSpec], *, as_json: bool) -> None:
        policy = PolicyResolver(config).general
        self._limits, self._policy = policy.limits, policy.labels
        self._pool, self._pair, self._as_json = pool, pair, as_json
        self._slots = anyio.Semaphore(worker_count(config) + 1)
        self.tally = Tally()

    async def run(self, found: Sequence[Picture]) -> None:
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("labelling twice", total=len(found))
            async with anyio.create_task_group() as tasks:
                for picture in found:
                    await self._slots.acquire()
                    tasks.start_soon(self._one, picture, lambda: progress.advance(task))

    async def _one(self, picture: Picture, done: Any) -> None:
        try:
            data = await picture.read()
            before, after = [await self._said(data, order) for order in self._pair]
        except ImgtagError as error:
            self.tally.failed += 1
            click.echo(f"left out: {picture.name}: {error.message}", err=True)
        else:
            self._tell(picture, before, after)
        finally:
            self._slots.release()
            done()

    async def _said(self, data: bytes, order: ModelSpec) -> tuple[Label, ...]:
        raw = (await self._pool.classify(data, self._limits, order)).raw
        info: ModelInfo = self._pool.infos[order]
        return info.vocabulary(self._policy).select_labels(raw)

    def _tell(self, picture: Picture, before: tuple[Label, ...], after: tuple[Label, ...]) -> None:
        difference = self.tally.add(picture.name, before, after)
        if self._as_json:
            said = {"ref": picture.name, "same": difference.same, "kept": difference.kept, "lost": difference.lost}
            click.echo(json.dumps({**said, "gained": difference.gained}, ensure_ascii=False))


def _print(tally: Tally, one: str, other: str) -> None:
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not tally.seen:
        click.echo("no picture was compared", err=True)
        return
    console = Console()
    changes = Table("label", f"{other} keeps", "loses", "gains", box=box.SIMPLE_HEAD)
    for label in _most_changed(tally):
        counts = (tally.labels[result, label] for result in ("kept", "lost", "gained"))
        changes.add_row(Text(label), *(str(count) for count in counts))
    pairs = Table("picture", one, other, box=box.SIMPLE_HEAD)
    for name, before, after in tally.changed[:_SHOWN]:
        pairs.add_row(Text(name), Text(_words(before)), Text(_words(after)))
    console.print(pairs, changes)
    click.echo(
        f"{tally.seen:,} pictures: {tally.same:,} have the same best label ({tally.same / tally.seen:.0%}); of all "
        f"labels {tally.count('kept'):,} are kept, {tally.count('lost'):,} lost, {tally.count('gained'):,} gained"
    )


def _most_changed(tally: Tally) -> list[str]:
    changes: Counter[str] = Counter()
    for (result, label), count in tally.labels.items():
        changes[label] += count if result != "kept" else 0
    return [label for label, count in changes.most_common(_SHOWN) if count]


def _words(labels: Sequence[Label]) -> str:
    return ", ".join(f"{label.name} {label.confidence:.2f}" for label in labels) or "nothing"
