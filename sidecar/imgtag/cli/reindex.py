"""``imgtag reindex``: rebuild the index from what is on the objects."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio import to_thread

from imgtag import __version__
from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape, to_json
from imgtag.config.check import require_run

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from imgtag.config.configuration import Config
    from imgtag.engine import JobParts
    from imgtag.jobs.backfill import Gate
    from imgtag.jobs.reindex import Finding, Reindex

NICENESS = 10
MAX_NAMED = 20
"""Objects of each reason that are named; --json names all."""
REASONS = {
    "not_labelled": "it is not labelled, or its content has changed since",
    "unproven": "its labels must be compared with its bytes: the index in use does not know them",
    "unreadable": "it may not be looked at",
}
"""Why the new index lacks an object, for people."""
_COUNTED = ("indexed", "taken_over", "missing", "skipped", "failed")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for."""

    dry_run: bool
    keep_old: bool
    restart: bool
    concurrency: int
    full_speed: bool
    as_json: bool
    yes: bool


@click.command(name="reindex")
@click.option("--dry-run", is_flag=True, help="Only say what the new index would have; nothing is written.")
@click.option("--keep-old", is_flag=True, help="Keep the index that was in use, beside the new one.")
@click.option(
    "--restart", is_flag=True, help="Begin at the beginning, and delete what an earlier run left beside the index."
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=16, show_default=True, help="Objects in work at once."
)
@click.option("--full-speed", is_flag=True, help="Do not slow down for the store, the machine or live work.")
@click.option("--json", "as_json", is_flag=True, help="Print progress and the result as JSON, one object per line.")
@click.option("--yes", is_flag=True, help="Do not ask, however many documents the new index lacks.")
@pass_app
def command(app: App, **given: Any) -> int:
    """Rebuild the index from what is on the objects: no image is read, and nothing is written on an object.

    A new index is built beside the one in use and then put in its place, at one moment; until then, searches see the
    old one. Sidecars may run, and nothing that they change meanwhile is lost. Documents of objects that carry no labels
    (refused, failed, locked, strategy none) are taken over from the old index. What neither the object nor the old
    index knows is named as missing: `imgtag backfill` labels it.

    It asks before it puts an index in place that lacks more than 5 % of the documents. A run that is stopped or killed
    goes on where it was when the same command runs again.
    """
    os.nice(NICENESS)
    options = Options(**given)
    config = app.load(as_owner=True)
    require_run(config)
    if options.dry_run:
        return anyio.run(Command(config, options).run)
    from imgtag.jobs.reindex import hold_lock  # noqa: PLC0415

    with hold_lock(config.state_dir / "reindex"):
        return anyio.run(Command(config, options).run)


