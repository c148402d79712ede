"""``imgtag models list`` and ``show``: what there is, and what a model says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import anyio
import click

from imgtag.assembly import make_pool
from imgtag.cli.main import App, pass_app
from imgtag.config.configuration import Config
from imgtag.models.catalogue import catalogue
from imgtag.models.repository import Listed
from imgtag.models.resolver import ModelResolver
from imgtag.plugin.classifier import ModelInfo

_FIRST = 8
"""Labels that are shown of a model."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model of the list; ``used`` says by what."""

    name: str
    used: tuple[str, ...] = ()
    bytes: int | None = None
    sha256: str | None = None
    licence: str | None = None
    summary: str = ""
    error: str = ""


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One model a line.")
@pass_app
def list_models(app: App, *, as_json: bool) -> int:
    """List the models that there are, and those that can be added by name."""
    config = app.load()
    orders = ModelResolver(config)
    rows = list(_rows(config, orders))
    if as_json:
        for row in rows:
            click.echo(json.dumps(asdict(row), ensure_ascii=False))
        return 0
    _print_table(rows)
    known = sorted(catalogue(orders.about.catalogue, config.models.catalogue).keys() - {row.name for row in rows})
    click.echo(f"can be added by name: {', '.join(known)}" if known else "", err=True)
    return 0


@click.command(name="show")
@click.argument("name", metavar="NAME", default="")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@pass_app
def show(app: App, name: str, *, as_json: bool) -> int:
    """Load a model, by default the one in use, and say what it is."""
    config = app.load()
    info = anyio.run(loaded, config, name)
    facts = _facts(config, name, info)
    if as_json:
        click.echo(json.dumps({**facts, "labels": info.labels}, ensure_ascii=False))
        return 0
    for key, value in facts.items():
        click.echo(f"{key + ':':<14}{value}")
    more = f" ... and {len(info.labels) - _FIRST:,} more" if len(info.labels) > _FIRST else ""
    click.echo(f"{'labels:':<14}{', '.join(info.display[:_FIRST])}{more}")
    return 0


async def loaded(config: Config, name: str) -> ModelInfo:
    """What a model says of itself. Raises ModelError, Unavailable."""
    order = await anyio.to_thread.run_sync(ModelResolver(config).order, name)
    async with make_pool(config, 1, [order]) as pool:
        return pool.info


def uses(config: Config, orders: ModelResolver) -> Mapping[str, list[str]]:
    """What uses each model that is named, by its name."""
    found: dict[str, list[str]] = {}
    default = orders.default
    found.setdefault(default, []).append("default")
    for place, rule in enumerate(config.rules):
        for key, name in (("rule", rule.model), ("shadow of rule", rule.shadow)):
            if name:
                found.setdefault(name, []).append(f"{key} {place + 1}")
    return found


def _rows(config: Config, orders: ModelResolver) -> Iterator[Row]:
    used = uses(config, orders)
    builtin = orders.about.builtin[:1]
    for name in builtin:
        by = [use for each in orders.about.builtin for use in used.get(each, ())]
        yield Row(name=name, used=tuple(by), summary=f"comes with [classifier.{config.need('classifier').name}]")
    for listed in orders.library.list():
        yield _row(listed, tuple(used.get(listed.name, ())))
    paths = [name for name in used if name not in orders.about.builtin and orders.library.path(name) is None]
    yield from (Row(name=name, used=tuple(used[name]), summary="a file elsewhere") for name in paths)


def _row(listed: Listed, used: tuple[str, ...]) -> Row:
    files = listed.files
    if files is None:
        return Row(name=listed.name, used=used, error=listed.error.message if listed.error else "")
    there = files.model.is_file()
    return Row(
        name=listed.name,
        used=used,
        bytes=files.model.stat().st_size if there else None,
        sha256=files.manifest.sha256,
        licence=files.manifest.licence,
        summary=files.manifest.summary,
        error="" if there else f"{files.model.name} is not there: add it again, or remove it",
    )


def _facts(config: Config, name: str, info: ModelInfo) -> dict[str, Any]:
    width, height = info.size
    orders = ModelResolver(config)
    path = orders.located(name or orders.default)
    return {
        "model": info.id,
        "file": str(path) if path else f"comes with [classifier.{config.need('classifier').name}]",
        "sha256": info.digest,
        "licence": info.licence or "unknown",
        "input": f"{width} x {height}",
        "classes": len(info.labels),
        "embedding": info.embedding or "none",
        "vectors": info.projection or "none: `imgtag similar` finds nothing by it",
        "ancestors": len(info.taxonomy.ancestors) or "none known",
        "temperature": info.temperature,
    }


def _print_table(rows: list[Row]) -> None:
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("name", "in use", "size", "licence", "what it is, or what is wrong", box=box.SIMPLE_HEAD)
    for row in rows:
        size = f"{row.bytes / 1e6:.1f} MB" if row.bytes else ""
        cells = (row.name, ", ".join(row.used), size, row.licence or "", row.error or row.summary)
        table.add_row(*map(Text, cells), style="red" if row.error else None)
    Console().print(table)
