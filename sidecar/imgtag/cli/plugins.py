"""`imgtag plugins`: what was found, and why something was not taken."""

from __future__ import annotations

import json

import click

from imgtag.cli.main import App, pass_app
from imgtag.config.load import plugins
from imgtag.registry import PluginRecord


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_app
def command(app: App, *, as_json: bool) -> None:
    """List the plugins that were found, and why one of them cannot be used."""
    records = plugins(app.config_file).records
    if as_json:
        for record in records:
            click.echo(json.dumps(_fields(record)))
    else:
        _print_table(records)


def _fields(record: PluginRecord) -> dict[str, str | None]:
    names = ("kind", "name", "summary", "status", "reason")
    return {name: getattr(record, name) for name in names}


def _print_table(records: tuple[PluginRecord, ...]) -> None:
    from rich import box  # noqa: PLC0415  (only people read tables)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("kind", "name", "status", "from", "what it is, or what is wrong", box=box.SIMPLE_HEAD)
    for record in records:
        cells = (record.kind or "?", record.name, record.status, record.origin, record.reason or record.summary)
        table.add_row(*map(Text, cells), style=None if record.status == "ok" else "red")
    Console().print(table)
