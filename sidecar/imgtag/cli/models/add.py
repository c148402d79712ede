"""``imgtag models add``: from a file, a URL, the store or the catalogue, into the folder of models."""

from __future__ import annotations

import re
import shutil
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import anyio
import click

from imgtag.assembly import make_pool, make_store
from imgtag.cli.main import App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.config.configuration import Config
from imgtag.errors import ModelError
from imgtag.files.writing import sha256_of
from imgtag.models.catalogue import CatalogueEntry, catalogue
from imgtag.models.download import LARGEST, download
from imgtag.models.manifest import LABELS, SUFFIX, Manifest, model_files
from imgtag.models.repository import ModelRepository, require_name
from imgtag.models.resolver import ModelResolver
from imgtag.plugin.classifier import ModelInfo
from imgtag.plugin.store import Store
from imgtag.types.ref import ObjectRef

_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model that was fetched: its file, what is said of it, and its label file where it has one of its own."""

    name: str
    model: Path
    manifest: Manifest
    labels: Path | None = None


@click.command(name="add")
@click.argument("source", metavar="FILE|URL|BUCKET/KEY|NAME")
@click.option("--name", default="", help="What it is called from now on. Default: as its file.")
@click.option("--sha256", default="", help="What the SHA-256 of the model file must be, in hex. A URL needs it.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Text file with one class a line, in the model's order."
)
@click.option("--licence", default="", help="The licence of the model.")
@click.option("--yes", is_flag=True, help="Put it in the place of one of the same name without asking.")
@pass_app
def add(app: App, source: str, *, name: str, sha256: str, labels: Path | None, licence: str, yes: bool) -> int:
    """Add a model, once it has loaded: from a file, a URL, the configured store, or by name from the catalogue.

    A .toml of the same name beside it says how pictures are given to it, a .txt what its classes are called.
    """
    config = app.load()
    wanted = _Wanted(source=source, name=name, sha256=sha256.lower(), labels=labels, licence=licence)
    info = anyio.run(_add, config, wanted, yes)
    click.echo(f"{info.id}: {len(info.labels):,} classes, {info.licence or 'licence unknown'}")
    click.echo(f'hint: `imgtag models use {info.name}`, or model = "{info.name}" in a rule', err=True)
    return 0


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    source: str
    name: str
    sha256: str
    labels: Path | None
    licence: str


async def _add(config: Config, wanted: _Wanted, yes: bool) -> ModelInfo:  # noqa: FBT001
    library = ModelResolver(config).library
    with TemporaryDirectory(prefix="imgtag-model-") as folder:
        found = await _Finder(config, wanted, Path(folder)).find()
        name = require_name(wanted.name or found.name)
        manifest = await anyio.to_thread.run_sync(_described, found, wanted)
        labels = await anyio.to_thread.run_sync(found.labels.read_bytes) if found.labels else None
        info = await _tried(config, name, found.model, manifest, labels, Path(folder) / "tried")
        if library.path(name) is not None:
            confirm(f"there is a model {name}: put {info.id} in its place?", yes=yes)
        await anyio.to_thread.run_sync(library.add, name, found.model, manifest, labels)
    return info


async def _tried(
    config: Config, name: str, model: Path, manifest: Manifest, labels: bytes | None, folder: Path
) -> ModelInfo:
    """Load it from where nobody else sees it. Raises ModelError where it cannot be used: then nothing is added."""
    orders = ModelResolver(config)
    path = await anyio.to_thread.run_sync(
        ModelRepository(folder, orders.about.suffix).add, name, model, manifest, labels
    )
    try:
        async with make_pool(config, 1, [orders.order(str(path))]) as pool:
            return pool.info
    except ModelError as error:
        message = error.message.replace(f"{folder}/", "")
        raise ModelError(f"nothing was added: {message}", hint=error.hint, code=error.code) from None


def _described(found: Found, wanted: _Wanted) -> Manifest:
    """Its own manifest, with what was asked for. Raises ModelError where the digest is another one."""
    expected = wanted.sha256 or found.manifest.sha256
    actual = sha256_of(found.model)
    if expected and actual != expected:
        hint = "Nothing was added. Ask whoever publishes it which one is right."
        raise ModelError(
            f"{wanted.source} has the SHA-256 {actual}, and {expected} was expected", hint=hint, code="digest"
        )
    changed = {"source": wanted.source, **({"licence": wanted.licence} if wanted.licence else {})}
    return found.manifest.model_copy(update=changed)


def _name(stem: str) -> str:
    """What a file is called as a model, as near as may be."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]


