"""``imgtag setup``: make what is missing on the servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import anyio
import click

from imgtag.cli.consent import confirm
from imgtag.cli.main import App, pass_app
from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.config.rules import Rules
from imgtag.plugin.service import Change, Service
from imgtag.service.assembly import make_indexer, make_source, make_store


@click.command(name="setup")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def command(app: App, *, yes: bool) -> int:
    """Make what is missing: index and settings, stream and consumer, notifications beside those that are there."""
    config = app.load()
    require_run(config)
    wanted = anyio.run(partial(_set_up, config, apply=False))
    if not wanted:
        click.echo("everything is there", err=True)
        return 0
    for change in wanted:
        click.echo(f"missing: {change.what}")
    click.echo(_warning(config), err=True)
    confirm("make it?", yes=yes)
    return 0 if _told(anyio.run(partial(_set_up, config, apply=True))) else 1


async def _set_up(config: Config, *, apply: bool) -> list[Change]:
    """Index first and notifications last: what is heard of can then be dealt with."""
    makers: tuple[Callable[[], Service], ...] = tuple(
        partial(make, config) for make in (make_indexer, make_source, make_store)
    )
    changes: list[Change] = []
    for make in makers:
        async with make() as part:
            changes += await part.setup(apply=apply)
    return changes


def _told(changes: Sequence[Change]) -> bool:
    """Say what was made; whether that is all of it."""
    for change in changes:
        click.echo(f"{'made' if change.done else 'NOT made'}: {change.what}")
    return all(change.done for change in changes)


def _warning(config: Config) -> str:
    """What an admin must know before the first picture is touched."""
    names = dict.fromkeys(rule.bucket for rule in config.rules)
    where = ", ".join(names) or "the folder"
    if all(effective.writeback.strategy == "none" for effective in Rules(config).all()):
        return f"Pictures in {where} will be indexed; nothing is written on them."
    return (
        f"From now on the metadata of pictures in {where} are rewritten when `imgtag run` runs. "
        'With [writeback] strategy = "none" they are only indexed.'
    )
