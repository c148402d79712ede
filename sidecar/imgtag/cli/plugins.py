"""``imgtag plugins``: the plugins that were found, and what is wrong with those that cannot be used."""

from __future__ import annotations

import shutil
import sys

import click

from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape, to_json
from imgtag.config.load import discover_plugins

_UNLIMITED = 100_000
"""Columns, where no terminal has to show the table: nothing is wrapped."""


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per plugin.")
@pass_app
def command(app: App, *, as_json: bool) -> None:
    """List the plugins that were found, and say why any of them cannot be used."""
    records = discover_plugins(app.config_file, verify=True).records
    if as_json:
        for record in records:
            fields = ("kind", "name", "summary", "status", "reason")
            click.echo(to_json({name: getattr(record, name) for name in fields}))
        return
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("kind", "name", "status", "from", "description or problem", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"  # a path or a reason that was cut helps nobody
    for record in records:
        cells = (record.kind or "?", record.name, record.status, record.origin, record.reason or record.summary)
        table.add_row(*(Text(escape(cell)) for cell in cells), style=None if record.status == "ok" else "red")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    Console(width=width).print(table)