class Command:
    """One run of the command."""

    def __init__(self, config: Config, options: Options) -> None:
        self._config = config
        self._options = options
        self._shown: Counter[str] = Counter()

    async def run(self) -> int:
        """Ask, build, ask again if much would be lost, swap; the exit code."""
        from imgtag.engine import open_job_parts  # noqa: PLC0415
        from imgtag.flow.governor import Caps  # noqa: PLC0415
        from imgtag.jobs.neighbour import FullSpeed, govern  # noqa: PLC0415

        refusal: click.ClickException | click.Abort | None = None
        options = self._options
        async with (
            open_job_parts(self._config, read_only=options.dry_run, labels=False) as parts,
            AsyncExitStack() as stack,
        ):
            gate: Gate = FullSpeed(options.concurrency)
            if not options.full_speed:
                gate = await stack.enter_async_context(govern(parts, Caps(concurrency=options.concurrency)))
            job = await self._make_job(parts, gate)
            try:
                await (self._report_beside(job, job.build()) if options.dry_run else self._rebuild(job))
            except (click.UsageError, click.Abort) as error:
                refusal = error  # not raised here, where it would come out in a group
                if job.progress.listed:
                    click.echo("the index in use stays; the same command goes on from here", err=True)
        if refusal:
            raise refusal
        self._conclude(job)
        return FAILED if job.progress.failed else DONE

    async def _make_job(self, parts: JobParts, gate: Gate) -> Reindex:
        from imgtag.jobs.checkpoint import CheckpointFile  # noqa: PLC0415
        from imgtag.jobs.reindex import Reindex  # noqa: PLC0415

        buckets = self._config.context().buckets or await parts.store.buckets()
        identity = await to_thread.run_sync(self._identity, buckets)
        return Reindex(
            parts=parts,
            gate=gate,
            buckets=buckets,
            has_rules=bool(self._config.rules),
            file=CheckpointFile(self._config.state_dir / "reindex", identity),
            show=self._show,
            dry_run=self._options.dry_run,
        )

    async def _rebuild(self, job: Reindex) -> None:
        """Raises UsageError, Abort where the answer is no; what is built stays beside the index in use."""
        options = self._options
        await job.prepare(restart=options.restart)
        if not job.is_swapped:
            if job.progress.listed:
                click.echo(f"going on after {job.progress.listed:,} objects of an earlier run", err=True)
            else:
                click.echo(
                    escape(
                        f"will build a new index from the objects in {', '.join(job.buckets)}, beside the one in use"
                    ),
                    err=True,
                )
                confirm("put it in the place of the one in use then?", yes=options.yes)
            await self._report_beside(job, job.build())
            await job.catch_up()
            if job.loses_many:
                lost, documents = job.progress.lost, job.progress.documents
                click.echo(f"of {documents:,} documents in use, the new index lacks {lost:,}", err=True)
                click.echo("Is this the right store, and are the rules right?", err=True)
                confirm("put it in place all the same?", yes=options.yes)
            await job.swap()
        await job.settle()
        await job.finish(keep_old=options.keep_old)

    async def _report_beside(self, job: Reindex, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, and say now and then how far it is."""
        reporter = Reporter(job.progress.as_dict, names=_COUNTED, as_json=self._options.as_json)
        async with anyio.create_task_group() as beside:
            beside.start_soon(reporter.run)
            await work
            beside.cancel_scope.cancel("done")

    def _show(self, finding: Finding) -> None:
        ref, fate, reason = finding.ref, finding.fate.value, finding.reason
        self._shown[reason] += 1
        if self._options.as_json:
            click.echo(to_json({"finding": fate, "bucket": ref.bucket, "key": ref.key, "reason": reason}))
        elif self._shown[reason] <= MAX_NAMED:
            click.echo(f"{fate} {escape(str(ref))}: {REASONS.get(reason, escape(reason))}")

    def _conclude(self, job: Reindex) -> None:
        progress, options = job.progress, self._options
        names = ("listed", *_COUNTED, "changed", "caught_up", "documents", "lost")
        if options.as_json:
            counts = {name: getattr(progress, name) for name in names}
            click.echo(
                to_json(
                    {
                        "done": True,
                        "dry_run": options.dry_run,
                        **counts,
                        "swapped": job.is_swapped,
                        "seconds": round(progress.seconds, 1),
                    }
                )
            )
            return
        for reason, count in self._shown.items():
            if count > MAX_NAMED:
                click.echo(f"and {count - MAX_NAMED:,} more: {REASONS.get(reason, escape(reason))}; --json names all")
        would = "would be " if options.dry_run else ""
        described = [
            f"{progress.indexed:,} {would}indexed from their headers",
            f"{progress.taken_over:,} {would}taken over from the old index",
            f"{progress.missing:,} missing",
            f"{progress.skipped:,} skipped",
            *([f"{progress.failed:,} rejected"] if progress.failed else []),
        ]
        click.echo(f"{progress.listed:,} objects: {', '.join(described)}")
        click.echo(
            f"{progress.changed:,} documents differ from the old index; {progress.lost:,} of it are not in the new one"
        )
        if job.is_swapped:
            click.echo(f"the new index is in use; {progress.caught_up:,} documents were caught up with")
        if progress.missing:
            click.echo("what is missing is labelled, or compared with its bytes, by: imgtag backfill")

    def _identity(self, buckets: Sequence[str]) -> dict[str, Any]:
        """What a checkpoint holds for: another configuration makes other documents. Blocking."""
        config, store, indexer = self._config, self._config.require("store"), self._config.require("indexer")
        where = getattr(store.settings, "endpoint", None) or getattr(store.settings, "root", None)
        index = getattr(indexer.settings, "index", None) or getattr(indexer.settings, "path", None)
        shapes = [
            config.model_dump_json(include={"labels", "writeback", "document", "rules", "label_rules"}),
            config.require("classifier").settings.model_dump_json(),
        ]
        return {
            "release": __version__,
            "store": f"{store.name} {where}",
            "index": f"{indexer.name} {index}",
            "site": config.site.name,
            "buckets": list(buckets),
            "shapes": sha256("\0".join(shapes).encode()).hexdigest(),
        }
