"""``imgtag models calibrate``: make the confidence of a model honest, measured on pictures of the admin's own."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape
from imgtag.errors import ModelError
from imgtag.jobs.calibration import Calibration, LabelledFolder, calibrate_on_folder
from imgtag.jobs.labelling import open_labeller
from imgtag.models.manifest import Manifest
from imgtag.models.resolver import ModelResolver
from imgtag.plugin.classifier import ModelInfo


@click.command(name="calibrate", short_help="Fit the temperature of a model on your own images.")
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "name", metavar="NAME", default="", help="Model to calibrate. Default: the one in use.")
@click.option("--write", is_flag=True, help="Write the temperature into the model's manifest, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@pass_app
def calibrate(app: App, folder: Path, *, name: str, write: bool, yes: bool, as_json: bool) -> int:
    """Fit the temperature of a model on your own images: FOLDER has one folder per label, named after it.

    Use images that the model was not trained on. The order of labels does not change.
    """
    config = app.load()
    resolver = ModelResolver(config)
    name = name or resolver.default  # raises where the classifier has no model files, and so no manifest
    labelled = LabelledFolder(folder)
    info, calibration = anyio.run(_calibrate, resolver, name, labelled)
    for line in labelled.complaints:
        click.echo(escape(line), err=True)
    before, after = calibration.before, calibration.after
    if as_json:
        click.echo(json.dumps({"model": info.id, **asdict(calibration)}))
    else:
        click.echo(
            f"{info.id}: {calibration.pictures:,} images of {calibration.labels:,} labels, "
            f"{calibration.accuracy:.1%} correct\ntemperature {calibration.temperature:g}\n"
            f"{'':<22}{'before':>8}{'after':>8}\n"
            f"{'calibration error':<22}{before.error:>8.3f}{after.error:>8.3f}\n"
            f"{'mean confidence':<22}{before.confidence:>8.3f}{after.confidence:>8.3f}\n"
            f"{'mean log likelihood':<22}{before.likelihood:>8.3f}{after.likelihood:>8.3f}"
        )
    if write:
        _write(resolver, name, calibration, yes=yes)
    else:
        click.echo(f"hint: {_advice(resolver, name, calibration)}", err=True)
    return 0


async def _calibrate(resolver: ModelResolver, name: str, folder: LabelledFolder) -> tuple[ModelInfo, Calibration]:
    """The model without its present temperature, and its calibration."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    spec = await anyio.to_thread.run_sync(resolver.resolve, name)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("classifying", total=None)
        async with open_labeller(resolver.config, [spec]) as labeller:
            calibration = await calibrate_on_folder(
                labeller, folder, lambda done, total: progress.update(task, completed=done, total=total)
            )
            return replace(labeller.info(), temperature=1.0), calibration


def _advice(resolver: ModelResolver, name: str, calibration: Calibration) -> str:
    if name in resolver.settings.builtin or resolver.repository.find(name) is not None:
        return "run it again with --write to keep this in the model's manifest"
    return f"write temperature = {calibration.temperature:g} into the manifest beside {name}"


def _write(resolver: ModelResolver, name: str, calibration: Calibration, *, yes: bool) -> None:
    """Write the temperature into the model's manifest. Raises ModelError where the model is not in our folder."""
    repository, temperature = resolver.repository, calibration.temperature
    if name in resolver.settings.builtin:  # the model itself cannot be changed
        name, manifest = f"{name}-calibrated", Manifest(extends=name, temperature=temperature)
    else:
        files = next((record.files for record in repository.list() if record.name == name), None)
        if files is None:
            hint = _advice(resolver, name, calibration)
            raise ModelError(f"{name} is not in {repository.folder}, so nothing was written", hint=hint)
        names = {"file": files.model and files.model.name, "labels": files.labels and files.labels.name}
        manifest = files.manifest.model_copy(update={"temperature": temperature, **names})
    confirm(f"write temperature {temperature:g} into the manifest of {name}?", yes=yes)
    repository.write_manifest(name, manifest)
    click.echo(f"{name} now has the temperature {temperature:g}", err=True)
    if manifest.extends:
        click.echo(f"hint: `imgtag models use {name}` makes it the default", err=True)
