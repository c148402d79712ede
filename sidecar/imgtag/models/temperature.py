"""Temperature: makes the confidence of a model honest without changing which label comes first.

Guo et al., "On Calibration of Modern Neural Networks", 2017: logits are divided by one number, fitted on labelled
pictures. Here it is applied to probabilities, since a model file rarely exposes its logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIN_PROBABILITY = 1e-12
"""A probability of zero has no logit."""
_SUM_TOLERANCE = 0.02
"""How far the classes of a softmax may be from a sum of 1."""


def apply_temperature(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities [..., classes] as the logits divided by ``temperature`` would give them, float32, same shape.

    Rows that sum to 1 came from a softmax; otherwise each class has a sigmoid of its own. The inverse of
    ``temperature`` undoes it.
    """
    if temperature == 1:
        return probabilities
    values = probabilities.astype(np.float64)
    exclusive = values.shape[-1] > 1 and bool(np.all(np.abs(values.sum(axis=-1) - 1) < _SUM_TOLERANCE))
    if exclusive:  # softmax
        logits = np.log(np.maximum(values, _MIN_PROBABILITY)) / temperature
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        scaled = powers / powers.sum(axis=-1, keepdims=True)
    else:  # a sigmoid for each class, as a tanh, which does not overflow
        inside = np.clip(values, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
        logits = (np.log(inside) - np.log1p(-inside)) / temperature
        scaled = 0.5 * (1 + np.tanh(0.5 * logits))
    result: NDArray[np.float32] = scaled.astype(np.float32)
    return result
