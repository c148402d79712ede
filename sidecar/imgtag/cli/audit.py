"""``imgtag audit``: compare store, labels and index."""

from __future__ import annotations

import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio import to_thread

from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.scopes import parse_scopes
from imgtag.cli.terminal import escape, to_json
from imgtag.config.check import require_run
from imgtag.errors import ConfigError
from imgtag.types.ref import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgtag.config.configuration import Config
    from imgtag.jobs.audit import Audit, Finding

REASONS = {
    "no_document": "the index has no document of it",
    "object_gone": "the object is gone",
    "no_rule": "no rule admits it",
    "etag": "its document is of another content",
    "revision": "it was written since its document was made",
    "mark": "its document was made from other labels than it has, or it has none",
    "signature": "labels on it are not as imgtag wrote them",
    "labels": "its document shows other labels than it has",
    "hides_newer": "a version of imgtag's hides a newer upload or deletion",
}
"""Why something is a finding, for people."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for."""

    scopes: tuple[str, ...]
    repair: bool
    quick: bool
    concurrency: int
    report: Path | None
    as_json: bool
    yes: bool


@click.command(name="audit")
@click.argument("scopes", metavar="[BUCKET[/PREFIX]]...", nargs=-1)
@click.option("--repair", is_flag=True, help="Mend what is found, and compare it again.")
@click.option("--quick", is_flag=True, help="Do not look at each labelled object where listings lack metadata.")
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=16, show_default=True, help="Objects in work at once."
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a line for each object: .csv or .jsonl.",
)
@click.option("--json", "as_json", is_flag=True, help="Print findings and the result as JSON, one object per line.")
@click.option("--yes", is_flag=True, help="Do not ask, however many documents --repair deletes.")
@pass_app
def command(app: App, **given: Any) -> int:
    """Compare objects, labels and index, and list what does not agree.

    Without --repair nothing is changed. With it, each finding is worked off as if an event had come of it; what is
    merely stale stays as it is. It asks before it deletes more than 5 % of the documents.

    The exit code is 0 if nothing is missing in the index, orphaned or differing; with --repair, afterwards.
    """
    options = Options(**given)
    config = app.load(as_owner=True)
    require_run(config)
    return anyio.run(_audit, config, options, parse_scopes(options.scopes))


async def _audit(config: Config, options: Options, scopes: Sequence[Scope]) -> int:
    """Compare, and mend if asked to; the exit code."""
    from imgtag.engine import open_job_parts  # noqa: PLC0415
    from imgtag.flow.governor import Caps  # noqa: PLC0415
    from imgtag.jobs.audit import Audit, Spool, find_scopes  # noqa: PLC0415
    from imgtag.jobs.neighbour import govern  # noqa: PLC0415
    from imgtag.jobs.report import Report  # noqa: PLC0415
    from imgtag.jobs.standing import make_judge  # noqa: PLC0415

    refusal: click.ClickException | click.Abort | None = None
    async with open_job_parts(config, read_only=not options.repair) as parts, AsyncExitStack() as stack:
        buckets = config.context().buckets or await parts.store.buckets()
        for bucket in {scope.bucket for scope in scopes} - set(buckets):
            if not await parts.indexer.count(parts.site, Scope(bucket)):
                raise ConfigError(
                    f"no rule names the bucket {bucket}, and the index has no document of it",
                    hint=f"Those that rules name: {', '.join(buckets) or 'none'}.",
                )
        governor = await stack.enter_async_context(govern(parts, Caps(concurrency=options.concurrency)))
        audit = Audit(
            parts=parts,
            judge=make_judge(parts),
            gate=governor,
            buckets=frozenset(buckets),
            show=lambda finding: click.echo(_format(finding, as_json=options.as_json)),
            report=Report(options.report) if options.report else None,
            quick=options.quick,
            spool=Spool(config.state_dir) if options.repair else None,
        )
        with audit.report or nullcontext(), audit.spool or nullcontext():
            everything = await find_scopes(parts, buckets, has_rules=bool(config.rules))
            await _report_beside(audit, audit.compare(scopes or everything))
            if options.repair and not audit.counts.is_clean:
                try:
                    _confirm_deletions(audit, yes=options.yes)
                    click.echo("mending what was found", err=True)
                    await _report_beside(audit, audit.repair())
                except (click.UsageError, click.Abort) as error:
                    refusal = error  # not raised here, where it would come out in a group
    if not scopes:
        await to_thread.run_sync(_record, config, audit)
    _conclude(audit, as_json=options.as_json)
    if refusal:
        raise refusal
    return DONE if audit.counts.is_clean else FAILED


async def _report_beside(audit: Audit, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and say now and then on stderr how far it is."""

    def read() -> dict[str, int]:
        return {"listed": audit.counts.objects, **audit.counts.as_dict()}

    async with anyio.create_task_group() as beside:
        beside.start_soon(Reporter(read, names=("current", "missing", "orphaned", "differing")).run)
        await work
        beside.cancel_scope.cancel("done")


def _confirm_deletions(audit: Audit, *, yes: bool) -> None:
    """Ask before much of the index is deleted. Raises UsageError, Abort."""
    if audit.deletes_many:
        orphaned, documents = audit.counts.orphaned, audit.documents
        click.echo(f"{orphaned:,} of {documents:,} documents have no object that a rule admits", err=True)
        click.echo("Is this the right store, and are the rules right?", err=True)
        confirm("delete these documents?", yes=yes)


def _format(finding: Finding, *, as_json: bool) -> str:
    ref = finding.ref
    if as_json:
        return to_json({"finding": finding.kind, "bucket": ref.bucket, "key": ref.key, "reason": finding.reason})
    return f"{finding.kind:<9} {escape(str(ref))}: {REASONS[finding.reason]}"


def _record(config: Config, audit: Audit) -> None:
    """Keep what was found in everything, for the metrics of a running sidecar. Blocking."""
    from imgtag.jobs.audit_record import AuditRecord  # noqa: PLC0415

    try:
        AuditRecord(at=time.time(), findings=audit.counts.findings).save(config.state_dir)
    except OSError as error:
        click.echo(f"the result is not kept for the metrics: {error}", err=True)


def _conclude(audit: Audit, *, as_json: bool) -> None:
    counts = audit.counts
    if as_json:
        click.echo(to_json({"done": True, **counts.as_dict(), "repaired": audit.repaired}))
        return
    parts = ("current", "stale", "unlabelled", "refused", "failed", "missing")
    described = ", ".join(f"{getattr(counts, name):,} {name}" for name in parts)
    click.echo(f"{counts.objects:,} images: {described}")
    click.echo(f"{counts.differing:,} differing, {counts.orphaned:,} orphaned documents")
    if audit.repaired:
        click.echo(f"{audit.repaired:,} keys were worked off and compared again")
    if counts.stale:
        click.echo("stale ones are labelled again by: imgtag backfill --stale")
    if not counts.is_clean and not audit.repaired:
        click.echo("imgtag audit --repair mends what was found")
