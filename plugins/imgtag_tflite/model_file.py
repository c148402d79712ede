"""A .tflite file, checked before a runtime sees it."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag.models.image_model import read_content
from imgtag.models.label_file import MAX_BYTES as MAX_LABEL_BYTES
from imgtag_tflite.flatbuffer import Malformed
from imgtag_tflite.graph import Graph, Metadata, read_graph, read_metadata

if TYPE_CHECKING:
    from pathlib import Path

IDENTIFIER = b"TFL3"

_DAMAGED = "Copy the file again, or convert the model again."
_ZIP_ERRORS = (zlib.error, OSError, EOFError, RuntimeError, ValueError, KeyError)


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """The bytes of a model, their SHA-256 in hex, and what they contain."""

    path: Path
    content: bytes = field(repr=False)
    digest: str
    graph: Graph
    metadata: Metadata

    def read_label_file(self) -> tuple[str, bytes] | None:
        """Return name and content of the label file inside the model file, or None. Raises ModelError."""
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
                # The file that the metadata name, else one called labels, else the first text file.
                texts = [entry.filename for entry in archive.infolist() if entry.filename.endswith(".txt")]
                if not texts:
                    return None
                likely = [name for name in self.metadata.label_files if name in texts] or [
                    name for name in texts if "label" in name.lower()
                ]
                name = (likely or texts)[0]
                with archive.open(name) as file:
                    content = file.read(MAX_LABEL_BYTES + 1)
                if len(content) > MAX_LABEL_BYTES:
                    raise ValueError(f"{name} has more than {MAX_LABEL_BYTES >> 20} MB")
                return name, content
        except zipfile.BadZipFile:
            return None
        except _ZIP_ERRORS as error:
            message = f"{self.path}: cannot read the label file inside it: {error}"
            raise ModelError(message, hint="Name a label file with `labels` in the model's manifest.") from error


def read_model_file(path: Path, *, expected: str | None = None) -> ModelFile:
    """Read and check a model file.

    Raises ModelError where it is absent, too large, damaged, not a TensorFlow Lite model, not the file with the
    `expected` SHA-256, or needs custom operations.
    """
    hint = 'Check `model` in [classifier.tflite]: "bundled", or the path of a .tflite file that imgtag can read.'
    content, digest = read_content(path, expected=expected, hint=hint)
    if content[4:8] != IDENTIFIER:
        hint = "Convert the model to TensorFlow Lite; other formats need another classifier plugin."
        message = f"{path} is not a TensorFlow Lite model: bytes 4 to 8 are not {IDENTIFIER.decode()}"
        raise ModelError(message, hint=hint)
    try:
        graph = read_graph(content)
        metadata = read_metadata(graph.metadata) if graph.metadata else Metadata()
    except Malformed as error:
        raise ModelError(f"{path} is damaged or cut short: {error}", hint=_DAMAGED) from error
    if graph.custom:
        hint = "Convert the model with built-in operations only: no Flex, no post-processing operation."
        raise ModelError(f"{path} needs custom operations: {', '.join(graph.custom)}", hint=hint)
    return ModelFile(path=path, content=content, digest=digest, graph=graph, metadata=metadata)
