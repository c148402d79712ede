"""``imgtag doctor``: check everything that the sidecar depends on."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass

import anyio
import click
from anyio.abc import TaskStatus

from imgtag.assembly import make_indexer, make_source, make_store, parts
from imgtag.cli.main import FAILED, INTERRUPTED, App, pass_app
from imgtag.cli.terminal import escape, escape_lines, to_json
from imgtag.config.check import check_run, readable_secrets
from imgtag.config.configuration import Config
from imgtag.config.label_rules import find_unknown_names
from imgtag.config.policy import PolicyResolver
from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.flow.listen import parse_listen
from imgtag.jobs.labelling import open_labeller
from imgtag.jobs.round_trip import RoundTrip, Targets, choose_ref
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.plugin.service import Check
from imgtag.plugin.store import Store
from imgtag.query import parse as parse_query
from imgtag.stages.inspect import inspect
from imgtag.types.mark import owner_digest
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.signature import Trust
from imgtag.workers.confinement import CONFINEMENT_HINT, missing_features

MAX_WEB_SECONDS = 3
MAX_SIGNATURES = 20
"""Labelled objects whose signatures are verified."""
_HINT = "`imgtag config example` shows every setting."


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per check.")
@click.option("--send", is_flag=True, help="Then send a test image through a running sidecar, and remove it.")
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
async def command(app: App, *, as_json: bool, send: bool, to: str, patience: float) -> int:
    """Check configuration, model, store, source and index. Nothing is changed, except by the image of --send."""
    config = app.load(as_owner=True)
    if to and not send:
        raise click.UsageError("--to needs --send")
    report = Report(as_json=as_json)
    async for check in examine(config):
        report.add(check)
    if send and await _send(config, report, to, patience):
        return INTERRUPTED
    return 0 if report.ok else FAILED


@dataclass
class Report:
    """Prints checks; ``ok`` while none has failed."""

    as_json: bool
    ok: bool = True

    def add(self, check: Check) -> None:
        """Print one check."""
        self.ok = self.ok and check.ok
        if self.as_json:
            click.echo(to_json(asdict(check)))
            return
        click.echo(escape(f"{'ok  ' if check.ok else 'FAIL'}  {check.check}: {check.message}"))
        if check.hint and not check.ok:
            click.echo(f"      hint: {escape_lines(check.hint)}")


async def _send(config: Config, report: Report, to: str, patience: float) -> bool:
    """Send the test image; returns whether that was interrupted."""
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            await tasks.start(_cancel_on_signal, scope)
            try:
                async with make_indexer(config) as indexer, make_store(config) as store, make_source(config) as source:
                    ref = choose_ref(config, to, () if config.rules else await store.buckets())
                    resolve = PolicyResolver(config)
                    policy = resolve(ref) or resolve.general
                    targets = Targets(
                        site=config.site.name,
                        store=store,
                        source=source,
                        indexer=indexer,
                        written=policy.strategy != "none",
                    )
                    round_trip = RoundTrip(
                        ref,
                        targets,
                        patience=patience + policy.settle,
                        report=report.add,
                        tell=lambda text: click.echo(escape(text), err=True),
                    )
                    await round_trip.run()
            except ImgtagError as error:
                report.add(Check(check="put", ok=False, message=error.message, hint=error.hint))
        tasks.cancel_scope.cancel("sent")
    return scope.cancel_called


async def _cancel_on_signal(scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    """However many signals come, the test image is removed first."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel("interrupted")


async def examine(config: Config) -> AsyncIterator[Check]:
    """All checks, in the order in which a sidecar starts."""
    for check in _check_configuration(config):
        yield check
    if config.classifier:
        async for check in _check_workers(config):
            yield check
    for kind, make in parts(config, read_only=True).items():
        try:
            async with make() as part:
                async for check in part.checks():
                    yield check
        except ImgtagError as error:  # it cannot be entered, or fails
            yield Check(check=kind, ok=False, message=error.message, hint=error.hint or _HINT)
    if config.indexer and config.store:
        async for check in _check_agreement(config):
            yield check
    if config.web.listen:
        yield await check_web(config)


def _check_configuration(config: Config) -> Iterator[Check]:
    findings = list(check_run(config))
    if not findings:
        yield Check(check="configuration", ok=True, message=str(config.path or "environment and defaults"))
    for finding in findings:
        yield Check(check="configuration", ok=False, message=str(finding), hint=_HINT)
    for warning in readable_secrets(config):  # no failure, because in a container every user is the same one
        yield Check(check="secrets", ok=True, message=f"warning: {warning}")
    # Without a key, anyone who may upload decides the labels; on a folder the first start makes one.
    if config.labels.mark_key is not None:
        keys = len(PolicyResolver(config).general.codec.keys)
        yield Check(check="mark key", ok=True, message=f"{keys} key{'s' * (keys > 1)}; the first signs, all verify")
    elif config.store is not None and config.store.name != "directory":
        message = "there is none, so anyone who may upload can forge labels"
        hint = "Run `imgtag setup`, or set `mark_key_file` under [labels]; all sidecars of a site share one key."
        yield Check(check="mark key", ok=False, message=message, hint=hint)


