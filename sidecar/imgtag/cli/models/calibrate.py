"""``imgtag models calibrate``: make the confidence of a model honest on pictures of one's own."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import anyio
import click
import numpy as np

from imgtag.assembly import make_pool, worker_count
from imgtag.cli.main import App, pass_app
from imgtag.cli.pictures import in_folder, of_file
from imgtag.cli.prompts import confirm
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, ModelError
from imgtag.jobs.calibration import Calibration
from imgtag.jobs.calibration import calibrate as fit
from imgtag.models.manifest import Manifest
from imgtag.models.resolver import ModelResolver
from imgtag.models.temperature import apply_temperature
from imgtag.plugin.classifier import ModelInfo
from imgtag.registry import suggestion
from imgtag.types.labels import identity
from imgtag.workers.pool import WorkerPool

_SEED = 1
"""Of the order that pictures are taken in: folds must not be folders."""


@click.command(name="calibrate")
@click.argument("folder", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "name", metavar="NAME", default="", help="The model. Default: the one in use.")
@click.option("--write", is_flag=True, help="Put the temperature into the model's manifest, after a question.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@pass_app
def calibrate(app: App, folder: Path, *, name: str, write: bool, yes: bool, as_json: bool) -> int:
    """Fit the temperature of a model on your own pictures: FOLDER has one folder for each label, named after it.

    They must be pictures that the model was not trained on. A label that is first stays first.
    """
    config = app.load()
    shelf = _Shelf(folder)
    info, calibration = anyio.run(_calibrated, config, shelf, name)
    for line in shelf.complaints:
        click.echo(line, err=True)
    click.echo(json.dumps({"model": info.id, **asdict(calibration)}) if as_json else _as_text(info, calibration))
    if write:
        _write(config, name, calibration, yes=yes)
    else:
        click.echo(_advice(config, name, calibration), err=True)
    return 0


async def _calibrated(config: Config, shelf: _Shelf, name: str) -> tuple[ModelInfo, Calibration]:
    resolver = ModelResolver(config)
    _ = resolver.settings  # without model files there is no manifest that could hold a temperature
    spec = await anyio.to_thread.run_sync(resolver.resolve, name)
    async with make_pool(config, models=[spec]) as pool:
        pairs = shelf.labelled(pool.info)
        rows = await _seen(config, shelf, pool, [path for path, _ in pairs])
        kept = [(row, truth) for row, (_, truth) in zip(rows, pairs, strict=True) if row is not None]
        matrix = np.array([np.frombuffer(row, np.float32) for row, _ in kept], np.float32)
        matrix = matrix.reshape(len(kept), len(pool.info.labels))
        uncalibrated = apply_temperature(matrix, 1 / pool.info.temperature)
        return replace(pool.info, temperature=1.0), fit(uncalibrated, [truth for _, truth in kept])


async def _seen(config: Config, shelf: _Shelf, pool: WorkerPool, paths: Sequence[Path]) -> list[bytes | None]:
    """The probabilities of each picture; None for one that cannot be read."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    found: list[bytes | None] = [None] * len(paths)
    limits, slots = PolicyResolver(config).general.limits, anyio.Semaphore(worker_count(config) + 1)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("classifying", total=len(paths))

        async def see(place: int) -> None:
            try:
                data = await of_file(paths[place], config.pipeline.max_bytes).read()
                found[place] = (await pool.classify(data, limits, all_probabilities=True)).all_probabilities
            except ImgtagError as error:
                shelf.complaints.append(f"left out: {paths[place]}: {error.message}")
            progress.advance(task)
            slots.release()

        async with anyio.create_task_group() as tasks:
            for place in range(len(paths)):
                await slots.acquire()
                tasks.start_soon(see, place)
    return found


@dataclass
class _Shelf:
    """A folder of folders, each named after a label."""

    folder: Path
    complaints: list[str] = field(default_factory=list)

    def labelled(self, info: ModelInfo) -> list[tuple[Path, int]]:
        """Pictures with the number of their class, mixed. Raises ModelError where no folder is a label."""
        numbers = _numbers(info)
        found: list[tuple[Path, int]] = []
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            number = numbers.get(identity(folder.name.replace("_", " ")))
            if number is None:
                near = suggestion(identity(folder.name), numbers)
                self.complaints.append(f"left out: {folder.name}: {info.name} has no such label{near}")
            else:
                found += [(path, number) for path in in_folder(folder)]
        if not found:
            hint = "FOLDER/red fox/*.jpg: one folder for each label. `imgtag models show` lists labels."
            raise ModelError(
                f"no folder in {self.folder} has pictures and the name of a label of {info.name}", hint=hint
            )
        random.Random(_SEED).shuffle(found)  # noqa: S311 - no secret
        return found


def _numbers(info: ModelInfo) -> Mapping[str, int]:
    """The class of each label by its identity, by how it is shown and by its other names."""
    numbers: dict[str, int] = {}
    for place in range(len(info.labels)):
        for other in (info.display[place], *info.taxonomy.class_terms(place).synonyms):
            numbers.setdefault(identity(other), place)
    return numbers | {label: place for place, label in enumerate(info.labels)}


def _as_text(info: ModelInfo, found: Calibration) -> str:
    before, after = found.before, found.after
    return (
        f"{info.id}: {found.pictures:,} pictures of {found.labels:,} labels, {found.accuracy:.1%} named rightly\n"
        f"temperature {found.temperature:g}\n"
        f"{'':<22}{'before':>8}{'after':>8}\n"
        f"{'calibration error':<22}{before.error:>8.3f}{after.error:>8.3f}\n"
        f"{'mean confidence':<22}{before.confidence:>8.3f}{after.confidence:>8.3f}\n"
        f"{'mean log likelihood':<22}{before.likelihood:>8.3f}{after.likelihood:>8.3f}"
    )


def _advice(config: Config, name: str, found: Calibration) -> str:
    resolver = ModelResolver(config)
    name = name or resolver.default
    if name in resolver.settings.builtin or resolver.repository.find(name) is not None:
        return "hint: run it again with --write to keep this in the model's manifest"
    return f"hint: write temperature = {found.temperature:g} into the manifest beside {name}"


def _write(config: Config, name: str, found: Calibration, *, yes: bool) -> None:
    """Write the temperature into the model's manifest. Raises ModelError where the model is not in our folder."""
    resolver = ModelResolver(config)
    name, repository = name or resolver.default, resolver.repository
    if name in resolver.settings.builtin:
        _extend(config, name, found, yes=yes)
        return
    files = next((record.files for record in repository.list() if record.name == name), None)
    if files is None:
        hint = _advice(config, name, found)
        raise ModelError(f"{name} is not in {repository.folder}, so nothing was written", hint=hint)
    confirm(f"set the temperature of {name} to {found.temperature:g}?", yes=yes)
    names = {"file": files.model and files.model.name, "labels": files.labels and files.labels.name}
    repository.write_manifest(name, files.manifest.model_copy(update={"temperature": found.temperature, **names}))
    click.echo(f"{name} now has the temperature {found.temperature:g}", err=True)


def _extend(config: Config, builtin: str, found: Calibration, *, yes: bool) -> None:
    """Write a manifest that extends a built-in model, since that one cannot be changed itself."""
    name, repository = f"{builtin}-calibrated", ModelResolver(config).repository
    confirm(f"write the model {name}, which is {builtin} with the temperature {found.temperature:g}?", yes=yes)
    repository.write_manifest(name, Manifest(extends=builtin, temperature=found.temperature))
    click.echo(
        f"{name} has the temperature {found.temperature:g}; `imgtag models use {name}` makes it the default", err=True
    )
