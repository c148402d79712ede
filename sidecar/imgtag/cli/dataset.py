"""``imgtag dataset``: images of a query as folders by label, or as a file that others read."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from imgtag.cli.main import DONE, FAILED, App, pass_app
from imgtag.cli.progress import Reporter
from imgtag.cli.prompts import confirm
from imgtag.cli.search import parse_query
from imgtag.cli.terminal import escape, to_json
from imgtag.config.check import require_run
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ConfigError
from imgtag.types.ref import ObjectRef, Scope

if TYPE_CHECKING:
    from imgtag.config.configuration import Config
    from imgtag.jobs.dataset import CopyJob, Member
    from imgtag.plugin.store import Store

MAX_SHOWN = 20
"""Labels that are listed before the question."""
FORMATS = ("jsonl", "csv", "parquet", "coco", "rekognition")
"""Those of `imgtag.jobs.manifest`."""


@click.group(name="dataset")
def command() -> None:
    """Make datasets of what the index knows."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was typed."""

    words: tuple[str, ...]
    target: str
    source: str | None
    threshold: float
    limit: int | None
    limit_per_label: int | None
    stop_after_misses: int | None
    stop_below: float | None
    error: float
    dry_run: bool
    force: bool
    as_json: bool
    yes: bool


@command.command(name="copy", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUERY...", nargs=-1, type=click.UNPROCESSED)
@click.option("--to", "target", required=True, metavar="BUCKET[/PREFIX]", help="Where the copies go.")
@click.option("--from", "source", metavar="BUCKET[/PREFIX]",
              help="Look at all images there; those that are not labelled are classified now.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Confidence that the label of an image must have.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Copy at most so many.")
@click.option("--limit-per-label", type=click.IntRange(min=1), help="Copy at most so many of each label.")
@click.option("--stop-after-misses", type=click.IntRange(min=1), metavar="N",
              help="With --from: stop after N images in a row that do not match.")  # fmt: skip
@click.option("--stop-below", type=click.FloatRange(0, 1, min_open=True, max_open=True), metavar="SHARE",
              help="With --from: stop once a sequential test finds that fewer match than this share.")  # fmt: skip
@click.option("--error", type=click.FloatRange(0, 0.5, min_open=True, max_open=True), default=0.05, show_default=True,
              help="Of that test: how often it may stop wrongly.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only print what would be copied where.")
@click.option("--force", is_flag=True, help="Copy also to where a rule would label the copies.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_app
def copy(app: App, **options: Any) -> int:
    """Copy what a query finds to PREFIX/LABEL/NAME within the store, as torchvision's ImageFolder reads it.

    The bytes stay in the store. What is there already is passed over, so a copy that was stopped goes on.
    """
    asked = Options(**options)
    if asked.source is None and (asked.stop_after_misses or asked.stop_below):
        raise click.UsageError("--stop-after-misses and --stop-below are for --from")
    config = app.load(as_owner=True)
    require_run(config)
    target = _parse_scope(asked.target, "--to")
    folder = target.prefix if not target.prefix or target.prefix.endswith("/") else f"{target.prefix}/"
    # Most rules admit whatever is called an image; of the others each copy shows whether they admit it.
    if not asked.force and (rule := _name_rules(config)(ObjectRef(target.bucket, f"{folder}label/image.jpg"))):
        raise click.UsageError(
            f"{rule} admits {escape(str(target))}, so the copies would be labelled and indexed again: "
            "copy to where no rule leads, or pass --force"
        )
    return anyio.run(_copy_from if asked.source else _copy_hits, config, asked, target)


@command.command(name="manifest", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="QUERY...", nargs=-1, type=click.UNPROCESSED)
@click.option("--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="Form.")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Default: stdout.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Confidence that the label of an image must have.")  # fmt: skip
@pass_app
async def manifest(app: App, words: tuple[str, ...], *, form: str, output: Path | None, threshold: float) -> int:
    """Write a file of what a query finds: where each image is, and its label.

    Forms: JSON lines, CSV, Parquet, COCO, and the manifest of Rekognition Custom Labels and SageMaker Ground Truth.
    """
    from imgtag.assembly import make_indexer  # noqa: PLC0415
    from imgtag.jobs.dataset import find_members  # noqa: PLC0415
    from imgtag.jobs.manifest import FORMATS as RENDERERS  # noqa: PLC0415

    config, query = app.load(as_owner=True), parse_query(words)
    if output is None and form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is binary: name a file with --output")
    async with make_indexer(config, read_only=True) as indexer:
        members = await find_members(indexer, query, threshold)
    data = b"".join(RENDERERS[form](members))
    if output is None:
        click.echo(data, nl=False)
    else:
        try:
            output.write_bytes(data)  # noqa: ASYNC240  (nothing else runs)
        except OSError as failure:
            raise ConfigError(f"--output {output}: {failure.strerror}") from failure
    click.echo(f"{len(members):,} images of {len({member.label for member in members}):,} labels", err=True)
    return DONE


async def _copy_hits(config: Config, asked: Options, target: Scope) -> int:
    """Copy what the index has."""
    from imgtag.jobs.dataset import find_members, open_index_and_store  # noqa: PLC0415

    async with open_index_and_store(config) as (indexer, store):
        members = await find_members(indexer, parse_query(asked.words), asked.threshold)
        _describe(members, target, asked)
        if not members:
            return DONE
        if not asked.dry_run:
            confirm("copy these?", yes=asked.yes)
        job = _make_job(config, store, target, asked)
        async with _reporting(job, total=len(members)):
            await job.copy_all(members)
    return _conclude(job, as_json=asked.as_json)


async def _copy_from(config: Config, asked: Options, target: Scope) -> int:
    """Copy what is found by looking."""
    from imgtag.jobs.dataset import Misses, copy_found, open_finder, open_index_and_store  # noqa: PLC0415

    source = _parse_scope(asked.source or "", "--from")
    click.echo(
        f"all images in {escape(str(source))} are looked at; what matches is copied to {escape(str(target))}", err=True
    )
    if not asked.dry_run:
        confirm("go on?", yes=asked.yes)
    stop = Misses(in_a_row=asked.stop_after_misses, share=asked.stop_below, error=asked.error)
    query = parse_query(asked.words)
    async with open_index_and_store(config) as (indexer, store), open_finder(config, store, indexer) as finder:
        job = _make_job(config, store, target, asked)
        async with _reporting(job):
            await copy_found(job, finder, source, query, asked.threshold, stop)
    return _conclude(job, as_json=asked.as_json)


@asynccontextmanager
async def _reporting(job: CopyJob, total: int | None = None) -> AsyncIterator[None]:
    """Show how far the copy is, on stderr."""
    reporter = Reporter(
        lambda: {**job.done.as_dict(), "listed": job.done.looked_at, "refused": job.done.refused.total()},
        names=("copied", "present", "refused"),
        total=total,
    )
    async with anyio.create_task_group() as beside:
        beside.start_soon(reporter.run)
        yield
        beside.cancel_scope.cancel("done")


def _parse_scope(text: str, option: str) -> Scope:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise click.UsageError(f"{option} is BUCKET[/PREFIX]")
    return Scope(bucket, prefix)


def _name_rules(config: Config) -> Callable[[ObjectRef], str]:
    """Says which rule admits an object; empty where none does."""
    policy_of = PolicyResolver(config)

    def name_rule(ref: ObjectRef) -> str:
        policy = policy_of(ref)
        if policy is None:
            return ""
        return "the configuration" if policy.rule is None else f"rules[{policy.rule}]"

    return name_rule


def _make_job(config: Config, store: Store, target: Scope, asked: Options) -> CopyJob:
    """The copy, which prints each object where nothing is copied, or a program asks. Raises ConfigError."""
    from imgtag.jobs.dataset import CopyJob  # noqa: PLC0415

    if not hasattr(store, "copy_object"):
        raise ConfigError("this store cannot copy objects", hint="Use the stores s3 or directory.")

    def print_line(member: Member, to: ObjectRef, outcome: str) -> None:
        if asked.as_json:
            fields = {"ref": str(member.ref), "label": member.label, "confidence": member.confidence}
            click.echo(to_json({**fields, "to": str(to), "outcome": outcome}))
        elif asked.dry_run:
            click.echo(f"{escape(str(member.ref))} -> {escape(str(to))}")
        elif ":" in outcome:
            click.echo(f"{escape(str(member.ref))}: {escape(outcome)}", err=True)

    return CopyJob(
        store=store,
        target=target,
        limit=asked.limit,
        limit_per_label=asked.limit_per_label,
        dry_run=asked.dry_run,
        rule_for=(lambda _: "") if asked.force else _name_rules(config),
        report=print_line,
    )


def _describe(members: Sequence[Member], target: Scope, asked: Options) -> None:
    """What the question is about."""
    counts = Counter(member.label for member in members)
    click.echo(f"{len(members):,} images of {len(counts):,} labels, to {escape(str(target))}", err=True)
    for label, count in counts.most_common(MAX_SHOWN):
        click.echo(f"  {count:,} {escape(label)}", err=True)
    if asked.limit or asked.limit_per_label:
        click.echo("  (before the limits)", err=True)
    if asked.force:
        click.echo("  a rule admits the copies: on S3 they carry labels, and are indexed again", err=True)


def _conclude(job: CopyJob, *, as_json: bool) -> int:
    """Say what was done; the exit code."""
    done = job.done
    if as_json:
        click.echo(to_json({"done": True, **done.as_dict()}))
    else:
        verb = "would be copied" if job.dry_run else "copied"
        looked = f"{done.looked_at:,} images looked at; "
        there = f", {done.present:,} were there already" if done.present else ""
        over = f", {done.over_limit:,} over a limit" if done.over_limit else ""
        click.echo(f"{looked}{done.copied:,} {verb}{there}{over}")
        for code, count in done.refused.most_common():
            click.echo(f"  {count:,} not copied: {code}")
        if done.stopped_early:
            click.echo("stopped: too few of the images match", err=True)
    return FAILED if done.refused else DONE
