"""A .tflite file, checked before a runtime sees it."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag_tflite import graph, labels, metadata
from imgtag_tflite.flatbuffer import Malformed

if TYPE_CHECKING:
    from pathlib import Path

IDENTIFIER = b"TFL3"
LIMIT = 512 * 2**20  # bytes; the largest image classifiers have about 350 MB

_DAMAGED = "Copy the file again, or convert the model again."
_ZIP_ERRORS = (zlib.error, OSError, EOFError, RuntimeError, ValueError, KeyError)


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The bytes of a model, their SHA-256 in hex, and what they say of themselves."""

    path: Path
    content: bytes = field(repr=False)
    digest: str
    graph: graph.Graph
    about: metadata.Metadata

    def label_file(self) -> tuple[str, bytes] | None:
        """Return name and content of the label file inside the model file, or None. Raises ModelError."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                return _label_file(archive, self.about.label_files)
        except zipfile.BadZipFile:
            return None
        except _ZIP_ERRORS as error:
            message = f"{self.path}: the label file inside it cannot be read: {error}"
            raise ModelError(message, hint="Name a label file with `labels` in [classifier.tflite].") from error


def read(path: Path, *, expected: str | None = None) -> ModelFile:
    """Read and check a model file.

    Raises ModelError where it is absent, too large, no TensorFlow Lite model, damaged (not the `expected` SHA-256
    among others), or needs custom operations.
    """
    content = _content(path)
    digest = hashlib.sha256(content).hexdigest()
    if expected not in {None, digest}:
        hint = "Copy or add the model again; for the bundled one, install imgtag-sidecar again."
        raise ModelError(
            f"{path} is not the file that its manifest names by SHA-256 (it has {digest[:16]}...)", hint=hint
        )
    if content[4:8] != IDENTIFIER:
        hint = "Convert the model to TensorFlow Lite; other formats need another classifier plugin."
        raise ModelError(f"{path} is no TensorFlow Lite model: bytes 4 to 8 are not {IDENTIFIER.decode()}", hint=hint)
    try:
        inside = graph.read(content)
        about = metadata.read(inside.metadata) if inside.metadata else metadata.Metadata()
    except Malformed as error:
        raise ModelError(f"{path} is damaged or cut short: {error}", hint=_DAMAGED) from error
    if inside.custom:
        hint = "Convert the model with built-in operations only: no Flex, no post-processing operation."
        raise ModelError(f"{path} needs custom operations: {', '.join(inside.custom)}", hint=hint)
    return ModelFile(path=path, content=content, digest=digest, graph=inside, about=about)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LIMIT:
            hint = "Use a smaller model; image classifiers have 2 to 350 MB."
            raise ModelError(f"{path} has more than {LIMIT >> 20} MB", hint=hint)
        return path.read_bytes()
    except OSError as error:
        hint = 'Check `model` in [classifier.tflite]: "bundled", or the path of a .tflite file that imgtag may read.'
        raise ModelError(f"the model {path} cannot be read: {error.strerror}", hint=hint) from error


def _label_file(archive: zipfile.ZipFile, named: tuple[str, ...]) -> tuple[str, bytes] | None:
    """The file that the metadata name, else one that is called labels, else the first text."""
    texts = [entry.filename for entry in archive.infolist() if entry.filename.endswith(".txt")]
    if not texts:
        return None
    likely = [name for name in named if name in texts] or [name for name in texts if "label" in name.lower()]
    name = (likely or texts)[0]
    with archive.open(name) as file:
        content = file.read(labels.LIMIT + 1)
    if len(content) > labels.LIMIT:
        raise ValueError(f"{name} has more than {labels.LIMIT >> 20} MB")
    return name, content
