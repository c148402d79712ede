"""Counts the hues of an image."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from imgtag.plugin import Image, ModelInfo, Scores
from imgtag_colour_bar.settings import ColourBarSettings

SIZE = (64, 64)
NAMES = (
    "red", "orange", "yellow", "lime", "green", "turquoise", "cyan", "azure", "blue", "violet", "magenta", "pink",
)  # fmt: skip
"""Twelve hues, 30 degrees apart."""


class ColourBar:
    """The probability of a colour is its share of the pixels, so probabilities add up to one."""

    def __init__(self, settings: ColourBarSettings) -> None:
        self._settings = settings
        labels = (*_names(settings.bins), "grey")
        # The digest identifies the model, so it depends on every setting that changes its labels.
        identity = f"colour-bar 1 {labels} {settings.grey}"
        self.info = ModelInfo(
            name="colour-bar",
            digest=sha256(identity.encode()).hexdigest(),
            labels=labels,
            display=tuple(label.capitalize() for label in labels),
            size=SIZE,
            licence="Apache-2.0",
        )

    def classify(self, images: Sequence[Image]) -> Sequence[Scores]:
        """Return the scores of each image, in order."""
        return [Scores(probabilities=self._shares(image.fit(SIZE))) for image in images]

    def _shares(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        hue, saturation = _hue(pixels.reshape(-1, 3).astype(np.float32) / 255)
        bins = self._settings.bins
        number = np.round(hue * bins).astype(int) % bins
        number[saturation < self._settings.grey] = bins
        return (np.bincount(number, minlength=bins + 1) / number.size).astype(np.float32)


def _names(bins: int) -> Sequence[str]:
    places = [round(place * len(NAMES) / bins) for place in range(bins)]
    return [NAMES[place] for place in places]


def _hue(rgb: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return hue and saturation, each from 0 to 1, of pixels [n, 3]."""
    red, green, blue = rgb.T
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    spread = np.maximum(high - low, 1e-6)
    sector = np.select(
        [high == red, high == green],
        [(green - blue) / spread, 2 + (blue - red) / spread],
        4 + (red - green) / spread,
    )
    return (sector / 6 % 1).astype(np.float32), ((high - low) / np.maximum(high, 1e-6)).astype(np.float32)
