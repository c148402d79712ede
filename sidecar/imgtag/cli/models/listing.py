"""``imgtag models list`` and ``show``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import anyio
import click

from imgtag.assembly import make_pool
from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.models.catalogue import load_catalogue
from imgtag.models.repository import ModelRecord
from imgtag.models.resolver import ModelResolver
from imgtag.plugin.classifier import ModelInfo

_MAX_LABELS = 8
"""That `show` prints without --json."""


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
@pass_app
def list_models(app: App, *, as_json: bool) -> int:
    """List the installed models, and those that can be added by name."""
    config = app.load()
    resolver = ModelResolver(config)
    rows = list(_rows(config, resolver))
    if as_json:
        for row in rows:
            click.echo(to_json(asdict(row)))
        return 0
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("name", "in use", "size", "licence", "description or problem", box=box.SIMPLE_HEAD)
    for row in rows:
        size = f"{row.bytes / 1e6:.1f} MB" if row.bytes else ""
        cells = (row.name, ", ".join(row.used), size, row.licence or "", row.error or row.summary)
        table.add_row(*(Text(escape(cell)) for cell in cells), style="red" if row.error else None)
    Console().print(table)
    known = load_catalogue(resolver.settings.catalogue, config.models.catalogue).keys() - {row.name for row in rows}
    click.echo(f"can be added by name: {', '.join(sorted(known))}" if known else "", err=True)
    return 0


@click.command(name="show")
@click.argument("name", metavar="NAME", default="")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_app
def show(app: App, name: str, *, as_json: bool) -> int:
    """Load a model, by default the one in use, and describe it."""
    config = app.load()
    info = anyio.run(load_info, config, name)
    width, height = info.size
    resolver = ModelResolver(config)
    path = resolver.locate(name or resolver.default)
    facts = {
        "model": info.id,
        "file": str(path) if path else f"part of [classifier.{config.require('classifier').name}]",
        "sha256": info.digest,
        "licence": info.licence or "unknown",
        "input": f"{width} x {height}",
        "classes": len(info.labels),
        "embedding": info.embedding or "none",
        "vectors": info.projection or "none, so `imgtag similar` cannot compare its pictures",
        "ancestors": len(info.taxonomy.ancestors) or "none known",
        "temperature": info.temperature,
    }
    if as_json:
        click.echo(to_json({**facts, "labels": info.labels}))
        return 0
    for key, value in facts.items():
        click.echo(escape(f"{key + ':':<14}{value}"))
    more = f" ... and {len(info.labels) - _MAX_LABELS:,} more" if len(info.labels) > _MAX_LABELS else ""
    click.echo(escape(f"{'labels:':<14}{', '.join(info.display[:_MAX_LABELS])}{more}"))
    return 0


async def load_info(config: Config, name: str) -> ModelInfo:
    """Load a model and return its description. Raises ModelError, Unavailable."""
    spec = await anyio.to_thread.run_sync(ModelResolver(config).resolve, name)
    async with make_pool(config, 1, [spec]) as pool:
        return pool.info


def find_uses(config: Config, resolver: ModelResolver) -> Mapping[str, list[str]]:
    """What uses each model, by its name in the configuration."""
    uses: dict[str, list[str]] = {resolver.default: ["default"]}
    for place, rule in enumerate(config.rules, start=1):
        for key, name in (("rule", rule.model), ("shadow of rule", rule.shadow)):
            if name:
                uses.setdefault(name, []).append(f"{key} {place}")
    return uses


def _rows(config: Config, resolver: ModelResolver) -> Iterator[Row]:
    uses, repository, builtin = find_uses(config, resolver), resolver.repository, resolver.settings.builtin
    for name in builtin[:1]:  # the others are further names of the same model
        used = [use for other in builtin for use in uses.get(other, ())]
        yield Row(name=name, used=tuple(used), summary=f"part of [classifier.{config.require('classifier').name}]")
    for record in repository.list():
        yield _row(record, tuple(uses.get(record.name, ())))
    for name, used in uses.items():
        if name not in builtin and repository.find(name) is None:
            yield Row(name=name, used=tuple(used), summary="a file elsewhere")


def _row(record: ModelRecord, used: tuple[str, ...]) -> Row:
    files = record.files
    if files is None:
        return Row(name=record.name, used=used, error=record.error.message if record.error else "")
    manifest, model = files.manifest, files.model
    missing = model is not None and not model.is_file()
    return Row(
        name=record.name,
        used=used,
        bytes=model.stat().st_size if model and not missing else None,
        sha256=manifest.sha256,
        licence=manifest.licence,
        summary=manifest.summary or (f"extends {manifest.extends}" if manifest.extends else ""),
        error=f"{model.name} is missing: add the model again, or remove it" if model and missing else "",
    )