async def _check_workers(config: Config) -> AsyncIterator[Check]:
    """Whether a worker starts and loads the model, and what confines it."""
    try:
        async with open_labeller(config, pictures=1) as labeller:
            info, granted = labeller.info(), labeller.confinement
    except ImgtagError as error:
        yield Check(check="classifier", ok=False, message=error.message, hint=error.hint or _HINT)
        return
    known = info.names()
    findings = "".join(f"; {finding}" for finding in find_unknown_names(config, known)) if known else ""
    labels = f"{len(info.labels):,} labels" if known else "labels that are not known in advance"
    yield Check(check="classifier", ok=True, message=f"{info.id} with {labels}{findings}")
    missing = missing_features(granted)
    message = f"workers are confined by {' and '.join(sorted(granted)) or 'nothing'}"
    if missing:
        message += f"; the kernel does not grant {' and '.join(missing)}"
    yield Check(check="confinement", ok=not missing, message=message, hint=CONFINEMENT_HINT)


async def _check_agreement(config: Config) -> AsyncIterator[Check]:
    """Whether a bucket with indexed objects appears empty: a wrong endpoint, or a share that is not mounted."""
    try:
        async with make_indexer(config, read_only=True) as indexer, make_store(config, read_only=True) as store:
            for bucket in await store.buckets():
                scope = Scope(bucket)
                count = await indexer.count(config.site.name, scope)
                if count and await _is_empty(store, scope):
                    message = f"the index has {count:,} objects of {bucket}, but the store shows none"
                    hint = "Nothing is deleted. Check the endpoint, or mount the folder."
                    yield Check(check="agreement", ok=False, message=message, hint=hint)
            async for check in check_signatures(config, indexer, store):
                yield check
    except ImgtagError:
        return  # reported by the checks of the part itself


async def check_signatures(config: Config, indexer: Indexer, store: Store) -> AsyncIterator[Check]:
    """Whether another sidecar of the site signs with a key that this one lacks: each would undo the other's work."""
    resolve, site = PolicyResolver(config), config.site.name
    if not resolve.general.codec.keys:
        return
    page = await indexer.search(SearchRequest(query=parse_query("status:labelled"), limit=MAX_SIGNATURES))
    signed, foreign, unreadable = 0, [], []
    for ref in (ObjectRef(hit["bucket"], hit["key"]) for hit in page.hits if hit["site"] == site):
        policy = resolve(ref)
        if policy is None:  # a rule named it once
            continue
        try:
            async with store.open(ref) as body:
                inspected = inspect(body.state, policy.codec) if body else None
        except ImgtagError as error:
            unreadable.append((ref, error))
            continue
        mark = inspected.entries.mark if inspected else None
        if inspected and mark and mark.signature and mark.owner == owner_digest(site, ref):
            signed += 1
            foreign += [ref] if inspected.trust is Trust.NONE else []
    if foreign:
        message = f"{len(foreign)} of {signed} marks have a signature of another key, such as that of {foreign[0]}"
        hint = "Give all sidecars of the site one key, or add the other key as a line. Without another, it is forged."
        yield Check(check="mark key", ok=False, message=message, hint=hint)
    if unreadable:
        (first, failure), count = unreadable[0], len(unreadable)
        message = f"{count} labelled object{'s' * (count > 1)} cannot be read, such as {first}: {failure.message}"
        yield Check(check="mark key", ok=False, message=message, hint=failure.hint or _HINT)


async def check_web(config: Config) -> Check:
    """Whether the search page answers, or could be served where it shall be."""
    host, port = parse_listen(config.web.listen)
    access = "a token is required" if config.web.token else "no token is required on loopback"
    shown = f"shows {', '.join(config.web.buckets)}" if config.web.buckets else "shows everything in the index"
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is not bound
    try:
        with anyio.fail_after(MAX_WEB_SECONDS):
            async with await anyio.connect_tcp(address, port) as connection:
                await connection.send(b"GET /api/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = await connection.receive(4096)
    except OSError:  # TimeoutError, too
        state = f"nothing answers on {config.web.listen} now; `imgtag run` serves the search page"
        return Check(check="web", ok=True, message=f"{state}; {access}; {shown}")
    if b'"needed":' not in answer:
        message = f"another program answers on {config.web.listen}"
        return Check(check="web", ok=False, message=message, hint="Give `listen` under [web] another port.")
    return Check(check="web", ok=True, message=f"the search page answers on {config.web.listen}; {access}; {shown}")


async def _is_empty(store: Store, scope: Scope) -> bool:
    try:
        async for _ in store.list(scope):
            return False
    except BucketAbsent:
        pass
    return True
