"""The way from an embedding to a vector: along the directions in which the classes of the model differ most.

They are in the model's own last layer, so no pictures are needed to find them. docs/design/20261121-embedding.md
measures this way against others.
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

NAME = "svd1"  # of this way; what changes the vectors changes it
LONGEST = 2560  # numbers of an embedding; what follows takes seconds, and the cube of their number
ROUNDING = 1e-5  # of the largest eigenvalue; what is less is no direction of the weights

Matrix: TypeAlias = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64)


def leading(weights: NDArray[Number]) -> NDArray[Number]:
    """Return the projection [length, LENGTH] of the last layer's weights [classes, length], in their precision.

    Its columns are the leading right singular vectors, times the square roots of their singular values; zero where
    there are fewer. Each has its largest number above zero. What all classes have in common decides nothing, and is
    taken away first.
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


def read(path: Path) -> Matrix:
    """Return the projection that was made beforehand. Raises ModelError."""
    try:
        stored: NDArray[np.float16] = np.load(path, allow_pickle=False)
        return stored.astype(np.float32)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", hint="Install imgtag-sidecar again.") from error


def find(interpreter: Interpreter, layers: Iterable[int], classes: int, length: int) -> Matrix | None:
    """Return the projection of a model that was not known beforehand; takes a second or so.

    `layers` are the tensors that the embedding is multiplied by. None where none is the last layer of so many classes.
    """
    if not 1 < length <= LONGEST:
        return None
    for index in layers:
        weights = real(interpreter, index)
        if weights is not None and weights.size == classes * length and weights.shape[0] == classes:
            return leading(weights.reshape(classes, length))
    return None


def real(interpreter: Interpreter, index: int) -> Matrix | None:
    """Return a constant of the model as real numbers; None where it has none, or some that are no numbers."""
    details: dict[str, Any] = next(each for each in interpreter.get_tensor_details() if each["index"] == index)
    try:
        stored = interpreter.get_tensor(index)
    except ValueError:  # it is not there before the model has run
        return None
    values: Matrix = stored.astype(np.float32)
    given = details["quantization_parameters"]
    if len(given["scales"]):
        along = [-1 if axis == given["quantized_dimension"] else 1 for axis in range(values.ndim)]
        values = (values - given["zero_points"].reshape(along)) * given["scales"].reshape(along)
    return values.astype(np.float32) if np.isfinite(values).all() else None
