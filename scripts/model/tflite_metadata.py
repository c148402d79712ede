"""TFLite Metadata: the model's description of itself, and its label file.

Field numbers are those of metadata_schema.fbs 1.x, https://github.com/tensorflow/tflite-support.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import flatbuffers

if TYPE_CHECKING:
    from collections.abc import Sequence

IDENTIFIER = b"M001"
IMAGE_PROPERTIES = 2  # of the union ContentProperties
NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions
RGB = 1
TENSOR_AXIS_LABELS = 2
UNIX = 3
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first day: an archive without a clock


@dataclass(frozen=True, kw_only=True)
class Card:
    """The human-readable part."""

    name: str
    description: str
    version: str
    author: str
    licence: str


@dataclass(frozen=True)
class _Enum:
    value: int


_Field = int | _Enum | None


class _Writer:
    """Tables by field number; an offset is a plain int, None leaves the field out."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1024)

    def table(self, *fields: _Field) -> int:
        self.builder.StartObject(len(fields))
        for slot, value in enumerate(fields):
            if isinstance(value, _Enum):
                self.builder.PrependByteSlot(slot, value.value, 0)
            elif value is not None:
                self.builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        return int(self.builder.EndObject())

    def text(self, value: str) -> int:
        return int(self.builder.CreateString(value))

    def tables(self, *offsets: int) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def floats(self, *values: float) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependFloat32(value)
        return int(self.builder.EndVector())

    def image(self, mean: float, std: float) -> int:
        normalisation = self.table(self.floats(mean), self.floats(std))
        unit = self.table(_Enum(NORMALIZATION_OPTIONS), normalisation)
        content = self.table(_Enum(IMAGE_PROPERTIES), self.table(_Enum(RGB)))
        name, description = self.text("image"), self.text("RGB pixels of the middle of a picture")
        return self.table(name, description, None, content, self.tables(unit))

    def output(self, name: str, description: str, labels: str | None) -> int:
        files = None
        if labels is not None:
            text = self.text(labels), self.text("One class per line, in the model's order")
            files = self.tables(self.table(*text, _Enum(TENSOR_AXIS_LABELS)))
        return self.table(self.text(name), self.text(description), None, None, None, None, files)


def write(card: Card, *, mean: float, std: float, labels: str) -> bytes:
    """Return the TFLITE_METADATA buffer of a model with one image in, `probabilities` and `embedding` out.

    `mean` and `std` are in pixel values (0 to 255); `labels` is the name of the file that `attach` adds.
    """
    writer = _Writer()
    inputs = writer.tables(writer.image(mean, std))
    outputs = writer.tables(
        writer.output("probabilities", "Probability of each class", labels),
        writer.output("embedding", "Pooled features before the classifier", None),
    )
    subgraph = writer.tables(writer.table(None, None, inputs, outputs))
    name, description, version = (writer.text(value) for value in (card.name, card.description, card.version))
    author, licence = writer.text(card.author), writer.text(card.licence)
    parser = writer.text("1.0.0")
    root = writer.table(name, description, version, subgraph, author, licence, None, parser)
    writer.builder.Finish(root, IDENTIFIER)
    return bytes(writer.builder.Output())


def attach(model: bytes, files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the model with files appended as a zip, stored and undated: `zipfile.ZipFile(path)` reads them."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = UNIX  # otherwise the machine's own
            archive.writestr(entry, content)
    return buffer.getvalue()
