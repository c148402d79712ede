"""Temperature: what makes the confidence of a model honest, without changing which label is first.

Guo et al., "On Calibration of Modern Neural Networks", 2017: logits divided by one number that was fitted on labelled
pictures. Here it is done on probabilities, since a model's file rarely gives away its logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-12
"""A probability of nothing has no logit."""
_ONE = 0.02
"""By how much the classes of a softmax may miss a sum of 1."""


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities [..., classes] as the logits divided by ``temperature`` would give them, float32, same shape.

    Where they add up to 1 they came from a softmax; else each class has a sigmoid of its own.
    """
    if temperature == 1:
        return probabilities
    values = probabilities.astype(np.float64)
    exclusive = values.shape[-1] > 1 and bool(np.all(np.abs(values.sum(axis=-1) - 1) < _ONE))
    cooled = _softmax(values, temperature) if exclusive else _sigmoid(values, temperature)
    result: NDArray[np.float32] = cooled.astype(np.float32)
    return result


def _softmax(values: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    logits = np.log(np.maximum(values, _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result


def _sigmoid(values: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    inside = np.clip(values, _LEAST, 1 - _LEAST)
    logits = (np.log(inside) - np.log1p(-inside)) / temperature
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * logits))
    return result
