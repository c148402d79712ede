"""Colour samples of 16 bits whose upper bits are empty.

Pillow keeps only the upper byte of a sample, which is nearly empty if 10 or 12 bits are stored in 16. Then the lower
bytes are decoded, too, and both together are stretched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imgtag.workers.child.colours import extrema, sample_range, stretched

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_SWAPPED = {"B": "L", "L": "B", "N": "B"}
"""The byte order that selects the other byte of a sample; native order is little-endian wherever imgtag runs."""
_MAX_UPPER = 127
"""Of an upper byte: half of the range is never used."""


def deep_tiles(picture: ImageFile) -> bool:
    """Whether a picture that is not yet loaded has colour samples of 16 bits."""
    return picture.mode in {"RGB", "RGBA", "RGBX", "LA"} and any(_order(tile.args) for tile in picture.tile)


def has_empty_bits(picture: Image.Image) -> bool:
    """Whether the upper bytes of the colours, once loaded, show that the lower ones are needed."""
    return max(high for _, high in _colour_extrema(picture)) <= _MAX_UPPER


def swap_bytes(picture: ImageFile) -> None:
    """Make the picture load the lower bytes."""
    tiles = []
    for tile in picture.tile:
        args: Any = tile.args
        order = _order(args)
        if order and isinstance(args, tuple):
            args = (args[0][:-1] + _SWAPPED[order], *args[1:])
        elif order:
            args = str(args)[:-1] + _SWAPPED[order]
        tiles.append(tile._replace(args=args))
    picture.tile = tiles


@dataclass(frozen=True)
class DeepRaster:
    """Upper and lower bytes of one picture; its bands are RGB already."""

    upper: Image.Image
    lower: Image.Image
    black: float
    white: float

    @classmethod
    def of(cls, upper: Image.Image, lower: Image.Image, significant_bits: int | None) -> DeepRaster:
        """Stretched to the values that there are: known from the upper bytes, within 256."""
        lows, highs = zip(*_colour_extrema(upper), strict=True)
        low, high = min(lows) << 8, (max(highs) << 8) + 255
        if not max(highs):
            lows, highs = zip(*_colour_extrema(lower), strict=True)
            low, high = min(lows), max(highs)
        return cls(upper, lower, *sample_range(low, high, significant_bits))

    @property
    def size(self) -> tuple[int, int]:
        return self.upper.size

    def band(self, box: tuple[int, int, int, int]) -> Image.Image:
        parts = (picture.crop(box).convert("RGB") for picture in (self.upper, self.lower))
        upper, lower = (np.asarray(part, np.float32) for part in parts)
        return stretched(upper * 256 + lower, self.black, self.white)


def _colour_extrema(picture: Image.Image) -> list[tuple[int, int]]:
    return extrema(picture)[: 1 if picture.mode == "LA" else 3]


def _order(args: object) -> str:
    raw = args[0] if isinstance(args, tuple) and args else args
    if isinstance(raw, str) and len(raw) > 4 and raw[-4:-1] == ";16" and raw[-1] in _SWAPPED:
        return raw[-1]
    return ""
