"""``imgtag backfill --new``: a backfill of the newest inventory, unless one was made of it before."""

from __future__ import annotations

from dataclasses import replace

import anyio
import click

from imgtag.assembly import make_source, make_store
from imgtag.cli.backfill import Command, Options
from imgtag.cli.main import DONE, FAILED, INTERRUPTED
from imgtag.cli.scopes import parse_scopes
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.errors import ConfigError
from imgtag.jobs.inventory import DoneInventories
from imgtag.jobs.lease import Lease
from imgtag.plugin.source import RecordKeeper, Source
from imgtag.types.ref import Listed, Scope


def run_new(config: Config, options: Options) -> int:
    """Find the newest inventory below the prefix, and work it off; the exit code. Raises UsageError, ConfigError."""
    place = options.inventory or config.backfill.inventory
    if place is None:
        raise click.UsageError("--new needs --inventory BUCKET/PREFIX, or `inventory` under [backfill]")
    (scope,) = parse_scopes([place])
    # The plugins learn from it that records are used, and which bucket is read.
    config = config.model_copy(update={"backfill": config.backfill.model_copy(update={"inventory": place})})
    manifest = anyio.run(_find, config, scope)
    if manifest is None:
        click.echo(f"nothing new below {escape(str(scope))}", err=True)
        return DONE
    click.echo(f"new: {escape(str(manifest.ref))}", err=True)
    return NewInventory(config, replace(options, inventory=str(manifest.ref)), manifest).run()


async def _find(config: Config, scope: Scope) -> Listed | None:
    async with make_source(config, read_only=True) as source, make_store(config, read_only=True) as store:
        return await DoneInventories(_keeper(source)).find_new_manifest(store, scope)


def _keeper(source: Source) -> RecordKeeper:
    if not isinstance(source, RecordKeeper):
        message = "--new: the source keeps no record of which inventories are done"
        raise ConfigError(message, hint="Use JetStream, or name a manifest.json with --inventory.")
    return source


class NewInventory(Command):
    """A backfill of this manifest, by one process of the site at a time."""

    def __init__(self, config: Config, options: Options, manifest: Listed) -> None:
        super().__init__(config, options)
        self._manifest = manifest

    async def _work(self, total: int | None) -> int:
        code = INTERRUPTED
        async with make_source(self._config) as source:
            records = _keeper(source)
            inventories, lease = DoneInventories(records), Lease(records=records)

            async def work() -> None:
                nonlocal code
                if await inventories.is_done(self._manifest):
                    click.echo("nothing new: another process has just done it", err=True)
                    code = DONE
                    return
                code = await super(NewInventory, self)._work(total)
                if code in {DONE, FAILED} and not self._options.dry_run:
                    await inventories.mark_done(self._manifest)

            if not await lease.try_acquire():
                click.echo("waiting for another process of the site that does scheduled work, or was killed", err=True)
                await lease.acquire()
            if not await lease.work(work):
                click.echo("stopped: another process of the site has taken the lease", err=True)
        return code
