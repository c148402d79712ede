"""What a thumbnail shall be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_SIDE = 2048
"""Pixels."""
ROTATIONS = (0, 90, 180, 270)

ThumbnailFormat = Literal["avif", "jpeg", "ppm", "webp"]
"""PPM is bare pixels after a header: what is to be encoded once more, without a decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailOrder:
    """A part of an upright image, turned, and reduced to fit into a box.

    ``crop``: left, upper, width and height of the part, as shares of the image from 0 to 1; None for all of it. Then it
    is turned by ``rotate`` degrees clockwise. With ``cover`` its middle fills the whole box, which cuts off the rest.
    Nothing is enlarged.
    """

    width: int
    height: int
    format: ThumbnailFormat
    crop: tuple[float, float, float, float] | None = None
    cover: bool = False
    rotate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """An encoded image, and its size in pixels."""

    data: bytes
    width: int
    height: int
