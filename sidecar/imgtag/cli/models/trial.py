"""``imgtag models try`` and ``verify``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import click

from imgtag.cli.label_report import to_list
from imgtag.cli.main import FAILED, App, pass_app
from imgtag.cli.models.listing import load_info
from imgtag.cli.terminal import escape, escape_lines, to_json
from imgtag.errors import ImgtagError
from imgtag.jobs.labelling import Labeller, file_picture, open_labeller
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec


@click.command(name="try")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--model", "names", metavar="NAME", multiple=True, help="Model to try; repeatable. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per image and model.")
@pass_app
async def try_models(app: App, files: tuple[Path, ...], *, names: tuple[str, ...], as_json: bool) -> int:
    """Show what each model sees on some images, side by side. Nothing is written or changed."""
    config = app.load()
    resolver = ModelResolver(config)
    specs = {name: await anyio.to_thread.run_sync(resolver.resolve, name) for name in names or _all_names(resolver)}
    failed = 0
    async with open_labeller(config, list(specs.values()), pictures=1) as labeller:
        for path in files:
            if not as_json:
                click.echo(f"{escape(str(path))}:")
            for name, spec in specs.items():
                answer = await _ask(labeller, spec, path)
                failed += "error" in answer
                facts = {"ref": str(path), "model": labeller.info(spec).id, **answer}
                if as_json:
                    click.echo(to_json(facts))
                elif "error" in answer:
                    click.echo(f"  {name:<20} not labelled: {escape(answer['error']['message'])}")
                else:
                    confident = (f"{escape(label['label'])} {label['confidence']:.2f}" for label in answer["labels"])
                    labels = ", ".join(confident) or "no label with enough confidence"
                    click.echo(f"  {name:<20} {labels}  ({answer['ms']:g} ms)")
    return FAILED if failed else 0


@click.command(name="verify", short_help="Load models, and check their SHA-256.")
@click.argument("names", metavar="NAME...", nargs=-1)
@pass_app
def verify(app: App, names: tuple[str, ...]) -> int:
    """Load models, by default all of them, and compare each with the SHA-256 in its manifest."""
    config = app.load()
    failed = 0
    for name in names or _all_names(ModelResolver(config)):
        try:
            info = anyio.run(load_info, config, name)
            click.echo(f"ok      {name}: {info.id}, {len(info.labels):,} classes")
        except ImgtagError as error:
            failed += 1
            click.echo(f"failed  {name}: {escape(error.message)}")
            if error.hint:
                click.echo(f"        {escape_lines(error.hint)}")
    return FAILED if failed else 0


def _all_names(resolver: ModelResolver) -> list[str]:
    return [*resolver.settings.builtin[:1], *(record.name for record in resolver.repository.list())]


async def _ask(labeller: Labeller, spec: ModelSpec, path: Path) -> Mapping[str, Any]:
    """What one model says of a picture, as --json has it."""
    try:
        data = await file_picture(path, labeller.max_bytes).read()
        await labeller.label(data, spec)  # the model may have to be loaded first, which is not its speed
        start = time.perf_counter()
        labelling = await labeller.label(data, spec)
    except ImgtagError as error:
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    return {
        "labels": to_list(labelling.labels),
        "ancestors": to_list(labelling.ancestors),
        "ms": round((time.perf_counter() - start) * 1e3, 1),
    }
