"""From any way of storing colours to RGB."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

_DEEP = {"I", "F", "I;16", "I;16B", "I;16L"}


def to_rgb(picture: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What converts ``picture``, or a part of it, to RGB; what is transparent becomes white."""
    if picture.mode in _DEEP:
        low, high = _range(picture)
        return lambda part: _stretched(part, low, high)
    return _on_white if picture.has_transparency_data else _plain


def _plain(picture: Image.Image) -> Image.Image:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _range(picture: Image.Image) -> tuple[float, float]:
    """What is black and what is white: of 16 bits their ends, of 32 bits and floats the least and greatest value."""
    low, high = (float(str(value)) for value in picture.getextrema())
    if picture.mode.startswith("I") and low >= 0 and high <= 65535:
        return 0, 65535
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else (0, 1)


def _stretched(picture: Image.Image, low: float, high: float) -> Image.Image:
    values = np.nan_to_num(np.asarray(picture, np.float32))
    grey = np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
