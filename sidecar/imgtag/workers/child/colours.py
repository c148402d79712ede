"""Conversion of every colour representation to RGB."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Converter = Callable[[Image.Image], Image.Image]

DEEP = frozenset({"I", "F", "I;16", "I;16B", "I;16L"})
"""Modes with one sample of more than eight bits."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _MIN_VALUE, _MAX_VALUE, _SAMPLE_FORMAT = 258, 262, 280, 281, 339
"""Tags of TIFF."""
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_FULL = 65_535
_HALF_FULL = 1 << 15
_BAND_PIXELS = 1 << 20


def converter(picture: Image.Image, significant_bits: int | None = None) -> Converter:
    """A function that converts ``picture``, or a part of it, to RGB; transparent pixels become white.

    ``significant_bits`` of a sample, if the file names them in addition to the bits in which it is stored.
    """
    if picture.mode in DEEP:
        return _deep_converter(picture, significant_bits)
    if picture.mode == "CMYK" and _is_ink_inverted(picture):
        return lambda part: ImageChops.invert(part).convert("RGB")
    if picture.format == "BMP" and picture.mode == "RGBA" and extrema(picture)[3] == (0, 0):
        # If all alpha of a BMP is zero, the program that wrote it left it unset: every viewer ignores it.
        return lambda part: part.convert("RGB")
    return on_white if picture.has_transparency_data else plain


def extrema(picture: Image.Image) -> list[tuple[int, int]]:
    """Least and greatest value of each band of eight bits."""
    return [(int(low), int(high)) for low, high in np.reshape(picture.getextrema(), (-1, 2))]


def plain(picture: Image.Image) -> Image.Image:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def on_white(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def sample_range(low: float, high: float, bits: int | None) -> tuple[float, float]:
    """The values of black and white for 16-bit samples between ``low`` and ``high``.

    Scanners and cameras store 10, 12 or 14 bits in 16. If the file names their number and the values fit, it gives the
    range; otherwise the values themselves do, unless they use the upper half.
    """
    if bits and bits < 16 and high < 1 << bits:
        return 0, (1 << bits) - 1
    return (low, high) if low < high < _HALF_FULL else (0, _FULL)


def _is_ink_inverted(picture: Image.Image) -> bool:
    """Whether Pillow, which treats every CMYK JPEG as inverted (Adobe's way), has turned it into a negative.

    Without Adobe's marker nothing says how ink is stored, except the black ink: no photograph is mostly black ink.
    """
    if picture.format != "JPEG" or "adobe" in picture.info:
        return False
    black = np.asarray(picture.getchannel("K"))
    return bool(black.mean() > 127)


def _deep_converter(picture: Image.Image, significant_bits: int | None) -> Converter:
    tags = getattr(picture, "tag_v2", {})
    low, high = math.inf, -math.inf
    rows = max(1, _BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):  # Pillow computes the extrema only for some modes
        band = _samples(picture.crop((0, top, picture.width, min(top + rows, picture.height))), tags)
        low, high = min(low, float(band.min())), max(high, float(band.max()))
    if picture.mode == "F" or low < 0 or high > _FULL:
        black, white = (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else (0.0, 1.0)
    else:
        black, white = _tagged_range(tags, low, high) or sample_range(
            low, high, significant_bits or _first_number(tags, _BITS_PER_SAMPLE)
        )
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        black, white = white, black
    return lambda part: stretched(_samples(part, tags).astype(np.float32), black, white)


def _samples(picture: Image.Image, tags: Mapping[int, object]) -> NDArray[np.generic]:
    """The values; Pillow takes 32 bits for signed ones."""
    values = np.asarray(picture)
    is_unsigned = _first_number(tags, _SAMPLE_FORMAT, default=_UNSIGNED) == _UNSIGNED
    is_long = _first_number(tags, _BITS_PER_SAMPLE) == 32
    return values.view(np.uint32) if values.dtype == np.int32 and is_long and is_unsigned else values


def stretched(values: NDArray[np.float32], black: float, white: float) -> Image.Image:
    """Values [height, width] or [height, width, 3] as RGB."""
    scaled = np.clip((np.nan_to_num(values) - black) * (255 / (white - black)), 0, 255)
    picture = Image.fromarray(np.rint(scaled).astype(np.uint8))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _tagged_range(tags: Mapping[int, object], low: float, high: float) -> tuple[float, float] | None:
    """Black and white as the file names them; None where it does not, or where its values do not fit."""
    black, white = _first_number(tags, _MIN_VALUE, default=0), _first_number(tags, _MAX_VALUE)
    if black is None or white is None or white >= _FULL:
        return None
    return (black, white) if black < white and black <= low and high <= white else None


def _first_number(tags: Mapping[int, object], tag: int, *, default: int | None = None) -> int | None:
    value = tags.get(tag, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else None