class _Finder:
    """Brings what was asked for into a folder of its own."""

    def __init__(self, config: Config, wanted: _Wanted, folder: Path) -> None:
        self._config = config
        self._orders = ModelResolver(config)
        self._wanted = wanted
        self._folder = folder

    async def find(self) -> Found:
        """The model. Raises ModelError, Unavailable, UsageError."""
        source = self._wanted.source
        if _URL.fullmatch(source):
            return await anyio.to_thread.run_sync(self._fetched, source)
        path = Path(source)
        if await anyio.to_thread.run_sync(path.exists):
            return await anyio.to_thread.run_sync(self._beside, path)
        listed = catalogue(self._orders.about.catalogue, self._config.models.catalogue)
        if source in listed:
            return await anyio.to_thread.run_sync(self._listed, source, listed[source])
        if "/" in source:
            return await self._stored(source)
        known = ", ".join(sorted(listed))
        raise ModelError(f"there is no file {source}, and no model of this name is known", hint=f"Known are: {known}.")

    def _beside(self, path: Path) -> Found:
        """A file, with what stands beside it."""
        files = model_files(path, self._orders.about.suffix)
        labels = self._wanted.labels or files.labels
        if labels and not labels.is_file():
            raise ModelError(f"there is no label file {labels}", hint="Name it with --labels.")
        return Found(name=_name(files.name), model=files.model, manifest=files.manifest, labels=labels)

    def _fetched(self, url: str) -> Found:
        if not re.fullmatch(r"[0-9a-f]{64}", self._wanted.sha256):
            raise click.UsageError("a model from a URL needs --sha256: 64 hex digits that its publisher gives")
        path = self._download(url, self._wanted.sha256)
        labels = self._wanted.labels
        return Found(
            name=_name(PurePosixPath(url.partition("?")[0]).stem), model=path, manifest=Manifest(), labels=labels
        )

    def _listed(self, name: str, entry: CatalogueEntry) -> Found:
        labels = self._wanted.labels
        if labels is None and entry.labels_url and entry.labels_sha256:
            labels = self._download(entry.labels_url, entry.labels_sha256)
        manifest = Manifest(
            summary=entry.summary, licence=entry.licence, sha256=entry.sha256, input=entry.input, output=entry.output
        )
        return Found(name=name, model=self._download(entry.url, entry.sha256), manifest=manifest, labels=labels)

    def _download(self, url: str, sha256: str) -> Path:
        """Beside the models, so that what was cut goes on there with the next try."""
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(PurePosixPath(url).name, total=None)
            path = download(
                url,
                sha256,
                self._orders.library.folder,
                lambda there, of: progress.update(task, completed=there, total=of),
            )
        return Path(shutil.move(path, self._folder))

    async def _stored(self, source: str) -> Found:
        """An object of the store, with the manifest and the labels that lie beside it."""
        hint = "It is a file, a URL, a name of the catalogue, or BUCKET/KEY in the configured store."
        try:
            ref = ObjectRef.parse(source)
        except ValueError as error:
            raise ModelError(f"there is no file {source}", hint=hint) from error
        if self._config.store is None:
            raise ModelError(f"there is no file {source}, and no store is configured", hint=hint)
        async with AsyncExitStack() as stack:
            store = await stack.enter_async_context(make_store(self._config))
            path = self._folder / PurePosixPath(ref.key).name
            if not await _saved(store, ref, path):
                raise ModelError(f"there is no file and no object {source}", hint=hint)
            for suffix in (SUFFIX, LABELS):
                key = str(PurePosixPath(ref.key).with_suffix(suffix))
                await _saved(store, ObjectRef(ref.bucket, key), path.with_suffix(suffix))
            await self._named(store, ref, path)
        return await anyio.to_thread.run_sync(self._beside, path)

    async def _named(self, store: Store, ref: ObjectRef, path: Path) -> None:
        """The files that a manifest names, which may be called otherwise."""
        files = await anyio.to_thread.run_sync(model_files, path, self._orders.about.suffix)
        for file in files.all:
            if not file.exists():
                await _saved(store, ObjectRef(ref.bucket, str(PurePosixPath(ref.key).with_name(file.name))), file)


async def _saved(store: Store, ref: ObjectRef, path: Path) -> bool:
    async with store.open(ref) as body:
        if body is None:
            return False
        await anyio.to_thread.run_sync(path.write_bytes, await body.read(LARGEST))
        return True
