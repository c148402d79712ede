"""How much of a picture may be missing: one answer for every format and every way to lose a part of it.

An image that cannot be read in full is read twice, with a different filling for whatever is missing. Pixels that differ
between the two readings are missing; the others came from the file. Decoders need not report how far they got.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_MISSING = 0.1
"""Share of the pixels, about what a classifier crops at the lower edge. Documented in docs/reference/formats.md."""
FILLINGS = (0x80, 0x55)
"""Values for missing samples. The image that is classified has the first one, a middle grey."""
_TOLERANCE = 2
_MIN_DIFFERENCE = 8
"""Smaller differences are rounding: samples are stretched to a range whose ends may be the fillings."""
_DECODERS_GREYS = (0x80, 0x40)
"""How libjpeg fills missing data: with a middle grey, which becomes darker when CMYK is converted."""


def missing_share(first: Image.Image, second: Image.Image) -> float:
    """The share of pixels that differ between two readings with different fillings."""
    if first.size != second.size:
        return 1.0
    difference = np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16))
    return float(np.mean(np.any(difference > _MIN_DIFFERENCE, axis=-1)))


def missing_rows(grey: Image.Image, noisy: Image.Image) -> float:
    """The share of rows that the JPEG decoder filled with grey because the data ended.

    ``noisy`` was read from the same data followed by noise. If the grey belongs to the image, both are the same.
    """
    return trailing_grey(grey) if missing_share(grey, noisy) else 0.0


def trailing_grey(picture: Image.Image) -> float:
    """The share of rows, from the lower edge up, that consist of the grey of missing data."""
    rows = np.asarray(picture, np.int16)[::-1]
    decoded = [np.abs(rows - grey).max(axis=(1, 2)) > _TOLERANCE for grey in _DECODERS_GREYS]
    return max(float(np.argmax(row) if row.any() else len(row)) / len(row) for row in decoded)
