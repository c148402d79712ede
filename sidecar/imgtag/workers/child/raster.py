"""Decoded pixels, whatever form the decoder returns them in, and their reduction to a small RGB image, band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

_BAND_PIXELS = 1 << 18
"""Pixels converted at a time. Conversions copy, so a second full-size image never exists."""
_MAX_ASPECT = 16
"""Of a longer strip only the middle is kept: classifiers look at no more, and its short side allows no reduction."""


class Raster(Protocol):
    """Rows of pixels."""

    @property
    def size(self) -> tuple[int, int]: ...

    def band(self, box: tuple[int, int, int, int]) -> Image.Image:
        """A part of the picture: left, upper, right, lower."""
        ...


@dataclass(frozen=True)
class PillowRaster:
    """A picture that Pillow has loaded."""

    picture: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size

    def band(self, box: tuple[int, int, int, int]) -> Image.Image:
        return self.picture if box == (0, 0, *self.size) else self.picture.crop(box)


@dataclass(frozen=True)
class BufferRaster:
    """The bytes that a decoder returned, without another copy; ``raw`` is Pillow's name for their layout."""

    data: bytes | memoryview
    size: tuple[int, int]
    mode: str
    raw: str
    stride: int

    def band(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, upper, right, lower = box
        rows = bytes(memoryview(self.data)[upper * self.stride : lower * self.stride])
        width, height = self.size[0], lower - upper
        band = Image.frombuffer(self.mode, (width, height), rows, "raw", self.raw, self.stride, 1)
        return band if (left, right) == (0, width) else band.crop((left, 0, right, height))


def reduce_to_rgb(raster: Raster, side: int, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """RGB by ``convert``, its shorter side at least ``side`` and less than four times that where it was longer.

    Each square of pixels is averaged into one. A strip is cut to its middle.
    """
    across, down = raster.size
    width, height = min(across, down * _MAX_ASPECT), min(down, across * _MAX_ASPECT)
    left, upper = (across - width) // 2, (down - height) // 2
    right, lower = left + width, upper + height
    factor = max(1, min(width, height) // (side * 2))
    if factor == 1 and width * height <= _BAND_PIXELS * 4:
        return convert(raster.band((left, upper, right, lower)))
    small = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, _BAND_PIXELS // (width * factor))
    for top in range(0, small.height, rows):
        first, last = upper + top * factor, min(lower, upper + (top + rows) * factor)
        band = convert(raster.band((left, first, right, last)))
        small.paste(band.reduce(factor) if factor > 1 else band, (0, top))
    return small
