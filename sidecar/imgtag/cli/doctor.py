"""``imgtag doctor``: look at everything that the sidecar depends on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from functools import partial

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.config.check import check_run
from imgtag.config.configuration import Config
from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.plugin.service import Check, Service
from imgtag.plugin.store import Store
from imgtag.service.assembly import make_indexer, make_pool, make_source, make_store
from imgtag.types.ref import Scope


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="One check a line.")
@pass_app
def command(app: App, *, as_json: bool) -> int:
    """Check configuration, model, store, source and index. Changes nothing."""
    config = app.load()
    return 0 if anyio.run(_examine, config, as_json) else 1


async def _examine(config: Config, as_json: bool) -> bool:  # noqa: FBT001
    well = True
    async for check in examine(config):
        click.echo(json.dumps(asdict(check), ensure_ascii=False) if as_json else _as_text(check))
        well = well and check.ok
    return well


async def examine(config: Config) -> AsyncIterator[Check]:
    """All checks, in the order in which a sidecar starts."""
    for check in _configuration(config):
        yield check
    if config.classifier:
        yield await _model(config)
    parts: dict[str, Callable[[], Service]] = {
        "indexer": partial(make_indexer, config),
        "store": partial(make_store, config),
        "source": partial(make_source, config),
    }
    for name, make in parts.items():
        if getattr(config, name):
            for check in await _part(name, make):
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
        yield Check(check="configuration", ok=False, message=str(finding), hint="See `imgtag config example`.")


async def _model(config: Config) -> Check:
    try:
        async with make_pool(config, 1) as pool:
            info = pool.info
    except ImgtagError as error:
        return Check(check="classifier", ok=False, message=error.message, hint=error.hint)
    return Check(check="classifier", ok=True, message=f"{info.id} with {len(info.labels):,} labels")


async def _part(name: str, make: Callable[[], Service]) -> list[Check]:
    """The checks of one plugin; one that cannot even be entered is a check that failed."""
    try:
        async with make() as part:
            return [check async for check in part.checks()]
    except ImgtagError as error:
        return [Check(check=name, ok=False, message=error.message, hint=error.hint)]


def _as_text(check: Check) -> str:
    line = f"{'ok  ' if check.ok else 'FAIL'}  {check.check}: {check.message}"
    return f"{line}\n      hint: {check.hint}" if check.hint and not check.ok else line
