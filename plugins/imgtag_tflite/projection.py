"""From an embedding to a vector: along the directions in which the classes of the model differ most.

The model's own last layer has them, so no pictures are needed to find them. docs/design/20261121-embedding.md
compares this with other ways.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgtag.errors import ModelError
from imgtag.types.vector import LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgtag_tflite.runtime import Interpreter

NAME = "svd1"  # of this projection; another one that gives other vectors needs another name
MAX_EMBEDDING = 2560  # numbers; the decomposition takes seconds, and the cube of their number
ROUNDING = 1e-5  # of the largest eigenvalue; less than that is noise, not a direction

Matrix: TypeAlias = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64)


def project(weights: NDArray[Number]) -> NDArray[Number]:
    """Return the projection [length, LENGTH] of the last layer's weights [classes, length], in their precision.

    Its columns are the leading right singular vectors, times the square roots of their singular values; zero where
    there are fewer. Each has its largest number above zero. What all classes have in common decides nothing and is
    subtracted first.
    """
    spread = weights - weights.mean(axis=0)
    powers, directions = np.linalg.eigh(spread.T @ spread)
    powers, directions = powers[::-1][:LENGTH], directions[:, ::-1][:, :LENGTH]
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(len(largest))])
    sizes = np.where(powers > powers[0] * ROUNDING, powers, 0) ** 0.25
    result: NDArray[Number] = np.zeros((weights.shape[1], LENGTH), weights.dtype)
    result[:, : len(sizes)] = directions * signs * sizes
    return result


def read_projection(path: Path) -> Matrix:
    """Return a projection that was computed beforehand. Raises ModelError."""
    try:
        stored: NDArray[np.float16] = np.load(path, allow_pickle=False)
        return stored.astype(np.float32)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", hint="Reinstall imgtag-sidecar.") from error


def find_projection(interpreter: Interpreter, layers: Iterable[int], classes: int, length: int) -> Matrix | None:
    """Compute the projection of any model; takes about a second.

    `layers` are the tensors that the embedding is multiplied by. None where none of them is the last
    layer, with one row per class.
    """
    if not 1 < length <= MAX_EMBEDDING:
        return None
    for index in layers:
        weights = read_constant(interpreter, index)
        if weights is not None and weights.size == classes * length and weights.shape[0] == classes:
            return project(weights.reshape(classes, length))
    return None


def read_constant(interpreter: Interpreter, index: int) -> Matrix | None:
    """Return a constant of the model as real numbers; None where there is none, or where some are not finite."""
    details: dict[str, Any] = next(tensor for tensor in interpreter.get_tensor_details() if tensor["index"] == index)
    try:
        stored = interpreter.get_tensor(index)
    except ValueError:  # not a constant: it has no value before the model has run
        return None
    values: Matrix = stored.astype(np.float32)
    quantization = details["quantization_parameters"]
    if len(quantization["scales"]):
        along = [-1 if axis == quantization["quantized_dimension"] else 1 for axis in range(values.ndim)]
        values = (values - quantization["zero_points"].reshape(along)) * quantization["scales"].reshape(along)
    return values.astype(np.float32) if np.isfinite(values).all() else None
