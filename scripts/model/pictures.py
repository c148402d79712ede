"""Pictures as the model sees them, for calibration and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from lite0 import SIZE
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

CROP = 0.875  # of the shorter side, as in training
SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


def pixels(path: Path) -> NDArray[np.uint8]:
    """Return the centre of a picture as uint8 RGB of shape (SIZE, SIZE, 3)."""
    with Image.open(path) as image:
        image.draft("RGB", (256, 256))
        rgb = image.convert("RGB")
    side = min(rgb.size) * CROP
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))


def folder(root: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names."""
    return sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES)


def evenly(paths: list[Path], count: int) -> Iterator[Path]:
    """Yield `count` of the paths, spread over all of them."""
    count = min(count, len(paths))
    return (paths[position * len(paths) // count] for position in range(count))
