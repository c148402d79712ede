"""``imgtag models try`` and ``verify``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import click

from imgtag.assembly import make_pool
from imgtag.cli.main import FAILED, App, pass_app
from imgtag.cli.models.listing import load_info
from imgtag.cli.pictures import of_file
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.types.labels import Label
from imgtag.workers.pool import WorkerPool


@click.command(name="try")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--model", "names", metavar="NAME", multiple=True, help="A model, or several. Default: all that there are."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each picture and model.")
@pass_app
def try_models(app: App, files: tuple[Path, ...], *, names: tuple[str, ...], as_json: bool) -> int:
    """Say what models see on pictures, one beside the other. Nothing is written or changed."""
    config = app.load()
    wanted = names or _all_names(ModelResolver(config))
    return anyio.run(_try, config, files, wanted, as_json)


@click.command(name="verify")
@click.argument("names", metavar="NAME...", nargs=-1)
@pass_app
def verify(app: App, names: tuple[str, ...]) -> int:
    """Load models, by default all, and compare each with the SHA-256 of its manifest."""
    config = app.load()
    refused = 0
    for name in names or _all_names(ModelResolver(config)):
        try:
            info = anyio.run(load_info, config, name)
            click.echo(f"ok      {name}: {info.id}, {len(info.labels):,} classes")
        except ImgtagError as error:
            refused += 1
            click.echo(f"failed  {name}: {error.message}")
            if error.hint:
                click.echo(f"        {error.hint}")
    return FAILED if refused else 0


def _all_names(resolver: ModelResolver) -> list[str]:
    return [*resolver.settings.builtin[:1], *(record.name for record in resolver.repository.list())]


async def _try(config: Config, files: Sequence[Path], names: Sequence[str], as_json: bool) -> int:  # noqa: FBT001
    resolver = ModelResolver(config)
    specs = {name: await anyio.to_thread.run_sync(resolver.resolve, name) for name in names}
    async with make_pool(config, 1, list(specs.values())) as pool:
        trial = _Trial(config, pool, specs, as_json=as_json)
        for path in files:
            await trial.show(path)
    return FAILED if trial.failed else 0


class _Trial:
    """Shows what each model says of a picture."""

    def __init__(self, config: Config, pool: WorkerPool, orders: Mapping[str, ModelSpec], *, as_json: bool) -> None:
        policy = PolicyResolver(config).general
        self._limit, self._limits, self._policy = (
            config.pipeline.max_bytes,
            policy.limits,
            policy.labels,
        )
        self._pool, self._orders, self._as_json = pool, orders, as_json
        self.failed = 0

    async def show(self, path: Path) -> None:
        if not self._as_json:
            click.echo(f"{path}:")
        for name, order in self._orders.items():
            try:
                answer = await self._asked(path, order)
            except ImgtagError as error:
                self.failed += 1
                answer = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
            said = {"ref": str(path), "model": self._pool.infos[order].id, **answer}
            click.echo(json.dumps(said, ensure_ascii=False) if self._as_json else f"  {name:<20} {_as_text(answer)}")

    async def _asked(self, path: Path, order: ModelSpec) -> dict[str, Any]:
        data = await of_file(path, self._limit).read()
        await self._pool.classify(data, self._limits, order)  # the model may have to be loaded, which is not its speed
        start = time.perf_counter()
        raw = (await self._pool.classify(data, self._limits, order)).raw
        seconds = time.perf_counter() - start
        vocabulary = self._pool.infos[order].vocabulary(self._policy)
        return {
            "labels": _listed(vocabulary.select_labels(raw)),
            "ancestors": _listed(vocabulary.ancestors_of(raw)),
            "ms": round(seconds * 1e3, 1),
        }


def _listed(labels: Sequence[Label]) -> list[dict[str, Any]]:
    return [{"label": label.name, "confidence": label.confidence} for label in labels]


def _as_text(answer: Mapping[str, Any]) -> str:
    if "error" in answer:
        return f"not labelled: {answer['error']['message']}"
    said = ", ".join(f"{each['label']} {each['confidence']:.2f}" for each in answer["labels"])
    return f"{said or 'nothing that it is sure of'}  ({answer['ms']:g} ms)"
