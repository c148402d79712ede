"""``imgtag setup``: create missing server resources, or remove them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial

import anyio
import click

from imgtag.assembly import make_store
from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape, escape_lines
from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.jobs.setup import Setup, UndoResult
from imgtag.jobs.setup_record import SetupEntry
from imgtag.plugin.service import Change
from imgtag.types.ref import Scope

COUNT_SECONDS = 5.0
"""What counting objects may take at the end."""
STOP_FIRST = (
    "Stop `imgtag run` first: it creates stream, consumers and index again. Labels stay on the images; `imgtag strip` "
    "removes them."
)


@click.command(name="setup")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--remove", is_flag=True, help="Remove what setup created, and nothing else.")
@pass_app
def command(app: App, *, yes: bool, remove: bool) -> int:
    """Create what is missing: index and settings, stream and consumers, and notifications beside existing ones.

    Shows the changes first, and asks. If something cannot be created yet, setup says what to do about it, creates the
    rest, and exits with 1. The same happens if no notification target is known or configured: one run shows everything
    that is missing.

    setup.json under [state] dir records what was created. --remove shows what is recorded there and removes it, except
    for what somebody has changed since. It leaves alone what `imgtag run` or a person has created.
    """
    config = app.load(as_owner=True)
    if remove:
        return _remove(config, yes=yes)
    require_run(config)
    return _create(config, yes=yes)


# The questions are asked outside of the event loop, which would keep Ctrl-C from ending them.


def _create(config: Config, *, yes: bool) -> int:
    setup = Setup(config)
    missing = anyio.run(setup.plan)
    if not missing:
        click.echo("nothing is missing", err=True)
        anyio.run(_offer_backfill, config)
        return DONE
    for change in missing:
        click.echo(escape(f"missing: {change.what}"))
    if all(change.hint for change in missing):
        for change in missing:
            _report(change)
        _advise(missing)
        return FAILED
    advised = frozenset[str]() if yes else _advise(missing)
    # What an admin must know before the first image is touched.
    where = ", ".join(dict.fromkeys(rule.bucket for rule in config.rules)) or "the folder"
    if all(policy.strategy == "none" for policy in PolicyResolver(config).all()):
        click.echo(f"Images in {where} will be indexed; nothing is written on them.", err=True)
    else:
        click.echo(
            f"From now on, `imgtag run` rewrites the metadata of images in {where}. "
            'With [writeback] strategy = "none" it only indexes them.',
            err=True,
        )
    confirm("create these?", yes=yes)
    changes = anyio.run(_create_all, setup)
    _advise(changes, advised)
    anyio.run(_offer_backfill, config)
    return DONE if all(change.done for change in changes) else FAILED


async def _offer_backfill(config: Config) -> None:
    """Say how many objects were there before, of which no event tells."""
    counts: Counter[str] = Counter()
    with anyio.move_on_after(COUNT_SECONDS) as counting, suppress(ImgtagError):
        async with make_store(config) as store:
            for bucket in config.context().buckets:
                async for _ in store.list(Scope(bucket)):
                    counts[bucket] += 1
    if counts:
        more = "more than " if counting.cancelled_caught else ""
        total = f"{more}{counts.total():,} objects are there already; no event tells of them."
        click.echo(f"{total} To label them: imgtag backfill", err=True)


async def _create_all(setup: Setup) -> list[Change]:
    """Each change is reported when it is made, since the next one may fail."""
    changes = []
    async for change in setup.create():
        _report(change)
        changes.append(change)
    return changes


def _report(change: Change) -> None:
    click.echo(escape(f"{'created' if change.done else 'NOT created'}: {change.what}"))


def _advise(changes: Sequence[Change], advised: Collection[str] = ()) -> frozenset[str]:
    """Print what a person must do, each hint once; on stdout, since they are lines to copy."""
    hints = dict.fromkeys(change.hint for change in changes if change.hint and change.hint not in advised)
    for hint in hints:
        click.echo(escape_lines(hint))
    return frozenset(hints)


def _remove(config: Config, *, yes: bool) -> int:
    setup = Setup(config)
    entries = anyio.run(setup.recorded)
    if not entries:
        message = (
            f"nothing to remove: {setup.record.path} does not say that setup created anything for the site "
            f"{config.site.name}. What `imgtag run` or a person has created is left alone."
        )
        click.echo(message, err=True)
        return DONE
    planned = anyio.run(partial(setup.undo, entries, apply=False))
    _report_undo(planned, "will remove")
    removable = [entry for entry, result in planned if isinstance(result, Change) and not result.hint]
    settled = [entry for entry, result in planned if entry not in removable and not isinstance(result, ImgtagError)]
    done: list[tuple[SetupEntry, UndoResult]] = []
    if removable:
        click.echo(STOP_FIRST, err=True)
        confirm("remove these?", yes=yes)
        done = anyio.run(partial(setup.undo, removable, apply=True))
        _report_undo(done, "removed")
    anyio.run(setup.forget, settled)
    if errors := [result for _, result in [*planned, *done] if isinstance(result, ImgtagError)]:
        raise ExceptionGroup("not everything was removed", errors)
    return DONE


def _report_undo(results: Sequence[tuple[SetupEntry, UndoResult]], verb: str) -> None:
    for entry, result in results:
        if result is None:
            click.echo(escape(f"already gone: {entry.what}"), err=True)
        elif isinstance(result, ImgtagError):
            click.echo(escape(f"cannot remove {entry.what}: {result.message}"), err=True)
        elif result.hint:
            click.echo(escape(f"kept: {result.what}: {result.hint}"), err=True)
        else:
            click.echo(escape(f"{verb}: {result.what}"))
