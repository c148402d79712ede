"""``imgtag models add``: from a file, a URL, the store or the catalogue, into the models folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import anyio
import click

from imgtag.assembly import make_pool, make_store
from imgtag.cli.main import App, pass_app
from imgtag.cli.prompts import confirm
from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.errors import ModelError
from imgtag.files.writing import sha256_of
from imgtag.models.catalogue import CatalogueEntry, load_catalogue
from imgtag.models.download import MAX_BYTES, download, public_url
from imgtag.models.manifest import LABELS_SUFFIX, MANIFEST_SUFFIX, Manifest, find_model_files
from imgtag.models.repository import ModelRepository, require_name
from imgtag.models.resolver import ModelResolver
from imgtag.plugin.classifier import ModelInfo
from imgtag.plugin.store import Store
from imgtag.types.ref import ObjectRef

_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that may be added: its file, its manifest, and its label file where it has one."""

    name: str
    model: Path
    manifest: Manifest
    labels: Path | None = None


@dataclass(frozen=True, kw_only=True)
class _Request:
    source: str
    name: str
    sha256: str
    labels: Path | None
    licence: str


@click.command(name="add", short_help="Add a model from a file, a URL, the store or the catalogue.")
@click.argument("source", metavar="FILE|URL|BUCKET/KEY|NAME")
@click.option("--name", default="", help="Name of the model. Default: the name of its file.")
@click.option("--sha256", default="", help="Expected SHA-256 of the model file, in hex. Required for a URL.")
@click.option(
    "--labels", type=click.Path(path_type=Path), help="Text file with one class per line, in the model's order."
)
@click.option("--licence", default="", help="Licence of the model.")
@click.option("--yes", is_flag=True, help="Replace a model of the same name without asking.")
@pass_app
async def add(app: App, source: str, *, name: str, sha256: str, labels: Path | None, licence: str, yes: bool) -> int:
    """Add a model from a file, a URL, the configured store, or by name from the catalogue; it must load first.

    A .toml of the same name beside the model says how pictures are passed to it, a .txt names its classes.
    """
    config = app.load()
    request = _Request(source=source, name=name, sha256=sha256.lower(), labels=labels, licence=licence)
    repository = ModelResolver(config).repository
    with TemporaryDirectory(prefix="imgtag-model-") as folder:
        candidate = await _Finder(config, request, Path(folder)).find()
        name = require_name(request.name or candidate.name)
        source, expected = public_url(request.source), request.sha256 or candidate.manifest.sha256
        actual = await anyio.to_thread.run_sync(sha256_of, candidate.model)
        if expected and actual != expected:
            hint = "Nothing was added. Ask the publisher which digest is right."
            message = f"{source} has the SHA-256 {actual}, expected {expected}"
            raise ModelError(message, hint=hint, code="digest")
        changes = {"source": source, **({"licence": request.licence} if request.licence else {})}
        manifest = candidate.manifest.model_copy(update=changes)
        label_file = await anyio.to_thread.run_sync(candidate.labels.read_bytes) if candidate.labels else None
        info = await _try_loading(config, name, candidate.model, manifest, label_file, Path(folder) / "try")
        if repository.find(name) is not None:
            confirm(f"there is already a model {name}: replace it by {info.id}?", yes=yes)
        await anyio.to_thread.run_sync(repository.add, name, candidate.model, manifest, label_file)
    click.echo(escape(f"{info.id}: {len(info.labels):,} classes, {info.licence or 'licence unknown'}"))
    click.echo(f'hint: `imgtag models use {info.name}`, or model = "{info.name}" in a rule', err=True)
    return 0


async def _try_loading(
    config: Config, name: str, model: Path, manifest: Manifest, labels: bytes | None, folder: Path
) -> ModelInfo:
    """Load it from a folder of its own, where a running sidecar does not see it. Raises ModelError."""
    resolver = ModelResolver(config)
    repository = ModelRepository(folder, resolver.settings.suffix)
    path = await anyio.to_thread.run_sync(repository.add, name, model, manifest, labels)
    try:
        async with make_pool(config, 1, [resolver.resolve(str(path))]) as pool:
            return pool.info
    except ModelError as error:
        message = error.message.replace(f"{folder}/", "")
        raise ModelError(f"nothing was added: {message}", hint=error.hint, code=error.code) from None


def _name(stem: str) -> str:
    """The stem of a file as a valid model name, as similar as possible."""
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64]


