"""Copies of the models that a running sidecar uses, so that they do not change under it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from imgtag.errors import ModelError, Unavailable
from imgtag.models.manifest import ModelFiles, model_files

_PIECE = 1 << 20


class ModelSnapshots:
    """A folder of copies, named by their content. Blocking; raises Unavailable where the disk fails."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix

    def pin(self, path: Path) -> Path:
        """A copy of a model and of what belongs to it: the same path for the same content, another for another.

        Raises ModelError where the model cannot be read.
        """
        files = model_files(path, self._suffix)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            unfinished = Path(mkdtemp(dir=self._folder, prefix=".new-"))
        except OSError as error:
            hint = "Models are copied there before they are used: make room, or set `dir` under [state]."
            raise Unavailable(f"{error.filename or self._folder}: {error.strerror}", hint=hint) from error
        try:
            target = self._folder / _copied(files, unfinished)
            unfinished.chmod(0o755)
            if not target.is_dir():
                unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return target / path.name

    def keep(self, paths: Iterable[Path]) -> None:
        """Remove every copy but these."""
        kept = {path.parent for path in paths}
        if self._folder.is_dir():
            for folder in self._folder.iterdir():
                if folder not in kept:
                    shutil.rmtree(folder, ignore_errors=True)


def _copied(files: ModelFiles, folder: Path) -> str:
    """Copy all files; a digest of their names and contents."""
    digests = sorted(f"{source.name} {_copy(source, folder / source.name)}" for source in files.all)
    return sha256("\n".join(digests).encode()).hexdigest()[:16]


def _copy(source: Path, target: Path) -> str:
    """Copy in pieces, as a model may be larger than our memory; the digest of what was copied."""
    digest = sha256()
    try:
        with source.open("rb") as file, target.open("wb") as copy:
            while piece := file.read(_PIECE):
                digest.update(piece)
                copy.write(piece)
            os.fchmod(copy.fileno(), 0o644)
    except OSError as error:
        if error.filename == str(source):
            hint = "`imgtag models list` shows the models that there are."
            raise ModelError(f"the model {source} cannot be read: {error.strerror}", hint=hint) from error
        raise Unavailable(f"{target}: {error.strerror}", hint="Make room there, or set `dir` under [state].") from error
    return digest.hexdigest()
