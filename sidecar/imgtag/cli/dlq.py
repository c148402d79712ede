"""``imgtag dlq``: dead letters, the work that imgtag gave up."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from imgtag.assembly import make_source
from imgtag.cli.main import App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape, to_json
from imgtag.plugin.source import Source
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent


@click.group(name="dlq")
def command() -> None:
    """List, retry or drop dead letters: work that imgtag gave up."""


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per dead letter.")
@pass_app
async def list_letters(app: App, *, as_json: bool) -> int:
    """List what imgtag gave up, and why."""
    async with make_source(app.load(as_owner=True)) as source:
        letters = [letter async for letter in source.dead.list()]
    for letter in letters:
        if as_json:
            fields = {
                "id": letter.id,
                "bucket": letter.ref.bucket if letter.ref else None,
                "key": letter.ref.key if letter.ref else None,
                "code": letter.code,
                "reason": letter.reason,
                "at": datetime.fromtimestamp(letter.at, UTC).isoformat(timespec="seconds"),
            }
            click.echo(to_json(fields))
        else:
            click.echo(_as_text(letter))
    if not letters and not as_json:
        click.echo("no dead letters", err=True)
    return 0


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@pass_app
async def replay(app: App, ids: tuple[str, ...], *, everything: bool) -> int:
    """Retry, even if the object has not changed. A running sidecar does the work."""
    async with make_source(app.load(as_owner=True)) as source:
        letters = await _find(source, _select_ids(ids, everything=everything))
        refs = {letter.id: letter.ref for letter in letters if letter.ref is not None}
        await source.publish([Hint(ref=ref, intent=Intent.RETRY) for ref in refs.values()])
        await source.dead.drop(list(refs))
    click.echo(f"{len(refs)} will be retried", err=True)
    return 0


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All dead letters.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_app
async def drop(app: App, ids: tuple[str, ...], *, everything: bool, yes: bool) -> int:
    """Drop dead letters. Their objects stay as they are: unlabelled, and found by status:failed."""
    config, selected = app.load(as_owner=True), _select_ids(ids, everything=everything)
    async with make_source(config) as source:
        letters = await _find(source, selected)
    for letter in letters:
        click.echo(_as_text(letter), err=True)
    confirm(f"drop these {len(letters)} dead letters?", yes=yes)
    async with make_source(config) as source:
        count = await source.dead.drop([letter.id for letter in letters])
    click.echo(f"{count} dropped", err=True)
    return 0


def _select_ids(ids: tuple[str, ...], *, everything: bool) -> frozenset[str] | None:
    """The ids that were given; None for --all. Raises UsageError."""
    if everything == bool(ids):
        raise click.UsageError("give ids that `imgtag dlq list` shows, or --all")
    return None if everything else frozenset(ids)


async def _find(source: Source, ids: frozenset[str] | None) -> list[DeadLetter]:
    letters = [letter async for letter in source.dead.list()]
    missing = sorted((ids or frozenset()) - {letter.id for letter in letters})
    if missing:
        raise click.UsageError(f"there is no dead letter {missing[0]}; `imgtag dlq list` shows them")
    return [letter for letter in letters if ids is None or letter.id in ids]


def _as_text(letter: DeadLetter) -> str:
    at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return escape(f"{letter.id}  {at}  {letter.ref or '(no object)'}  {letter.code}: {letter.reason}")
