"""Fit the temperature of a model on labelled pictures, and measure what that gains.

The temperature is the one that makes the labels most likely (least mean negative log likelihood). Its gain is measured
by cross-validation, on pictures that it was not fitted on: on the same pictures it would look better than it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import numpy as np
from numpy.typing import NDArray

from imgtag.errors import ImgtagError, ModelError
from imgtag.jobs.labelling import Labeller, file_picture, find_pictures
from imgtag.models.temperature import apply_temperature
from imgtag.plugin.classifier import ModelInfo
from imgtag.registry import suggestion
from imgtag.types.labels import identity

MIN_PICTURES = 100
"""With fewer, the temperature is mostly chance."""
MIN_LABELS = 5
MIN_ACCURACY = 0.2
"""Share of pictures that the model names right; less means that the labels are not this model's."""
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 0.05, 20.0
_FOLDS = 5
_BINS = 10
_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2
_SEED = 1
"""Of the order of pictures: folds must not be folders."""
_MIN_PROBABILITY = 1e-12

Floats = NDArray[np.float64]


class TooFew(ImgtagError):
    """There are too few labelled pictures."""

    default_code = "too_few"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How honest confidences are: expected calibration error, mean of the best class, mean log likelihood."""

    error: float
    confidence: float
    likelihood: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The temperature, and how honest the model is without it and with it; ``accuracy`` does not change."""

    temperature: float
    pictures: int
    labels: int
    accuracy: float
    before: Quality
    after: Quality


def calibrate(probabilities: NDArray[np.float32], truth: Sequence[int]) -> Calibration:
    """Fit on probabilities [pictures, classes] at temperature 1 and the true class of each picture. Raises TooFew."""
    classes = np.asarray(truth)
    hint = "Make one folder per label, with pictures that the model was not trained on."
    if len(classes) < MIN_PICTURES:
        message = f"{len(classes)} labelled pictures are too few: calibration needs at least {MIN_PICTURES}"
        raise TooFew(message, hint=hint)
    if (labels := len(np.unique(classes))) < MIN_LABELS:
        message = f"pictures of {labels} labels are too few: calibration needs at least {MIN_LABELS} labels"
        raise TooFew(message, hint=hint)
    accuracy = float((probabilities.argmax(axis=1) == classes).mean())
    if accuracy < MIN_ACCURACY:
        message = f"the model agrees with the folder names for only {accuracy:.0%} of the pictures"
        raise TooFew(message, hint="Are the folders named after this model's labels? `imgtag models show` lists them.")
    return Calibration(
        temperature=round(_fit(probabilities, classes), 3),
        pictures=len(classes),
        labels=labels,
        accuracy=accuracy,
        before=_measure(probabilities, classes),
        after=_measure(_cross_validate(probabilities, classes), classes),
    )


def _fit(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> float:
    """Golden-section search over the logarithm: the likelihood has a single maximum."""
    low, high = np.log(_MIN_TEMPERATURE), np.log(_MAX_TEMPERATURE)
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
    return float(np.log(np.maximum(given, _MIN_PROBABILITY)).mean())


def _cross_validate(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> NDArray[np.float32]:
    """Each picture at the temperature fitted on the other folds."""
    result = np.empty_like(probabilities)
    folds = np.arange(len(classes)) % _FOLDS
    for fold in range(_FOLDS):
        inside = folds == fold
        result[inside] = apply_temperature(probabilities[inside], _fit(probabilities[~inside], classes[~inside]))
    return result


def _measure(probabilities: NDArray[np.float32], classes: NDArray[np.int_]) -> Quality:
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (probabilities.argmax(axis=1) == classes).astype(np.float64)
    # Mean distance between confidence and accuracy, in bins of equally many pictures.
    bins = np.array_split(np.argsort(confidence, kind="stable"), _BINS)
    gaps = [abs(confidence[part].mean() - right[part].mean()) * len(part) for part in bins if len(part)]
    return Quality(
        error=float(sum(gaps) / len(confidence)),
        confidence=float(confidence.mean()),
        likelihood=_likelihood(probabilities, classes),
    )


@dataclass
class LabelledFolder:
    """A folder of folders, each named after a label. ``complaints`` say what was left out and why."""

    folder: Path
    complaints: list[str] = field(default_factory=list)

    def find(self, info: ModelInfo) -> list[tuple[Path, int]]:
        """Pictures with the number of their class, shuffled. Raises ModelError where no folder is a label. Blocking."""
        # The class of each label by its identity, by how it is displayed and by its synonyms.
        numbers: dict[str, int] = {}
        for place, display in enumerate(info.display):
            for name in (display, *info.taxonomy.class_terms(place).synonyms):
                numbers.setdefault(identity(name), place)
        numbers |= {label: place for place, label in enumerate(info.labels)}
        pictures: list[tuple[Path, int]] = []
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            number = numbers.get(identity(folder.name.replace("_", " ")))
            if number is None:
                near = suggestion(identity(folder.name), numbers)
                self.complaints.append(f"skipped {folder.name}: {info.name} has no such label{near}")
            else:
                pictures += [(path, number) for path in find_pictures(folder)]
        if not pictures:
            message = f"no folder in {self.folder} is named after a label of {info.name} and has pictures"
            hint = "Use one folder per label: FOLDER/red fox/*.jpg. `imgtag models show` lists labels."
            raise ModelError(message, hint=hint)
        random.Random(_SEED).shuffle(pictures)  # noqa: S311 - no secret
        return pictures


async def calibrate_on_folder(
    labeller: Labeller, folder: LabelledFolder, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Calibration:
    """Fit on the pictures of a folder; ``progress`` gets how many are classified, and of how many. Raises TooFew."""
    info = labeller.info()
    pictures = await anyio.to_thread.run_sync(folder.find, info)
    rows: list[NDArray[np.float32] | None] = [None] * len(pictures)
    done = 0

    async def classify(place: int) -> None:
        nonlocal done
        path, _ = pictures[place]
        try:
            rows[place] = await labeller.probabilities(await file_picture(path, labeller.max_bytes).read())
        except ImgtagError as error:
            folder.complaints.append(f"skipped {path}: {error.message}")
        done += 1
        progress(done, len(pictures))

    await labeller.for_each(range(len(pictures)), classify)
    pairs = [(row, truth) for row, (_, truth) in zip(rows, pictures, strict=True) if row is not None]
    matrix = np.array([row for row, _ in pairs], np.float32).reshape(len(pairs), len(info.labels))
    # What the manifest says already is undone: the fit starts from what the model itself gives.
    return calibrate(apply_temperature(matrix, 1 / info.temperature), [truth for _, truth in pairs])
