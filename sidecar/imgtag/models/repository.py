"""The folder that holds models, one manifest for each, and which of them is the default.

A manifest is written last and atomically, and names its files by their content, so nobody ever sees half a model. A
model file that was copied there by hand, with or without a manifest, works just as well.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from imgtag.config.render import to_toml
from imgtag.errors import ModelError, Unavailable
from imgtag.files.writing import PUBLIC, open_atomically, sha256_of, write_atomically
from imgtag.models.manifest import MANIFEST_SUFFIX, Manifest, ModelFiles, find_model_files

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CHUNK = 1 << 20
_DEFAULT = "chosen"
"""The file that holds the name of the default model."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """A model in the folder; ``error`` says why it cannot be used."""

    name: str
    files: ModelFiles | None = None
    error: ModelError | None = None


@dataclass(frozen=True)
class ModelRepository:
    """The models in ``folder``, whose files end in ``suffix``. Blocking; raises Unavailable where the disk fails.

    Files are readable by everybody, because the sidecar may run as another user.
    """

    folder: Path
    suffix: str

    def list(self) -> list[ModelRecord]:
        """Every model by name; a file that belongs to another model's manifest does not count."""
        with self._map_errors():
            names = {path.stem for path in self._files_ending(MANIFEST_SUFFIX)}
        records = []
        for name in sorted(names):
            try:
                files = find_model_files(self.folder / f"{name}{MANIFEST_SUFFIX}", self.suffix)
                records.append(ModelRecord(name=name, files=files))
            except ModelError as error:
                records.append(ModelRecord(name=name, error=error))
        owned = {path for record in records if record.files for path in record.files.all}
        with self._map_errors():
            bare = [path for path in self._files_ending(self.suffix) if path not in owned and path.stem not in names]
        records += [ModelRecord(name=path.stem, files=find_model_files(path, self.suffix)) for path in bare]
        return sorted(records, key=lambda record: record.name)

    def find(self, name: str) -> Path | None:
        """The manifest of a model, or its file where it has none; None where there is no model of this name."""
        if not NAME.fullmatch(name):
            return None
        places = (self.folder / f"{name}{MANIFEST_SUFFIX}", self.folder / f"{name}{self.suffix}")
        with self._map_errors():
            return next((place for place in places if place.is_file()), None)

    def default(self) -> str | None:
        """The name of the default model, where one was set."""
        with self._map_errors():
            try:
                return (self.folder / _DEFAULT).read_text(encoding="utf-8").strip() or None
            except (FileNotFoundError, NotADirectoryError):
                return None

    def set_default(self, name: str | None) -> None:
        """Set the default model; None: the classifier's own."""
        with self._map_errors():
            if name is None:
                (self.folder / _DEFAULT).unlink(missing_ok=True)
            else:
                write_atomically(self.folder / _DEFAULT, f"{name}\n".encode(), mode=PUBLIC)

    def add(self, name: str, model: Path, manifest: Manifest, labels: bytes | None = None) -> Path:
        """Add a model, replacing the one of this name if there is one; returns its manifest."""
        with self._map_errors():
            digest = sha256_of(model)
            model_name = f"{name}-{digest[:8]}{self.suffix}"
            labels_name = f"{name}-{sha256(labels).hexdigest()[:8]}.txt" if labels is not None else None
            old = self._files_of(name)
            target = self.folder / model_name
            if not target.exists() or sha256_of(target) != digest:  # the name has only 8 digits of the digest
                with open_atomically(target, mode=PUBLIC) as copy, model.open("rb") as file:
                    shutil.copyfileobj(file, copy, _CHUNK)
            if labels is not None and labels_name is not None:
                write_atomically(self.folder / labels_name, labels, mode=PUBLIC)
            names = {"file": model_name, "sha256": digest, "labels": labels_name}
            # After the files that it names: a sidecar that sees the manifest finds them.
            path = self.write_manifest(name, manifest.model_copy(update=names))
            for unused in old:
                if unused.name not in {model_name, labels_name, path.name}:
                    unused.unlink(missing_ok=True)
            return path

    def write_manifest(self, name: str, manifest: Manifest) -> Path:
        """Write or replace the manifest of a model; its other files stay."""
        with self._map_errors():
            path = self.folder / f"{name}{MANIFEST_SUFFIX}"
            write_atomically(path, render_manifest(manifest).encode(), mode=PUBLIC)
            return path

    def remove(self, name: str) -> tuple[Path, ...]:
        """Remove a model; returns the removed files. The manifest goes first, so nobody sees half of the model."""
        with self._map_errors():
            files = sorted(self._files_of(name), key=lambda path: (path.suffix != MANIFEST_SUFFIX, path.name))
            for path in files:
                path.unlink(missing_ok=True)
            return tuple(files)

    def _files_of(self, name: str) -> set[Path]:
        """The files of a model, even of one that cannot be used."""
        path = self.find(name)
        if path is None:
            return set()
        try:
            return set(find_model_files(path, self.suffix).all)
        except ModelError:
            return {path}

    def _files_ending(self, suffix: str) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (path for path in self.folder.iterdir() if path.suffix == suffix and path.is_file())

    @contextmanager
    def _map_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            place = error.filename or self.folder
            hint = "Run it as a user who may write there, or set `dir` under [models]."
            raise Unavailable(f"{place}: {error.strerror}", hint=hint) from error


def require_name(name: str) -> str:
    """The name, if a model may have it. Raises ModelError."""
    if not NAME.fullmatch(name):
        hint = "Use at most 64 lower-case letters, digits, `.`, `_` and `-`: `--name birds`."
        raise ModelError(f"{name!r} is not a valid model name", hint=hint)
    return name


def render_manifest(manifest: Manifest) -> str:
    """The manifest as TOML, without defaults."""
    values = manifest.model_dump(exclude_none=True, exclude_defaults=True)
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [f"{key} = {to_toml(value)}" for key, value in values.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {to_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"
