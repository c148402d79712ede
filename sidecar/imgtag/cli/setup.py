"""``imgtag setup``: make what is missing on the servers, and take it back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import anyio
import click

from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.jobs.setup import Outcome, Setup
from imgtag.jobs.setup_record import Entry
from imgtag.plugin.service import Change

RUNNING = "Stop `imgtag run` first: it makes stream, consumers and index again. Labels stay on the pictures."


@click.command(name="setup")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--remove", is_flag=True, help="Take back what setup made, and nothing else.")
@pass_app
def command(app: App, *, yes: bool, remove: bool) -> int:
    """Make what is missing: index and settings, stream and consumer, notifications beside those that are there.

    Shows it first, and asks. What cannot be made yet is told with what to do about it, the rest is made, and the exit
    code is 1. So it is too where no target of notifications is known or configured: one run tells all that is missing.

    What is made is recorded in setup.json under [state] dir. --remove shows and takes back what is recorded there, but
    for what somebody has changed since. What `imgtag run` or somebody by hand has made is left alone.
    """
    config = app.load()
    if remove:
        return _remove(config, yes=yes)
    require_run(config)
    return _make(config, yes=yes)


def _make(config: Config, *, yes: bool) -> int:
    installation = Setup(config)
    missing = anyio.run(installation.plan)
    if not missing:
        click.echo("everything is there", err=True)
        return DONE
    for change in missing:
        click.echo(f"missing: {change.what}")
    if all(change.hint for change in missing):
        for change in missing:
            _made(change)
        _advise(missing)
        return FAILED
    told = frozenset[str]() if yes else _advise(missing)
    click.echo(_warning(config), err=True)
    confirm("make it?", yes=yes)
    changes = anyio.run(_make_all, installation)
    _advise(changes, told)
    return DONE if all(change.done for change in changes) else FAILED


async def _make_all(installation: Setup) -> list[Change]:
    """Each is said when it is made: what follows may fail."""
    changes = []
    async for change in installation.make():
        _made(change)
        changes.append(change)
    return changes


def _made(change: Change) -> None:
    click.echo(f"{'made' if change.done else 'NOT made'}: {change.what}")


def _advise(changes: Sequence[Change], told: Collection[str] = ()) -> frozenset[str]:
    """What a person must do, each once: lines to copy, so they are results."""
    hints = dict.fromkeys(change.hint for change in changes if change.hint and change.hint not in told)
    for hint in hints:
        click.echo(hint)
    return frozenset(hints)


def _warning(config: Config) -> str:
    """What an admin must know before the first picture is touched."""
    names = dict.fromkeys(rule.bucket for rule in config.rules)
    where = ", ".join(names) or "the folder"
    if all(policy.strategy == "none" for policy in PolicyResolver(config).all()):
        return f"Pictures in {where} will be indexed; nothing is written on them."
    return (
        f"From now on the metadata of pictures in {where} are rewritten when `imgtag run` runs. "
        'With [writeback] strategy = "none" they are only indexed.'
    )


def _remove(config: Config, *, yes: bool) -> int:
    installation = Setup(config)
    entries = anyio.run(installation.recorded)
    if not entries:
        click.echo(_nothing(installation.ledger.path, config.site.name), err=True)
        return DONE
    found = anyio.run(partial(installation.undo, entries, apply=False))
    _removed(found, "will remove")
    going = [entry for entry, outcome in found if isinstance(outcome, Change) and not outcome.hint]
    settled = [entry for entry, outcome in found if entry not in going and not isinstance(outcome, ImgtagError)]
    done: list[tuple[Entry, Outcome]] = []
    if going:
        click.echo(RUNNING, err=True)
        confirm("remove it?", yes=yes)
        done = anyio.run(partial(installation.undo, going, apply=True))
        _removed(done, "removed")
    anyio.run(installation.forget, settled)
    if errors := [outcome for _, outcome in [*found, *done] if isinstance(outcome, ImgtagError)]:
        raise ExceptionGroup("not all could be removed", errors)
    return DONE


def _removed(outcomes: Sequence[tuple[Entry, Outcome]], verb: str) -> None:
    for entry, outcome in outcomes:
        if outcome is None:
            click.echo(f"not there any more: {entry.what}", err=True)
        elif isinstance(outcome, ImgtagError):
            click.echo(f"cannot be removed: {entry.what}: {outcome.message}", err=True)
        elif outcome.hint:
            click.echo(f"stays: {outcome.what}: {outcome.hint}", err=True)
        else:
            click.echo(f"{verb}: {outcome.what}")


def _nothing(path: Path, site: str) -> str:
    return (
        f"nothing to remove: {path} has no record that setup made anything for the site {site}. "
        "What `imgtag run` or somebody by hand has made is left alone."
    )
