"""``imgtag backfill --distributed``: publish objects for all sidecars of a site, and wait for them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio
import click

from imgtag.assembly import make_source, make_store
from imgtag.cli.main import DONE, FAILED, INTERRUPTED
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape, to_json
from imgtag.errors import Unavailable
from imgtag.types.result import COUNTS

if TYPE_CHECKING:
    from imgtag.cli.backfill import Command, Options
    from imgtag.config.configuration import Config
    from imgtag.plugin.backfills import BackfillPublication, Backfills, SharedBackfill

LOOK_PERIOD = 1.0
"""Seconds between two looks at how far the sidecars are."""
MAX_SILENCE = 30.0
"""Seconds without an object done after which it is said that no sidecar seems to work."""
EMPTY: Mapping[str, Any] = dict.fromkeys(("listed", *COUNTS, "bytes"), 0)


class DistributedCommand:
    """One run of the command; ``command`` knows what is to be worked on."""

    def __init__(self, command: Command, config: Config, options: Options) -> None:
        self._command = command
        self._config = config
        self._options = options
        self._id = ""
        self._seen: SharedBackfill | None = None
        """The backfill as it was seen last."""
        self._is_followed = False
        """Whether another run has begun since, which it is not to be mistaken for."""
        self._trouble = ""
        """Why it could not be seen last."""
        self._publication: BackfillPublication | None = None
        self._changed_at = 0.0
        """When an object was done last, by the clock of the event loop."""

    def run(self) -> int:
        """Publish and wait, or cancel; the exit code."""
        self._check_options()
        if self._options.cancel:
            backfill = anyio.run(self._find, self._options.cancel)
            click.echo(f"{backfill.id}: {_describe(backfill)}", err=True)
            confirm("cancel it? What is labelled stays labelled.", yes=self._options.yes)
            anyio.run(self._drop, backfill.id)
            click.echo("cancelled; sidecars finish the images that are in work", err=True)
            return DONE
        total = None
        if self._options.yes or not anyio.run(self._is_running):
            total, is_nothing_to_do = self._command.ask()
            if is_nothing_to_do:
                return DONE
        return anyio.run(self._distribute, total)

    def _check_options(self) -> None:
        options = self._options
        self._command.check_options()
        if not hasattr(make_source(self._config, read_only=True), "backfills"):
            source = self._config.require("source").name
            raise click.UsageError(
                f"--distributed needs a source that keeps a queue for all sidecars, as NATS with JetStream does; "
                f"[source.{source}] keeps none. Leave the option out: the backfill then runs in this process."
            )
        if options.cancel:
            return
        if not options.distributed:
            raise click.UsageError("--detach needs --distributed")
        if options.report:
            raise click.UsageError(
                "--report cannot be combined with --distributed: the sidecars log each object, and `imgtag search "
                "status:failed` or status:refused lists what was not labelled"
            )
        if options.dry_run:
            raise click.UsageError("--dry-run shows the same without --distributed: leave that out")
        if options.keys == "-":
            raise click.UsageError("with --distributed, name a file for --keys: stdin cannot be read again later")

    async def _is_running(self) -> bool:
        """Whether this very backfill runs; then it is said."""
        async with make_store(self._config, read_only=True) as store, self._open_backfills() as backfills:
            backfill = await _find(backfills, self._identify(await self._command.read_lists(store)))
        if backfill is None or backfill.is_done or self._options.restart:
            return False
        click.echo(f"joining {backfill.id}: {_describe(backfill)}", err=True)
        return True

    async def _distribute(self, total: int | None) -> int:
        from imgtag.cli.backfill import stop_on_signal  # noqa: PLC0415  (which imports this module)
        from imgtag.engine import open_job_parts  # noqa: PLC0415
        from imgtag.jobs.distributed import Publisher, limits_to_json  # noqa: PLC0415
        from imgtag.jobs.neighbour import FullSpeed  # noqa: PLC0415
        from imgtag.ops.recent_warnings import RecentWarnings  # noqa: PLC0415

        options = self._options
        # Instead of lines on stderr: progress says what is waited for.
        logging.getLogger().addHandler(RecentWarnings())
        async with open_job_parts(self._config, labels=False) as parts:
            backfills: Backfills = getattr(parts.source, "backfills")  # noqa: B009  (not every source has it)
            lists = await self._command.read_lists(parts.store)
            self._id = self._identify(lists)
            if options.restart:
                await backfills.drop(self._id)
            limits = limits_to_json(self._command.caps(), full_speed=options.full_speed)
            description = {"scopes": [targets.name for targets in lists], "total": total, **limits}
            self._publication = await backfills.begin(self._id, description)
            chooser = self._command.make_backfill(parts, FullSpeed(1), dry_run=True)
            publisher = Publisher(backfill=chooser, publication=self._publication)
            stop = anyio.Event()
            # Cancelled, it has published a part or not: the next one goes on with that part.
            async with anyio.create_task_group() as beside:
                beside.start_soon(stop_on_signal, stop)
                beside.start_soon(_cancel_on, stop, beside.cancel_scope)
                over = anyio.Event()
                beside.start_soon(self._watch, backfills, over)
                beside.start_soon(self._reporter().run)
                if not await publisher.run(lists):
                    click.echo("another process publishes it now, or it was cancelled", err=True)
                if not options.detach:
                    await over.wait()
                beside.cancel_scope.cancel("done")
            self._take_in(await _find(backfills, self._id))
        return self._conclude(is_stopped=stop.is_set())

    def _conclude(self, *, is_stopped: bool) -> int:
        from imgtag.jobs.distributed import progress_of, summarise  # noqa: PLC0415

        backfill = self._seen
        if backfill is None:
            click.echo(f"{self._id} was cancelled", err=True)
            return FAILED
        if self._is_followed:
            click.echo("it is done, and the same command was run again since; this is how far it was seen:", err=True)
        if backfill.is_done or self._is_followed:
            return self._command.conclude(progress_of(backfill))
        if self._options.as_json:
            click.echo(to_json({"done": False, **summarise(backfill, 0.0)}))
        else:
            click.echo(f"{backfill.id}: {_describe(backfill)}")
        if not is_stopped:
            click.echo("the sidecars go on; the same command without --detach waits for them", err=True)
            return DONE
        if backfill.is_published:
            message = "the sidecars go on; the same command waits for them"
        else:
            message = "not everything is published; the same command goes on from here"
        click.echo(f"{message}, and `imgtag backfill --cancel {backfill.id}` ends it", err=True)
        return INTERRUPTED

    def _identify(self, lists: Any) -> str:
        """The id: the same for the same command, on any node of the site."""
        identity = json.dumps(self._command.selection_identity(lists), sort_keys=True)
        return sha256(identity.encode()).hexdigest()[:12]

    def _reporter(self) -> Reporter:
        return Reporter(self._read, done=COUNTS, as_json=self._options.as_json, why_slow=self._describe_wait)

    def _read(self) -> Mapping[str, Any]:
        from imgtag.jobs.distributed import summarise  # noqa: PLC0415

        return summarise(self._seen, 0.0) if self._seen else EMPTY

    def _describe_wait(self) -> str:
        """What is waited for; empty for nothing."""
        trouble = self._trouble or (self._publication.trouble if self._publication else "")
        if trouble:
            return f"waiting: {escape(trouble)}"
        silence = anyio.current_time() - self._changed_at
        if self._seen and self._seen.left and silence > MAX_SILENCE:
            return (
                f"no sidecar has done anything for {silence:.0f} s: they work on it when they are idle, and within "
                "--hours; see `imgtag status` on each node"
            )
        return ""

    async def _watch(self, backfills: Backfills, over: anyio.Event) -> None:
        """Keep in sight how far it is, also while the source does not answer; set ``over`` when it is done or gone."""
        from imgtag.jobs.distributed import count_done  # noqa: PLC0415

        self._changed_at, done = anyio.current_time(), 0
        while True:
            try:
                is_over, self._trouble = self._take_in(await _find(backfills, self._id)), ""
                if is_over:
                    over.set()
            except Unavailable as error:
                self._trouble = error.message
            if self._seen and count_done(self._seen.counts) != done:
                self._changed_at, done = anyio.current_time(), count_done(self._seen.counts)
            await anyio.sleep(LOOK_PERIOD)

    def _take_in(self, backfill: SharedBackfill | None) -> bool:
        """Note how far it is; whether it is over: done, cancelled, or done and followed by another run."""
        if backfill and self._seen and backfill.started != self._seen.started:
            self._is_followed = True
            return True
        self._seen = backfill
        return backfill is None or backfill.is_done

    async def _find(self, id_: str) -> SharedBackfill:
        """Raises UsageError where there is no such backfill."""
        async with self._open_backfills() as backfills:
            known = await backfills.list()
        for backfill in known:
            if backfill.id == id_:
                return backfill
        names = ", ".join(f"{backfill.id} ({_describe(backfill)})" for backfill in known) or "none"
        raise click.UsageError(f"no distributed backfill has the id {escape(id_)}; there are: {names}")

    async def _drop(self, id_: str) -> None:
        async with self._open_backfills() as backfills:
            await backfills.drop(id_)

    @asynccontextmanager
    async def _open_backfills(self) -> AsyncIterator[Backfills]:
        async with make_source(self._config, read_only=True) as source:
            yield getattr(source, "backfills")  # noqa: B009  (not every source has it)


async def _find(backfills: Backfills, id_: str) -> SharedBackfill | None:
    return next((backfill for backfill in await backfills.list() if backfill.id == id_), None)


async def _cancel_on(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel("stopped")


def _describe(backfill: SharedBackfill) -> str:
    from imgtag.jobs.distributed import count_done  # noqa: PLC0415

    scopes = ", ".join(escape(name) for name in backfill.description.get("scopes", ()))
    listed = backfill.counts.get("listed", 0)
    so_far = "" if backfill.is_published else " so far"
    return f"{scopes}, {listed:,} objects listed{so_far}, {count_done(backfill.counts):,} done, {backfill.left:,} left"
