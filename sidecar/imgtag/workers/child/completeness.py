"""How much of a picture may be missing: one answer for every format and every way to lose a part of it.

A picture that cannot be read in full is read twice, with something else in the place of what is missing. What differs
between the two readings is missing; what does not was in the file. Decoders need not say how far they came.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

MAX_MISSING = 0.1
"""Of the pixels. About what a classifier crops away at the lower edge; docs/reference/formats.md names it."""
FILLINGS = (0x80, 0x55)
"""Values in the place of missing samples; a picture that is used has the first one, a middle grey."""
_TOLERANCE = 2


def missing_share(first: Image.Image, second: Image.Image) -> float:
    """The part of a picture that two readings with different fillings do not agree on."""
    if first.size != second.size:
        return 1.0
    return float(np.mean(np.any(np.asarray(first) != np.asarray(second), axis=-1)))


def missing_rows(grey: Image.Image, noisy: Image.Image) -> float:
    """The part of a JPEG that its decoder made grey, which it does from the place on where the data end.

    ``noisy`` was read from the same data with noise at their end: it is the same picture where the grey was meant.
    """
    return trailing_grey(grey) if missing_share(grey, noisy) else 0.0


def trailing_grey(picture: Image.Image) -> float:
    """The part of the rows at the lower edge that have but one colour, a middle grey."""
    rows = np.asarray(picture)[::-1].astype(np.int16)
    meant = np.abs(rows - FILLINGS[0]).max(axis=(1, 2)) > _TOLERANCE
    return float(np.argmax(meant) if meant.any() else len(meant)) / len(meant)
