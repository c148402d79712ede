"""The projection of a TensorFlow Lite model: from a file, or from the weights of its last layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtag.errors import ModelError
from imgtag.models.projection import Matrix, project_layer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from imgtag_tflite.runtime import Interpreter


def read_projection(path: Path) -> Matrix:
    """Return a projection that was computed beforehand. Raises ModelError."""
    try:
        stored: NDArray[np.float16] = np.load(path, allow_pickle=False)
        return stored.astype(np.float32)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", hint="Reinstall imgtag-sidecar.") from error


def find_projection(interpreter: Interpreter, layers: Iterable[int], classes: int, length: int) -> Matrix | None:
    """Compute the projection of any model, by `project_layer`.

    `layers` are the tensors that the embedding is multiplied by. None where none of them is the last
    layer, with one row per class.
    """
    for index in layers:
        weights = read_constant(interpreter, index)
        if weights is not None and weights.size == classes * length and weights.shape[0] == classes:
            return project_layer(weights.reshape(classes, length), classes, length)
    return None


def read_constant(interpreter: Interpreter, index: int) -> Matrix | None:
    """Return a constant of the model as real numbers; None where there is none."""
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
    return values.astype(np.float32)
