"""An image as a server gets it to classify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MAX_PREPARED = 2_500_000
"""Bytes, at most; a worker's answer has room for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """How an image is sent: upright, without metadata.

    ``jpeg``: reduced until no side is longer than ``max_side`` and it takes at most ``max_bytes``; enlarged where a
    side is shorter than ``min_side``. ``rgb``: the pixels, uint8 [height, width, 3], of exactly ``size``: the middle
    of the image, of whose shorter side the share ``crop`` stays.
    """

    format: Literal["jpeg", "rgb"] = "jpeg"
    max_side: int = 1600
    min_side: int = 1
    max_bytes: int = MAX_PREPARED
    size: tuple[int, int] = (224, 224)
    """Width and height."""
    crop: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """The image in that form, and its size in pixels."""

    data: bytes
    width: int
    height: int
