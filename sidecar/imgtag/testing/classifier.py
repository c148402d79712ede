"""Classifiers that need no model: one that names colours, and one that misbehaves at some of them.

A worker imports them as ``imgtag.testing.classifier:SPEC`` and ``imgtag.testing.classifier:HOSTILE``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from imgtag.plugin.classifier import ModelInfo, Scores
from imgtag.plugin.image import Image
from imgtag.plugin.spec import PluginSpec, Settings
from imgtag.types.vector import LENGTH

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "dark red": (128, 0, 0),
}
"""Label -> RGB."""

_SIZE = (32, 32)
_SHARPNESS = 60.0
"""The distance in RGB over which a probability falls to its e-th part."""
_FAR_TOO_MUCH = 1 << 40
"""Bytes."""


class ColourSettings(Settings):
    """Another ``release`` is another model; ``seconds`` is the time that an image takes."""

    release: str = "1"
    seconds: float = 0.0


class ColourClassifier:
    """Names the colour of an image: the mean of its pixels, which is also embedding and vector, from 0 to 1."""

    def __init__(self, settings: ColourSettings) -> None:
        self._seconds = settings.seconds
        self._colours = np.array(list(COLOURS.values()), np.float32)
        self.info = ModelInfo(
            name="colours",
            digest=sha256(f"{settings.release} {COLOURS}".encode()).hexdigest(),
            labels=tuple(COLOURS),
            display=tuple(label.capitalize() for label in COLOURS),
            size=_SIZE,
            embedding=3,
            projection="rgb1",
            licence="Apache-2.0",
        )

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Scores of each image, in their order."""
        scores = []
        for image in images:
            if self._seconds:
                time.sleep(self._seconds)
            mean = image.fit(_SIZE).reshape(-1, 3).mean(axis=0, dtype=np.float32)
            distance = np.linalg.norm(self._colours - mean, axis=1)
            weight = np.exp((distance.min() - distance) / _SHARPNESS)
            probabilities = (weight / weight.sum()).astype(np.float32)
            embedding = mean / np.float32(255)
            vector = np.pad(embedding, (0, LENGTH - len(embedding)))
            scores.append(Scores(probabilities=probabilities, embedding=embedding, vector=vector))
        return scores


class HostileClassifier(ColourClassifier):
    """A `ColourClassifier` that misbehaves at some colours.

    Red kills its process, green hangs, blue raises, yellow takes a terabyte of memory, magenta gives probabilities
    that are not numbers, cyan gives too few of them.
    """

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Scores of each image, or what the colour of one stands for."""
        return [self._misbehave(scores) for scores in super().classify(images)]

    def _misbehave(self, scores: Scores) -> Scores:
        probabilities = scores.probabilities
        match self.info.labels[int(np.argmax(probabilities))]:
            case "red":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "green":
                while True:
                    time.sleep(1)
            case "blue":
                raise RuntimeError(f"a bug in a stranger's classifier, with {len(probabilities)} probabilities")
            case "yellow":
                bytearray(_FAR_TOO_MUCH)  # not touched, so that it harms nothing where memory is not limited
            case "magenta":
                return Scores(probabilities=np.full_like(probabilities, np.nan))
            case "cyan":
                return Scores(probabilities=probabilities[:-1])
        return scores


SPEC = PluginSpec(
    name="colour",
    kind="classifier",
    summary="Names the colour of a picture; for tests.",
    settings=ColourSettings,
    factory="imgtag.testing.classifier:ColourClassifier",
    runs="worker",
)
HOSTILE = PluginSpec(
    name="hostile",
    kind="classifier",
    summary="Kills, hangs and raises, by the colour of the picture; for tests.",
    settings=ColourSettings,
    factory="imgtag.testing.classifier:HostileClassifier",
    runs="worker",
)
