"""From an embedding to a vector: along the directions in which the classes of the model differ most.

The model's own last layer has them, so no pictures are needed to find them. docs/design/20261121-embedding.md
compares this with other ways.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgtag.types.vector import LENGTH

NAME = "svd1"  # of this projection; another one that gives other vectors needs another name
MAX_EMBEDDING = 2560  # numbers; the decomposition takes seconds, and the cube of their number
MAX_WEIGHT = 1e9  # of a real model they are below 100; the sum of squares must stay finite in float32
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


def project_layer(weights: Matrix, classes: int, length: int) -> Matrix | None:
    """The projection by a layer's weights, [classes, length]; takes about a second.

    None where they are not those of the last layer of so many classes, or no numbers that can be reckoned with.
    """
    if weights.shape != (classes, length) or not 1 < length <= MAX_EMBEDDING or not np.abs(weights).max() < MAX_WEIGHT:
        return None
    return project(weights)
