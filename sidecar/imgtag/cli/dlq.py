"""``imgtag dlq``: the work that was given up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import anyio
import click

from imgtag.assembly import make_source
from imgtag.cli.main import App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.config.configuration import Config
from imgtag.plugin.source import Source
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent


@click.group(name="dlq")
def command() -> None:
    """List, retry or drop the work that was given up (dead letters)."""


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One letter a line.")
@pass_app
def list_letters(app: App, *, as_json: bool) -> int:
    """What was given up, and why."""
    letters = anyio.run(_letters, app.load())
    for letter in letters:
        click.echo(_as_json(letter) if as_json else _as_text(letter))
    if not letters and not as_json:
        click.echo("no dead letters", err=True)
    return 0


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@pass_app
def replay(app: App, ids: tuple[str, ...], *, everything: bool) -> int:
    """Try again, also where the object did not change. Whoever runs on this source does it."""
    count = anyio.run(_replay, app.load(), _wanted(ids, everything=everything))
    click.echo(f"{count} will be tried again", err=True)
    return 0


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def drop(app: App, ids: tuple[str, ...], *, everything: bool, yes: bool) -> int:
    """Forget dead letters. Their objects stay as they are: unlabelled, and searchable by status:failed."""
    config = app.load()
    chosen = anyio.run(_chosen, config, _wanted(ids, everything=everything))
    for letter in chosen:
        click.echo(_as_text(letter), err=True)
    confirm(f"forget these {len(chosen)} dead letters?", yes=yes)
    click.echo(f"{anyio.run(_drop, config, chosen)} forgotten", err=True)
    return 0


def _wanted(ids: tuple[str, ...], *, everything: bool) -> frozenset[str] | None:
    """The ids asked for; None for all of them."""
    if everything == bool(ids):
        raise click.UsageError("name the ids that `imgtag dlq list` shows, or say --all")
    return None if everything else frozenset(ids)


async def _letters(config: Config) -> list[DeadLetter]:
    async with make_source(config) as source:
        return [letter async for letter in source.dead.list()]


async def _chosen(config: Config, wanted: frozenset[str] | None) -> list[DeadLetter]:
    async with make_source(config) as source:
        return await _pick(source, wanted)


async def _pick(source: Source, wanted: frozenset[str] | None) -> list[DeadLetter]:
    letters = [letter async for letter in source.dead.list()]
    missing = sorted((wanted or frozenset()) - {letter.id for letter in letters})
    if missing:
        raise click.UsageError(f"there is no dead letter {missing[0]}; `imgtag dlq list` shows them")
    return [letter for letter in letters if wanted is None or letter.id in wanted]


async def _replay(config: Config, wanted: frozenset[str] | None) -> int:
    async with make_source(config) as source:
        letters = [letter for letter in await _pick(source, wanted) if letter.ref is not None]
        await source.publish([Hint(ref=letter.ref, intent=Intent.RETRY) for letter in letters if letter.ref])
        return await source.dead.drop([letter.id for letter in letters])


async def _drop(config: Config, letters: Sequence[DeadLetter]) -> int:
    async with make_source(config) as source:
        return await source.dead.drop([letter.id for letter in letters])


def _as_json(letter: DeadLetter) -> str:
    said = {
        "id": letter.id,
        "bucket": letter.ref.bucket if letter.ref else None,
        "key": letter.ref.key if letter.ref else None,
        "code": letter.code,
        "reason": letter.reason,
        "at": datetime.fromtimestamp(letter.at, UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(said, ensure_ascii=False)


def _as_text(letter: DeadLetter) -> str:
    at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{letter.id}  {at}  {letter.ref or '(no object)'}  {letter.code}: {letter.reason}"
