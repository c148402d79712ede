"""TFLite Metadata: what a model file says of itself.

Field numbers are those of metadata_schema.fbs 1.x, https://github.com/tensorflow/tflite-support.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgtag_tflite.flatbuffer import Malformed, Table

IDENTIFIER = b"M001"
NORMALIZATION_OPTIONS = 1  # of the union ProcessUnitOptions
LABEL_FILES = frozenset({2, 3})  # TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """All that we use; empty where the model says nothing. `mean` and `std` are in pixel values, one or per channel."""

    licence: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    label_files: tuple[str, ...] = ()


def read(buffer: bytes) -> Metadata:
    """Read a TFLITE_METADATA buffer. Raises Malformed."""
    if buffer[4:8] != IDENTIFIER:
        raise Malformed(f"the metadata begin with {buffer[4:8]!r}, not with {IDENTIFIER!r}")
    model = Table.root(buffer)
    subgraphs = model.tables(3)
    inputs = subgraphs[0].tables(2) if subgraphs else ()
    outputs = subgraphs[0].tables(3) if subgraphs else ()
    mean, std = _normalisation(inputs[0]) if inputs else ((), ())
    files = [file for owner in outputs for file in owner.tables(6)]
    names = tuple(file.text(0) for file in files if file.number(2, "b") in LABEL_FILES)
    return Metadata(licence=model.text(5), mean=mean, std=std, label_files=names)


def _normalisation(tensor: Table) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.number(0, "B") == NORMALIZATION_OPTIONS and options is not None:
            return options.numbers(0, "f"), options.numbers(1, "f")
    return (), ()
