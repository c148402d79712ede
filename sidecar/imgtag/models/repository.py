"""The folder that models are kept in, one manifest for each, and which of them is the one to use.

A manifest is written last and taken whole: it names its files by their content, so that nobody sees half a model. A
model file that was put there by hand, with or without a manifest, is as good.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from imgtag.config.render import toml
from imgtag.errors import ModelError, Unavailable
from imgtag.files.writing import sha256_of
from imgtag.models.manifest import SUFFIX, Manifest, ModelFiles, model_files

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PIECE = 1 << 20
_CHOSEN = "chosen"
"""The file that holds the name of the model to use."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A model of the folder; ``error`` says why it cannot be used."""

    name: str
    files: ModelFiles | None = None
    error: ModelError | None = None


@dataclass(frozen=True)
class ModelRepository:
    """The models in ``folder``, whose files end in ``suffix``. Blocking; raises Unavailable where the disk fails."""

    folder: Path
    suffix: str

    def list(self) -> list[Listed]:
        """Every model by name; files that belong to the manifest of another are none."""
        with self._disk():
            names = {path.stem for path in self._ending(SUFFIX)}
        described = [self._listed(name) for name in sorted(names)]
        owned = {path for each in described if each.files for path in each.files.all}
        with self._disk():
            bare = sorted(path for path in self._ending(self.suffix) if path not in owned and path.stem not in names)
        alone = [Listed(name=path.stem, files=model_files(path, self.suffix)) for path in bare]
        return sorted([*described, *alone], key=lambda each: each.name)

    def path(self, name: str) -> Path | None:
        """The manifest of a model, or its file where it has none; None where there is no model of this name."""
        if not NAME.fullmatch(name):
            return None
        places = (self.folder / f"{name}{SUFFIX}", self.folder / f"{name}{self.suffix}")
        with self._disk():
            return next((place for place in places if place.is_file()), None)

    def chosen(self) -> str | None:
        """The name of the model to use, where one was chosen."""
        with self._disk():
            try:
                return (self.folder / _CHOSEN).read_text(encoding="utf-8").strip() or None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def choose(self, name: str | None) -> None:
        """Choose the model to use; None: what comes with the classifier."""
        with self._disk():
            self._make()
            if name is None:
                (self.folder / _CHOSEN).unlink(missing_ok=True)
            else:
                self._write(_CHOSEN, f"{name}\n".encode())

    def add(self, name: str, model: Path, manifest: Manifest, labels: bytes | None = None) -> Path:
        """Take a model, and give back its manifest; in the place of the one of this name, if there is one."""
        with self._disk():
            self._make()
            found = sha256_of(model)
            file = f"{name}-{found[:8]}{self.suffix}"
            listed = f"{name}-{sha256(labels).hexdigest()[:8]}.txt" if labels is not None else None
            old = self._files(name)
            self._take(model, self.folder / file)
            if labels is not None and listed is not None:
                self._write(listed, labels)
            said = manifest.model_copy(update={"file": file, "sha256": found, "labels": listed})
            path = self._write(f"{name}{SUFFIX}", render(said).encode())
            for each in (each for each in old if each.name not in {file, listed, path.name}):
                each.unlink(missing_ok=True)
            return path

    def describe(self, name: str, manifest: Manifest) -> None:
        """Put another manifest beside the files of a model."""
        with self._disk():
            self._write(f"{name}{SUFFIX}", render(manifest).encode())

    def remove(self, name: str) -> tuple[Path, ...]:
        """Remove a model; gives back which files went. The manifest goes first, so that nobody takes half of it."""
        with self._disk():
            files = sorted(self._files(name), key=lambda path: (path.suffix != SUFFIX, path.name))
            for path in files:
                path.unlink(missing_ok=True)
            return tuple(files)

    def _listed(self, name: str) -> Listed:
        try:
            return Listed(name=name, files=model_files(self.folder / f"{name}{SUFFIX}", self.suffix))
        except ModelError as error:
            return Listed(name=name, error=error)

    def _files(self, name: str) -> set[Path]:
        """What belongs to a model of this name, also to one that cannot be used."""
        path = self.path(name)
        if path is None:
            return set()
        try:
            return set(model_files(path, self.suffix).all)
        except ModelError:
            return {path}

    def _ending(self, suffix: str) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if path.suffix == suffix and path.is_file())

    def _make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)

    def _take(self, source: Path, target: Path) -> None:
        if not target.exists() or sha256_of(target) != sha256_of(source):
            with self._unfinished(target) as to, source.open("rb") as file:
                shutil.copyfileobj(file, to, _PIECE)

    def _write(self, name: str, content: bytes) -> Path:
        with self._unfinished(self.folder / name) as file:
            file.write(content)
        return self.folder / name

    @contextmanager
    def _unfinished(self, target: Path) -> Iterator[BinaryIO]:
        """A file that takes the place of ``target`` when it is whole and on the disk."""
        descriptor, name = mkstemp(dir=self.folder, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
            Path(name).chmod(0o644)  # a sidecar of another user reads it
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.folder
            hint = "Run it as a user who may write there, or set `dir` under [models]."
            raise Unavailable(f"{place}: {error.strerror}", hint=hint) from error


def require_name(name: str) -> str:
    """The name, if a model may be called so. Raises ModelError."""
    if not NAME.fullmatch(name):
        hint = "Use lower-case letters, digits, `.`, `_` and `-`, 64 at most: `--name birds`."
        raise ModelError(f"{name!r} cannot be the name of a model", hint=hint)
    return name


def render(manifest: Manifest) -> str:
    """The manifest as TOML: only what it says."""
    said = manifest.model_dump(exclude_none=True, exclude_defaults=True)
    tables = {key: value for key, value in said.items() if isinstance(value, dict)}
    lines = [f"{key} = {toml(value)}" for key, value in said.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
