"""``imgtag doctor``: look at everything that the sidecar depends on."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass

import anyio
import click
from anyio.abc import TaskStatus

from imgtag.assembly import make_indexer, make_pool, make_source, make_store, parts
from imgtag.cli.address import address
from imgtag.cli.main import FAILED, INTERRUPTED, App, pass_app
from imgtag.config.check import check_run
from imgtag.config.configuration import Config
from imgtag.config.label_rules import unknown
from imgtag.config.policy import PolicyResolver
from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.jobs.round_trip import Parcel, Road
from imgtag.plugin.service import Check, Service
from imgtag.plugin.spec import Kind
from imgtag.plugin.store import Store
from imgtag.types.ref import Scope

_SEE = "See `imgtag config example`."


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="One check a line.")
@click.option("--send", is_flag=True, help="Then send a picture of our own through a running sidecar, and remove it.")
@click.option(
    "--to", metavar="BUCKET/FOLDER", default="", help="Where --send puts it. Default: where a rule admits it."
)
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="How long each step of --send may take.",
)
@pass_app
def command(app: App, *, as_json: bool, send: bool, to: str, patience: float) -> int:
    """Check configuration, model, store, source and index. Changes nothing, but for the picture that --send sends."""
    config = app.load()
    if to and not send:
        raise click.UsageError("--to goes with --send")
    report = Report(as_json=as_json)
    anyio.run(_examine, config, report)
    if send and anyio.run(_send, config, report, to, patience):
        return INTERRUPTED
    return 0 if report.well else FAILED


@dataclass
class Report:
    """Prints checks; ``well`` while none has failed."""

    as_json: bool
    well: bool = True

    def tell(self, check: Check) -> None:
        """A check that was done."""
        click.echo(json.dumps(asdict(check), ensure_ascii=False) if self.as_json else _as_text(check))
        self.well = self.well and check.ok


async def _examine(config: Config, report: Report) -> None:
    async for check in examine(config):
        report.tell(check)


async def _send(config: Config, report: Report, to: str, patience: float) -> bool:
    """Send a parcel; whether that was interrupted."""
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            await tasks.start(_cancel_on_signal, scope)
            try:
                await _deliver(config, report, to, patience)
            except ImgtagError as error:
                report.tell(Check(check="put", ok=False, message=error.message, hint=error.hint))
        tasks.cancel_scope.cancel("sent")
    return scope.cancel_called


async def _cancel_on_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    """However many signals come, what was put is removed first."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel("interrupted")


async def _deliver(config: Config, report: Report, to: str, patience: float) -> None:
    async with make_indexer(config) as indexer, make_store(config) as store, make_source(config) as source:
        ref = address(config, to, () if config.rules else await store.buckets())
        resolver = PolicyResolver(config)
        policy = resolver(ref) or resolver.general
        written = policy.strategy != "none"
        road = Road(site=config.site.name, store=store, source=source, indexer=indexer, written=written)
        await Parcel(ref, road, patience=patience + policy.settle, tell=report.tell, say=_say).send()


def _say(text: str) -> None:
    click.echo(text, err=True)


async def examine(config: Config) -> AsyncIterator[Check]:
    """All checks, in the order in which a sidecar starts."""
    for check in _configuration(config):
        yield check
    if config.classifier:
        yield await _model(config)
    for kind, make in parts(config).items():
        for check in await _part(kind, make):
            yield check
    if config.indexer and config.store:
        async for check in _agreement(config):
            yield check


async def _agreement(config: Config) -> AsyncIterator[Check]:
    """Whether a bucket of which the index knows objects shows none: a wrong endpoint, a lost mount."""
    try:
        async with make_indexer(config) as indexer, make_store(config) as store:
            for bucket in await store.buckets():
                scope = Scope(bucket)
                count = await indexer.count(config.site.name, scope)
                if count and await _is_empty(store, scope):
                    message = f"the index knows {count:,} objects of {bucket}, and the store shows none"
                    hint = "Nothing is deleted. Check the endpoint, or mount the folder."
                    yield Check(check="agreement", ok=False, message=message, hint=hint)
    except ImgtagError:
        return  # said by the checks of the part itself


async def _is_empty(store: Store, scope: Scope) -> bool:
    try:
        async for _ in store.list(scope):
            return False
    except BucketAbsent:
        pass
    return True


def _configuration(config: Config) -> Iterator[Check]:
    where = str(config.path or "environment and defaults")
    findings = list(check_run(config))
    if not findings:
        yield Check(check="configuration", ok=True, message=where)
    for finding in findings:
        yield Check(check="configuration", ok=False, message=str(finding), hint=_SEE)


async def _model(config: Config) -> Check:
    try:
        async with make_pool(config, 1) as pool:
            info = pool.info
    except ImgtagError as error:
        return Check(check="classifier", ok=False, message=error.message, hint=error.hint or _SEE)
    strange = "".join(f"; {finding}" for finding in unknown(config, info.known()))
    return Check(check="classifier", ok=True, message=f"{info.id} with {len(info.labels):,} labels{strange}")


async def _part(kind: Kind, make: Callable[[], Service]) -> list[Check]:
    """The checks of one plugin; one that cannot even be entered is a check that failed."""
    try:
        async with make() as part:
            return [check async for check in part.checks()]
    except ImgtagError as error:
        return [Check(check=kind, ok=False, message=error.message, hint=error.hint or _SEE)]


def _as_text(check: Check) -> str:
    line = f"{'ok  ' if check.ok else 'FAIL'}  {check.check}: {check.message}"
    return f"{line}\n      hint: {check.hint}" if check.hint and not check.ok else line
