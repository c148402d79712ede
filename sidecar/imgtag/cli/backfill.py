"""``imgtag backfill``: label what is in the store already."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio import to_thread

from imgtag.cli.main import DONE, FAILED, INTERRUPTED, App, pass_app
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.reasons import REASONS
from imgtag.cli.scopes import find_scopes
from imgtag.cli.terminal import escape, to_json
from imgtag.config.check import require_run
from imgtag.types.ref import ObjectRef

if TYPE_CHECKING:
    from imgtag.config.configuration import Config
    from imgtag.engine import JobParts
    from imgtag.flow.daily_hours import DailyHours
    from imgtag.flow.governor import Caps, GovernorState
    from imgtag.jobs.backfill import Backfill, Gate, Progress, Selection, Targets
    from imgtag.jobs.candidates import Candidate, Rejection
    from imgtag.plugin.store import Store

NICENESS = 10
MAX_REJECTIONS = 20
"""Lines that name no object and are shown."""
SURVEY_SECONDS = 60.0
"""What the look at the store may take before the question is asked."""
SAMPLE = 200
"""Objects that are looked at before the question is asked."""
_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_PERIODS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}


class Size(click.ParamType[float]):
    """A number of bytes, such as 500k or 2M."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)b?", str(value).lower())
        if match is None:
            self.fail(f"{value!r} is not a size: write 500k, 2M or 1G", param, ctx)
        return float(match[1]) * _SUFFIXES[match[2]]


