"""Copies of the models that a running sidecar uses, so that they cannot change while it uses them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from imgtag.errors import ModelError, Unavailable
from imgtag.files.ownership import make_public_folder
from imgtag.models.manifest import find_model_files

_CHUNK = 1 << 20


class ModelSnapshots:
    """A folder of copies, named by their content. Blocking; raises Unavailable where the disk fails."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix

    def take(self, path: Path) -> Path:
        """Copy a model and everything that belongs to it; the same content always gets the same path.

        Raises ModelError where the model cannot be read.
        """
        files = find_model_files(path, self._suffix)
        try:
            make_public_folder(self._folder)
            unfinished = Path(mkdtemp(dir=self._folder, prefix=".new-"))
        except OSError as error:
            hint = "Models are copied there before use: free some space, or set `dir` under [state]."
            raise Unavailable(f"{error.filename or self._folder}: {error.strerror}", hint=hint) from error
        try:
            digests = sorted(f"{source.name} {_copy(source, unfinished / source.name)}" for source in files.all)
            target = self._folder / sha256("\n".join(digests).encode()).hexdigest()[:16]
            unfinished.chmod(0o755)
            if not target.is_dir():
                unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return target / path.name

    def remove_all_but(self, paths: Iterable[Path]) -> None:
        """Remove every copy except these."""
        used = {path.parent for path in paths}
        if self._folder.is_dir():
            for folder in self._folder.iterdir():
                if folder not in used:
                    shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> str:
    """Copy in chunks, as a model may be larger than memory; returns the digest of what was copied."""
    digest = sha256()
    try:
        with source.open("rb") as file, target.open("wb") as copy:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
            os.fchmod(copy.fileno(), 0o644)
    except OSError as error:
        if error.filename == str(source):
            hint = "`imgtag models list` shows the available models."
            raise ModelError(f"cannot read the model {source}: {error.strerror}", hint=hint) from error
        hint = "Free some space there, or set `dir` under [state]."
        raise Unavailable(f"{target}: {error.strerror}", hint=hint) from error
    return digest.hexdigest()
