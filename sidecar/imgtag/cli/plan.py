"""``imgtag plan``: what a backfill would do, before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.cli.progress import Reporter, duration
from imgtag.cli.reasons import REASONS
from imgtag.cli.scopes import find_scopes
from imgtag.cli.terminal import escape, to_json
from imgtag.config.check import require_run
from imgtag.jobs.store_codes import STORE_CODES

if TYPE_CHECKING:
    from imgtag.jobs.plan import Finding, Plan

_TEXTS = {
    "to_label": "to be labelled",
    "type_unknown": "of these, images or not: only their bytes will tell",
    "failed": "of these, images that cannot be decoded",
    "index_only": "labelled in the index alone, as their rule says",
    "not_written": "labelled in the index; nothing will be written on them",
    "dropped": "without room for all metadata",
    "new_version": "get a new version; the old one stays, with its bytes",
    "last_modified": "will look modified",
    "lifecycle": "for which a lifecycle rule begins to count again",
    "replicated": "replicated to another bucket again",
    "reindex": "labelled before; only the index lacks them",
    "refused": "refused",
    "skipped": "passed over",
    "unknown": "cannot be told",
}
"""The kinds of findings, in the order in which people see them."""


@click.command(name="plan")
@click.argument("scopes", metavar="[BUCKET[/PREFIX]]...", nargs=-1)
@click.option("--sample", type=click.IntRange(min=0), default=1_000, show_default=True, metavar="N",
              help="Look at N objects, drawn at random; 0: at all.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Draw another sample.")
@click.option("--json", "as_json", is_flag=True, help="Print findings and totals as JSON, one object per line.")
@pass_app
async def command(app: App, scopes: tuple[str, ...], *, sample: int, seed: int, as_json: bool) -> int:
    """Say what `imgtag backfill` would do: what it would label, refuse, write, read, and how long it would take.

    Nothing is changed: no object, no setting of a bucket, no index. All objects are listed; of those that a backfill
    would work on, a sample is looked at, and a few are read and classified.
    """
    from imgtag.jobs.plan import open_planner  # noqa: PLC0415

    config = app.load(as_owner=True)
    require_run(config)
    async with open_planner(config, sample=sample, seed=seed) as planner:
        parts = await find_scopes(config, planner.reconcile.store, scopes)
        async with anyio.create_task_group() as beside:
            reporter = Reporter(
                lambda: {"listed": planner.listed, "looked at": planner.looked_at}, names=("looked at",)
            )
            beside.start_soon(reporter.run)
            plan = await planner.plan(parts)
            beside.cancel_scope.cancel("done")
    for line in _json_lines(plan) if as_json else describe(plan):
        click.echo(line)
    return 0


def describe(plan: Plan) -> Iterator[str]:
    """The plan as a person reads it."""
    yield from describe_briefly(plan)
    estimated = plan.sampled < plan.candidates
    for kind in _TEXTS:
        for finding in plan.of_kind(kind):
            yield _finding_line(finding)
            if finding.examples and finding.kind.name != "to_label":
                yield f"{'':>16}such as {', '.join(map(escape, finding.examples))}"
    if estimated:
        yield "In parentheses: between how many there are, with a confidence of 95 %. --sample 0 looks at all."


def describe_briefly(plan: Plan) -> Iterator[str]:
    """The totals in a few lines, as `imgtag backfill` may show them before it asks."""
    looked = "all" if plan.sampled == plan.candidates else f"a random {plan.sampled:,} (seed {plan.seed})"
    yield f"{plan.objects:,} objects, {_size(plan.bytes)}; {plan.candidates:,} to work on, {looked} looked at"
    by = "the limits of the classifier's server" if plan.cost else f"{plan.calibrated} images classified now"
    yield (
        f"{_size(plan.bytes_read)} to read, {_size(plan.bytes_sent)} to send back, "
        f"about {duration(plan.seconds)} (by {by})"
    )
    if plan.cost:
        yield f"about ${plan.cost.dollars:,.2f} to pay for classifying{plan.cost.note and '; '}{plan.cost.note}"
    warnings = {
        "refused": "refused",
        "not_written": "cannot be written on",
        "new_version": "new versions",
        "lifecycle": "restarts of lifecycle rules",
        "replicated": "replicated again",
    }
    counts = [f"{plan.count(kind):,} {text}" for kind, text in warnings.items() if plan.count(kind)]
    if counts:
        yield "; ".join(counts)


def _finding_line(finding: Finding) -> str:
    count = f"{finding.objects:,}" if finding.kind.name != "unknown" else ""
    bounds = f" ({finding.low:,} to {finding.high:,})" if finding.low != finding.high else ""
    code = finding.kind.code
    detail = REASONS.get(code) or finding.reason or STORE_CODES.get(code) or code
    text = _TEXTS[finding.kind.name] + (f": {escape(detail)}" if detail else "")
    return f"{count:>14}{bounds}  {text}{f', {_size(finding.bytes)}' if finding.bytes else ''}"


def _json_lines(plan: Plan) -> Iterator[str]:
    for finding in plan.findings:
        yield to_json(
            {
                "kind": finding.kind.name,
                "code": finding.kind.code or None,
                "objects": finding.objects,
                "low": finding.low,
                "high": finding.high,
                "bytes": finding.bytes,
                "examples": list(finding.examples),
                "reason": finding.reason or None,
            }
        )
    yield to_json(
        {
            "done": True,
            "objects": plan.objects,
            "bytes": plan.bytes,
            "candidates": plan.candidates,
            "sampled": plan.sampled,
            "seed": plan.seed,
            "to_label": plan.count("to_label"),
            "refused": plan.count("refused"),
            "versions": plan.count("new_version"),
            "bytes_read": plan.bytes_read,
            "bytes_written": plan.bytes_sent,
            "seconds": round(plan.seconds, 1),
            "calibrated": plan.calibrated,
            "dollars": round(plan.cost.dollars, 2) if plan.cost else None,
        }
    )


def _size(count: int) -> str:
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