class Moment(click.ParamType[float]):
    """A time: a date, or how long ago, such as 36h, 7d or 2w."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since 1970. Raises BadParameter."""
        text = str(value)
        if match := re.fullmatch(r"(\d+)([hdw])", text):
            return time.time() - int(match[1]) * _PERIODS[match[2]]
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{value!r} is not a time: write 2026-03-01, 36h, 7d or 2w", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Hours(click.ParamType["DailyHours"]):
    """Hours of the day in local time."""

    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> DailyHours:
        """Raises BadParameter."""
        from imgtag.flow.daily_hours import DailyHours  # noqa: PLC0415

        try:
            return DailyHours.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for."""

    scopes: tuple[str, ...]
    keys: str | None
    zero: bool
    url_encoded: bool
    from_mc: bool
    inventory: str | None
    new: bool
    stale: bool
    missing: bool
    failed: bool
    incomplete: bool
    rule: int | None
    newer: float | None
    older: float | None
    min_size: float
    max_size: float | None
    concurrency: int
    rate: float | None
    bandwidth: float | None
    hours: DailyHours | None
    full_speed: bool
    dry_run: bool
    report: Path | None
    restart: bool
    distributed: bool
    detach: bool
    cancel: str | None
    as_json: bool
    yes: bool


@click.command(name="backfill")
@click.argument("scopes", metavar="[BUCKET[/PREFIX]]...", nargs=-1)
@click.option("--keys", metavar="FILE", type=click.Path(allow_dash=True), help="Only what FILE names; - is stdin.")
@click.option(
    "-0", "zero", is_flag=True, help="Names in --keys end with a NUL byte, as `search --keys -0` prints them."
)
@click.option("--url-encoded", is_flag=True, help="Names in --keys are URL-encoded.")
@click.option("--mc", "from_mc", is_flag=True, help="--keys is what `mc ls --json` or `mc find --json` prints.")
@click.option("--inventory", metavar="MANIFEST", help="Only the objects of an S3 Inventory: BUCKET/KEY or a file.")
@click.option(
    "--new",
    is_flag=True,
    help="Only the newest inventory below --inventory BUCKET/PREFIX, or below that of [backfill], unless it is done.",
)
@click.option("--missing", is_flag=True, help="Label what the index lacks or knows with another content (the default).")
@click.option("--stale", is_flag=True, help="Label again what another model or other rules labelled.")
@click.option("--failed", is_flag=True, help="Try again what failed or was refused.")
@click.option("--incomplete", is_flag=True, help="Label again what lacks an embedding or facts.")
@click.option("--rule", type=click.IntRange(min=1), metavar="N", help="Only objects under the Nth rule.")
@click.option("--newer-than", "newer", type=Moment(), help="Only objects modified since: 2026-03-01, 36h, 7d, 2w.")
@click.option("--older-than", "older", type=Moment(), help="Only objects modified before.")
@click.option("--min-size", type=Size(), default="0", help="Only objects of at least this size, such as 50k.")
@click.option("--max-size", type=Size(), help="Only objects of at most this size.")
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=48, show_default=True, help="Objects in work at once."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N objects a second.")
@click.option("--bandwidth", type=Size(), metavar="SIZE", help="At most this many bytes a second, such as 20M.")
@click.option("--hours", type=Hours(), help="Begin objects only in these hours of the day, such as 22:00-06:00.")
@click.option("--full-speed", is_flag=True, help="Do not slow down for the store, the machine or live work.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a line for each object: .csv or .jsonl.",
)
@click.option("--restart", is_flag=True, help="Begin at the beginning, though an earlier run left a checkpoint.")
@click.option(
    "--distributed",
    is_flag=True,
    help="Let all running sidecars of the site work on it, each when it is idle, and wait.",
)
@click.option("--detach", is_flag=True, help="With --distributed: do not wait for the sidecars.")
@click.option("--cancel", metavar="ID", help="End a distributed backfill, which `imgtag status` names.")
@click.option("--json", "as_json", is_flag=True, help="Print progress and the result as JSON, one object per line.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_app
def command(app: App, **options: Any) -> int:
    """Label the objects that are in the store already: all that the rules admit, or parts of it.

    What is labelled and indexed is passed over without a request of its own. A run that is stopped or killed goes on
    where it was when the same command runs again. It works beside a running sidecar, which it lets go first.
    """
    os.nice(NICENESS)  # workers inherit it: those of a running sidecar go first
    asked = Options(**options)
    config = app.load(as_owner=True)
    require_run(config)
    if asked.new:
        if asked.keys:
            raise click.UsageError("--keys and --new cannot be combined")
        if asked.distributed:
            raise click.UsageError("--new and --distributed cannot be combined: name the inventory with --inventory")
        from imgtag.cli.new_inventory import run_new  # noqa: PLC0415

        return run_new(config, asked)
    command = Command(config, asked)
    if asked.distributed or asked.detach or asked.cancel:
        from imgtag.cli.distributed import DistributedCommand  # noqa: PLC0415

        return DistributedCommand(command, config, asked).run()
    return command.run()


class Command:
    """One run of the command."""

    def __init__(self, config: Config, options: Options) -> None:
        self._config = config
        self._options = options
        self._rejected = 0

    def run(self) -> int:
        """Look, ask, work; the exit code."""
        self.check_options()
        if self._options.keys == "-" and not self._options.yes:
            raise click.UsageError("with --keys - there is no terminal to ask on, so pass --yes")
        total, is_nothing_to_do = (None, False) if self._options.dry_run else self.ask()
        return DONE if is_nothing_to_do else anyio.run(self._work, total)

    def check_options(self) -> None:
        """Raises UsageError for options that contradict each other."""
        if self._options.full_speed and (self._options.rate or self._options.bandwidth or self._options.hours):
            raise click.UsageError("--full-speed cannot be combined with --rate, --bandwidth or --hours")

    def ask(self) -> tuple[int | None, bool]:
        """Say what would be done, and ask, unless `--yes`; how many objects there are, and whether none is to do."""
        if self._options.yes:
            return None, False
        is_list = self._options.keys or self._options.inventory
        total, is_nothing_to_do = anyio.run(self._survey if is_list else self._plan)
        if is_nothing_to_do:
            click.echo("nothing to do", err=True)
        else:
            confirm("label these?", yes=False)
        return total, is_nothing_to_do

    async def _plan(self) -> tuple[int | None, bool]:
        """Say in short what `imgtag plan` says at length; how many objects there are, and whether none is to do."""
        from imgtag.cli.plan import describe_briefly  # noqa: PLC0415
        from imgtag.jobs.plan import open_planner  # noqa: PLC0415

        plan = None
        async with open_planner(self._config, sample=SAMPLE) as planner:
            planner.selection = self._selection()
            scopes = await find_scopes(self._config, planner.reconcile.store, self._options.scopes)
            with anyio.move_on_after(SURVEY_SECONDS):
                plan = await planner.plan(scopes)
        if plan is None:
            click.echo(
                f"{planner.listed:,} objects were listed in {SURVEY_SECONDS:.0f} s, and there are more", err=True
            )
            return None, False
        for line in describe_briefly(plan):
            click.echo(line, err=True)
        return plan.objects, not plan.candidates

    async def _survey(self) -> tuple[int | None, bool]:
        """As `_plan`, for a list, which may be in no order: from the index alone."""
        from imgtag.engine import open_job_parts  # noqa: PLC0415
        from imgtag.jobs.neighbour import FullSpeed  # noqa: PLC0415

        async with open_job_parts(self._config, read_only=True) as parts:
            survey = self.make_backfill(parts, FullSpeed(self._options.concurrency), dry_run=True)
            with anyio.move_on_after(SURVEY_SECONDS) as looking:
                await survey.run(await self.read_lists(parts.store))
        progress, is_all = survey.progress, not looking.cancelled_caught
        at_least = "" if is_all else "at least "
        to_do = f"{progress.labelled:,} to look at, {progress.bytes / 1e6:,.0f} MB"
        click.echo(f"{at_least}{progress.listed:,} objects: {at_least}{to_do}", err=True)
        _list_reasons(progress)
        return progress.listed if is_all else None, is_all and not progress.labelled

    async def _work(self, total: int | None) -> int:
        from imgtag.engine import open_job_parts  # noqa: PLC0415
        from imgtag.jobs.checkpoint import CheckpointFile  # noqa: PLC0415
        from imgtag.jobs.neighbour import FullSpeed, govern  # noqa: PLC0415
        from imgtag.jobs.report import Report  # noqa: PLC0415
        from imgtag.ops.recent_warnings import RecentWarnings  # noqa: PLC0415

        options, warnings = self._options, RecentWarnings()
        self._rejected = 0  # by the survey, which read the same list
        # Instead of lines on stderr: progress says what is waited for, and the end says what failed.
        logging.getLogger().addHandler(warnings)
        async with open_job_parts(self._config, read_only=options.dry_run) as parts:
            lists = await self.read_lists(parts.store)
            file = CheckpointFile(self._config.state_dir / "backfill", self._identity(lists))
            begins_anew = options.restart or options.dry_run or options.keys == "-"
            saved = None if begins_anew else await to_thread.run_sync(file.load)
            report = Report(options.report, (saved or {}).get("report", 0)) if options.report else None
            async with AsyncExitStack() as stack:
                stack.enter_context(report or nullcontext())
                gate: Gate = FullSpeed(options.concurrency)
                if not (options.full_speed or options.dry_run):
                    gate = await stack.enter_async_context(govern(parts, self.caps()))
                backfill = self.make_backfill(parts, gate, dry_run=options.dry_run, report=report)
                position = backfill.resume(saved)
                if saved:
                    click.echo(f"going on after {backfill.progress.listed:,} objects of an earlier run", err=True)
                reporter = Reporter(
                    backfill.progress.as_dict,
                    as_json=options.as_json,
                    total=total,
                    why_slow=lambda: _describe_wait(warnings.newest(), gate),
                )
                async with anyio.create_task_group() as beside:
                    beside.start_soon(stop_on_signal, backfill.stop)
                    beside.start_soon(reporter.run)
                    await backfill.run(
                        lists,
                        None if options.dry_run or options.keys == "-" else file,
                        position,
                    )
                    beside.cancel_scope.cancel("done")
        return self.conclude(backfill.progress, stopped=backfill.stop.is_set())

    def make_backfill(self, parts: JobParts, gate: Gate, *, dry_run: bool, report: Any = None) -> Backfill:
        from imgtag.jobs.backfill import Backfill  # noqa: PLC0415
        from imgtag.jobs.standing import make_judge  # noqa: PLC0415

        return Backfill(
            parts=parts,
            judge=make_judge(parts),
            selection=self._selection(),
            gate=gate,
            report=report,
            dry_run=dry_run,
        )

    def caps(self) -> Caps:
        """What is never exceeded."""
        from imgtag.flow.governor import Caps  # noqa: PLC0415

        options = self._options
        return Caps(concurrency=options.concurrency, objects=options.rate, bytes=options.bandwidth, hours=options.hours)

    def _selection(self) -> Selection:
        from imgtag.jobs.backfill import Selection  # noqa: PLC0415
        from imgtag.jobs.standing import Standing  # noqa: PLC0415

        options = self._options
        chosen = {
            "missing": {Standing.MISSING, Standing.DIFFERING},
            "stale": {Standing.STALE},
            "failed": {Standing.FAILED, Standing.REFUSED},
            "incomplete": {Standing.INCOMPLETE},
        }
        names = [name for name in chosen if getattr(options, name)] or ["missing"]
        return Selection(
            standings=frozenset().union(*(chosen[name] for name in names)),
            rule=None if options.rule is None else options.rule - 1,
            min_size=int(options.min_size),
            max_size=None if options.max_size is None else int(options.max_size),
            modified_after=options.newer,
            modified_before=options.older,
        )

    async def read_lists(self, store: Store) -> Sequence[Targets]:
        """The buckets and parts of them that were named, else those of the rules. Raises UsageError."""
        from imgtag.jobs.backfill import ListedScope  # noqa: PLC0415

        options = self._options
        if options.keys and options.inventory:
            raise click.UsageError("--keys and --inventory cannot be combined")
        if options.keys:
            return [self._key_list(options.keys)]
        if options.inventory:
            return [await self._inventory(store, options.inventory)]
        scopes = await find_scopes(self._config, store, options.scopes)
        return [ListedScope(store, scope) for scope in scopes]

    def _key_list(self, path: str) -> Targets:
        """The objects that a file or stdin names. Raises UsageError."""
        from imgtag.jobs.backfill import NamedObjects  # noqa: PLC0415
        from imgtag.jobs.key_list import KeyListFormat, read_keys  # noqa: PLC0415

        options = self._options
        if len(options.scopes) > 1 or any("/" in scope for scope in options.scopes):
            raise click.UsageError("with --keys, name at most one BUCKET, which the keys are in")
        form = KeyListFormat(
            end=b"\0" if options.zero else b"\n",
            bucket=options.scopes[0] if options.scopes else None,
            url_encoded=options.url_encoded,
            shape="mc" if options.from_mc else "names",
        )
        if path == "-":
            return NamedObjects("-", lambda: read_keys(sys.stdin.buffer, "stdin", form, self._reject))
        try:
            stat = Path(path).stat()
        except OSError as error:
            raise click.UsageError(f"--keys {escape(path)}: {error.strerror}") from error

        async def read() -> AsyncIterator[Candidate]:
            with await to_thread.run_sync(lambda: Path(path).open("rb")) as file:
                async for candidate in read_keys(file, path, form, self._reject):
                    yield candidate

        return NamedObjects(f"{Path(path).resolve()} {stat.st_size} {stat.st_mtime_ns}", read)

    async def _inventory(self, store: Store, manifest: str) -> Targets:
        """The objects of an S3 Inventory. Raises InventoryError, Unavailable, UsageError."""
        from imgtag.jobs.backfill import NamedObjects  # noqa: PLC0415
        from imgtag.jobs.inventory import open_inventory, open_local_inventory  # noqa: PLC0415

        buckets = self._config.context().buckets
        if await anyio.Path(manifest).is_file():
            inventory = await open_local_inventory(Path(manifest), buckets=buckets)
        else:
            try:
                ref = ObjectRef.parse(manifest)
            except ValueError as error:
                raise click.UsageError(str(error)) from error
            inventory = await open_inventory(store, ref, buckets=buckets, spool=self._config.state_dir)
        return NamedObjects(f"{inventory.source} {inventory.created}", lambda: inventory.read(self._reject))

    def _reject(self, rejection: Rejection) -> None:
        """Say what named no object; the rest of the list goes on."""
        self._rejected += 1
        if self._rejected <= MAX_REJECTIONS:
            click.echo(escape(str(rejection)), err=True)

    def selection_identity(self, lists: Sequence[Targets]) -> dict[str, Any]:
        """What tells this command from others on the site: the objects, and how they are chosen."""
        options = self._options
        # Ages move with the clock, so they are not compared: what is newer is seen by the next run.
        selection = {name: getattr(options, name) for name in ("missing", "stale", "failed", "incomplete", "rule")}
        sizes = {"min_size": options.min_size, "max_size": options.max_size}
        names = [targets.name for targets in lists]
        return {"site": self._config.site.name, "lists": names, **selection, **sizes}

    def _identity(self, lists: Sequence[Targets]) -> dict[str, Any]:
        """What a checkpoint holds for."""
        store = self._config.require("store")
        where = getattr(store.settings, "endpoint", None) or getattr(store.settings, "root", None)
        report = str(self._options.report or "")
        return {"store": f"{store.name} {where}", **self.selection_identity(lists), "report": report}

    def conclude(self, progress: Progress, *, stopped: bool = False) -> int:
        """Say what was done; the exit code."""
        if self._options.as_json:
            click.echo(to_json({"done": not stopped, **progress.as_dict()}))
        else:
            verb = "would be labelled" if self._options.dry_run else "labelled"
            click.echo(f"{progress.listed:,} objects in {progress.seconds:,.0f} s: {progress.labelled:,} {verb}")
            _list_reasons(progress, err=False)
            for name in ("refused", "failed"):
                if count := getattr(progress, name):
                    click.echo(f"  {count:,} {name}: imgtag search status:{name}")
            for code, count in progress.not_written.most_common():
                click.echo(f"  {count:,} labelled and indexed, but nothing was written on them: {code}")
            if progress.unfinished:
                click.echo(f"  {progress.unfinished:,} given up after several tries: imgtag dlq list")
        if self._rejected > MAX_REJECTIONS:
            click.echo(f"{self._rejected:,} lines named no object", err=True)
        if stopped:
            click.echo("stopped; the same command goes on from here", err=True)
            return INTERRUPTED
        return FAILED if progress.unfinished or self._rejected else DONE


def _describe_wait(warnings: Sequence[Mapping[str, Any]], gate: Gate) -> str:
    """What is waited for now, by the log and the governor; empty for nothing."""
    latest = warnings[-1] if warnings else {}
    is_waiting = latest.get("event") == "retry_scheduled" and time.time() - latest["at"] < float(latest["delay"]) + 5
    if is_waiting:
        return f"waiting: {escape(latest['reason'])}"
    state: GovernorState | None = getattr(gate, "state", None)
    return state.message if state and state.held_back else ""


def _list_reasons(progress: Progress, *, err: bool = True) -> None:
    for reason, count in progress.skipped_as.most_common():
        click.echo(f"  {count:,} passed over: {REASONS.get(reason, escape(reason))}", err=err)


async def stop_on_signal(stop: anyio.Event) -> None:
    """Finish what is in work on the first signal; end at once on the second."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()