class _Finder:
    """Brings the requested model into a temporary folder."""

    def __init__(self, config: Config, request: _Request, folder: Path) -> None:
        self._config = config
        self._resolver = ModelResolver(config)
        self._request = request
        self._folder = folder

    async def find(self) -> Candidate:
        """The model. Raises ModelError, Unavailable, UsageError."""
        source = self._request.source
        if _URL.fullmatch(source):
            if not re.fullmatch(r"[0-9a-f]{64}", self._request.sha256):
                raise click.UsageError("a model from a URL needs --sha256: 64 hex digits that its publisher gives")
            model = await anyio.to_thread.run_sync(self._download, source, self._request.sha256)
            name = _name(PurePosixPath(source.partition("?")[0]).stem)
            return Candidate(name=name, model=model, manifest=Manifest(), labels=self._request.labels)
        path = Path(source)
        if await anyio.to_thread.run_sync(path.exists):
            return await anyio.to_thread.run_sync(self._from_file, path)
        catalogue = load_catalogue(self._resolver.settings.catalogue, self._config.models.catalogue)
        if source in catalogue:
            return await anyio.to_thread.run_sync(self._from_catalogue, source, catalogue[source])
        if "/" in source:
            return await self._from_store(source)
        known = f"The catalogue has {', '.join(sorted(catalogue))}."
        raise ModelError(f"there is no file {source}, and no model {source} in the catalogue", hint=known)

    def _from_file(self, path: Path) -> Candidate:
        """A file, with its manifest and label file."""
        files = find_model_files(path, self._resolver.settings.suffix)
        if files.model is None:
            hint = f"Copy the manifest into {self._resolver.repository.folder}."
            raise ModelError(f"{path} extends a built-in model, so there is no model file to add", hint=hint)
        labels = self._request.labels or files.labels
        if labels and not labels.is_file():
            raise ModelError(f"there is no label file {labels}", hint="Name it with --labels.")
        return Candidate(name=_name(files.name), model=files.model, manifest=files.manifest, labels=labels)

    def _from_catalogue(self, name: str, entry: CatalogueEntry) -> Candidate:
        labels = self._request.labels
        if labels is None and entry.labels_url and entry.labels_sha256:
            labels = self._download(entry.labels_url, entry.labels_sha256)
        manifest = Manifest(
            summary=entry.summary, licence=entry.licence, sha256=entry.sha256, input=entry.input, output=entry.output
        )
        return Candidate(name=name, model=self._download(entry.url, entry.sha256), manifest=manifest, labels=labels)

    def _download(self, url: str, sha256: str) -> Path:
        """Download into the models folder, so that the next attempt can resume, and move it from there."""
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import Progress  # noqa: PLC0415

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(PurePosixPath(url).name, total=None)
            path = download(
                url,
                sha256,
                self._resolver.repository.folder,
                lambda done, total: progress.update(task, completed=done, total=total),
            )
        return Path(shutil.move(path, self._folder))

    async def _from_store(self, source: str) -> Candidate:
        """An object of the store, with the manifest and the label file beside it."""
        hint = "Name a file, a URL, a model of the catalogue, or BUCKET/KEY in the configured store."
        try:
            ref = ObjectRef.parse(source)
        except ValueError as error:
            raise ModelError(f"there is no file {source}", hint=hint) from error
        if self._config.store is None:
            raise ModelError(f"there is no file {source}, and no store is configured", hint=hint)
        key, path = PurePosixPath(ref.key), self._folder / PurePosixPath(ref.key).name
        async with make_store(self._config) as store:
            if not await _save(store, ref, path):
                raise ModelError(f"there is neither a file nor an object {source}", hint=hint)
            for suffix in (MANIFEST_SUFFIX, LABELS_SUFFIX):
                await _save(store, ObjectRef(ref.bucket, str(key.with_suffix(suffix))), path.with_suffix(suffix))
            files = await anyio.to_thread.run_sync(find_model_files, path, self._resolver.settings.suffix)
            for file in files.all:  # a manifest may name files that are called otherwise
                if not file.exists():
                    await _save(store, ObjectRef(ref.bucket, str(key.with_name(file.name))), file)
        return await anyio.to_thread.run_sync(self._from_file, path)


async def _save(store: Store, ref: ObjectRef, path: Path) -> bool:
    async with store.open(ref) as body:
        if body is None:
            return False
        await anyio.to_thread.run_sync(path.write_bytes, await body.read(MAX_BYTES))
        return True
