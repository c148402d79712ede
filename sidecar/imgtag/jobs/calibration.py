"""Fits the temperature of a model on labelled pictures, and says what that is worth.

The temperature is the one that makes the labels likeliest (least mean negative log likelihood). What it is worth is
measured on pictures that it was not fitted on, by cross-validation: on the same pictures it would flatter itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgtag.errors import ImgtagError
from imgtag.models.temperature import apply_temperature

LEAST = 100
"""Pictures; with fewer the temperature is mostly chance."""
LEAST_LABELS = 5
LEAST_RIGHT = 0.2
"""Share of pictures whose best class is theirs; less means that the labels are not this model's."""
_COOLEST, _HOTTEST = 0.05, 20.0
_FOLDS = 5
_BINS = 10
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2
_LEAST = 1e-12

Floats = NDArray[np.float64]


class TooFew(ImgtagError):
    """There are too few labelled pictures."""

    default_code = "too_few"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How honest confidences are: expected calibration error, mean confidence of the best class, log likelihood."""

    error: float
    confidence: float
    likelihood: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature, and how honest the model was before and would be after; ``accuracy`` stays as it is."""

    temperature: float
    pictures: int
    labels: int
    accuracy: float
    before: Quality
    after: Quality


def calibrate(probabilities: NDArray[np.float32], truth: Sequence[int]) -> Calibration:
    """Fit on probabilities [pictures, classes] at temperature 1 and the true class of each picture. Raises TooFew."""
    classes = np.asarray(truth)
    _require(probabilities, classes)
    right = probabilities.argmax(axis=1) == classes
    after = _crossed(probabilities, classes)
    return Calibration(
        temperature=round(_fitted(probabilities, classes), 3),
        pictures=len(classes),
        labels=len(np.unique(classes)),
        accuracy=float(right.mean()),
        before=_quality(probabilities, classes),
        after=_quality(after, classes),
    )


def _require(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> None:
    hint = "Make one folder for each label and put pictures of it there that the model was not trained on."
    if len(classes) < LEAST:
        raise TooFew(f"{len(classes)} labelled pictures are too few to calibrate by: {LEAST} at least", hint=hint)
    if len(np.unique(classes)) < LEAST_LABELS:
        raise TooFew(f"pictures of {len(np.unique(classes))} labels are too few: of {LEAST_LABELS} at least", hint=hint)
    right = float((probabilities.argmax(axis=1) == classes).mean())
    if right < LEAST_RIGHT:
        message = f"the model names only {right:.0%} of these pictures as their folders do"
        raise TooFew(message, hint="Are the folders named after this model's labels? `imgtag models show` lists them.")


def _fitted(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> float:
    """By golden section over the logarithm: the likelihood has one hump."""
    low, high = np.log(_COOLEST), np.log(_HOTTEST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _loss(probabilities, classes, float(np.exp(left))) < _loss(probabilities, classes, float(np.exp(right))):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _loss(probabilities: NDArray[np.float32], classes: NDArray[np.int_], temperature: float) -> float:
    return -_likelihood(apply_temperature(probabilities, temperature), classes)


def _likelihood(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> float:
    given = probabilities[np.arange(len(classes)), classes].astype(np.float64)
    return float(np.log(np.maximum(given, _LEAST)).mean())


def _crossed(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> NDArray[np.float32]:
    """Each picture at the temperature that the other folds give."""
    result = np.empty_like(probabilities)
    folds = np.arange(len(classes)) % _FOLDS
    for fold in range(_FOLDS):
        inside = folds == fold
        result[inside] = apply_temperature(probabilities[inside], _fitted(probabilities[~inside], classes[~inside]))
    return result


def _quality(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> Quality:
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == classes).astype(np.float64)
    return Quality(
        error=_expected_error(confidence, right),
        confidence=float(confidence.mean()),
        likelihood=_likelihood(probabilities, classes),
    )


def _expected_error(confidence: Floats, right: Floats) -> float:
    """Between confidence and share of right ones, in bins of as many pictures each."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), _BINS)
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(confidence))
