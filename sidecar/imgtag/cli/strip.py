"""``imgtag strip``: remove what imgtag wrote, from objects and from the index."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import get_args

import anyio
import click
from anyio import to_thread

from imgtag.assembly import make_indexer, make_store
from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.scopes import parse_scopes
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.jobs.strip import Fate, Force, StripCounts, Stripped, Stripper
from imgtag.types.ref import Scope, outermost

MAX_NAMED = 20
"""Objects that the summary names; --json names all."""


@click.command(name="strip")
@click.argument("scopes", metavar="BUCKET[/PREFIX]...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only count and name; nothing is changed.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per object, and the counts as the last one."
)
@click.option(
    "--force",
    type=click.Choice(get_args(Force)),
    multiple=True,
    help="Also strip what is refused: `admitted`: what a rule still labels; `unproven`: entries that have the form of "
    "imgtag's, but that no mark key of this site signed. Can be given twice.",
)
@pass_app
def command(
    app: App, scopes: tuple[str, ...], *, dry_run: bool, yes: bool, as_json: bool, force: tuple[Force, ...]
) -> int:
    """Remove labels, mark and everything else that imgtag wrote from objects, and their documents from the index.

    No rule needs to name the bucket. An object that a rule still labels is refused, because a running sidecar would
    undo the removal. Everything else of an object stays: bytes, ETag, other metadata and tags, headers, locks. Only
    Last-Modified cannot be restored, and on a versioned bucket the object gets another version. What imgtag may not
    write on it cannot strip either: such objects are named at the end.

    The exit code is 1 if an object was refused or failed. The command can be repeated at any time.
    """
    config = app.load(as_owner=True)
    parsed = outermost(parse_scopes(scopes))
    if not dry_run:
        _announce(config, parsed)
        confirm("remove these?", yes=yes)
    problems: list[Stripped] = []
    seen: Counter[str] = Counter({fate.value: 0 for fate in Fate})
    start = time.monotonic()

    def report(stripped: Stripped) -> None:
        seen[stripped.fate.value] += 1
        if as_json:
            error = {"code": stripped.code, "message": stripped.reason, "hint": stripped.hint}
            fields = {"ref": str(stripped.ref), "result": stripped.fate.value}
            click.echo(to_json(fields | ({} if stripped.code is None else {"error": error})))
        elif stripped.fate in {Fate.REFUSED, Fate.FAILED} and len(problems) < MAX_NAMED:
            problems.append(stripped)

    progress = None
    if not as_json:  # which names each object, so that needs no progress
        progress = Reporter(lambda: {"listed": seen.total(), **seen}, names=tuple(seen))
    counts = anyio.run(partial(_strip, config, parsed, report, progress, apply=not dry_run, force=frozenset(force)))
    if as_json:
        fates = {fate.value: counts.fates[fate] for fate in Fate}
        seconds = round(time.monotonic() - start, 1)
        totals = {
            "done": not counts.unlisted,
            "dry_run": dry_run,
            "listed": counts.listed,
            **fates,
            "documents": counts.documents,
        }
        click.echo(to_json({**totals, "refused_by_code": dict(sorted(counts.refused.items())), "seconds": seconds}))
    else:
        _summarise(counts, problems, dry_run=dry_run)
    if counts.unlisted:
        raise ExceptionGroup("not everything was listed", counts.unlisted)
    return FAILED if counts.fates[Fate.REFUSED] or counts.fates[Fate.FAILED] else DONE


def _announce(config: Config, scopes: Sequence[Scope]) -> None:
    for scope in scopes:
        click.echo(escape(f"will remove what imgtag wrote on objects in {scope}, and their documents"), err=True)
        for place, rule in enumerate(config.rules):
            strategy = (
                rule.writeback.strategy if "strategy" in rule.writeback.model_fields_set else config.writeback.strategy
            )
            if rule.bucket == scope.bucket and strategy != "none":
                click.echo(escape(f"rules[{place}] labels objects in {rule.bucket}: those will be refused"), err=True)
    click.echo(
        "Each write changes Last-Modified, and makes another version on a versioned bucket. A sidecar that runs with "
        "other rules labels the objects again: restart it first.",
        err=True,
    )


async def _strip(
    config: Config,
    scopes: Sequence[Scope],
    report: Callable[[Stripped], None],
    progress: Reporter | None,
    *,
    apply: bool,
    force: frozenset[Force],
) -> StripCounts:
    pipeline, resolver = config.pipeline, await to_thread.run_sync(PolicyResolver, config)
    async with (
        make_store(config, read_only=not apply) as store,
        make_indexer(config, read_only=not apply) as indexer,
        anyio.create_task_group() as tasks,
    ):
        if progress:
            tasks.start_soon(progress.run)
        stripper = Stripper(
            site=config.site.name,
            policy_of=resolver,
            store=store,
            indexer=indexer,
            budget=ByteBudget(pipeline.bytes_in_flight),
            backoff=Backoff(first=pipeline.retry_first, maximum=min(pipeline.retry_max, 10.0)),
            force=force,
            apply=apply,
        )
        counts = await stripper.strip(scopes, report)
        tasks.cancel_scope.cancel("stripped")
    return counts


def _summarise(counts: StripCounts, problems: Sequence[Stripped], *, dry_run: bool) -> None:
    codes = ", ".join(f"{code} {count:,}" for code, count in sorted(counts.refused.items()))
    parts = [f"{counts.fates[fate]:,} {fate.value}" for fate in Fate]
    parts[-2] += f" ({codes})" if codes else ""
    would = "would be: " if dry_run else ""
    documents = f"{counts.documents:,} document{'s' * (counts.documents != 1)} removed from the index"
    click.echo(f"{would}{', '.join(parts)}; {documents}")
    for problem in problems:
        click.echo(escape(f"{problem.fate}: {problem.ref}: {problem.reason} ({problem.code})"))
    rest = counts.fates[Fate.REFUSED] + counts.fates[Fate.FAILED] - len(problems)
    if rest:
        click.echo(f"and {rest:,} more; --json names all")
    for hint in dict.fromkeys(problem.hint for problem in problems if problem.hint):
        click.echo(f"hint: {escape(hint)}")
