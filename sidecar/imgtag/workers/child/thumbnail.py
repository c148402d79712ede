"""From the bytes of an object to a small image for people."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image as Pillow

from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.workers.child.decode import decode

if TYPE_CHECKING:
    from imgtag.types.picture_limits import PictureLimits

_TURNS = {90: Pillow.Transpose.ROTATE_270, 180: Pillow.Transpose.ROTATE_180, 270: Pillow.Transpose.ROTATE_90}
"""By degrees clockwise; Pillow counts the other way round."""
_ENCODERS: Mapping[str, Mapping[str, Any]] = {
    # Its encoder would start threads, which seccomp forbids here; faster settings make larger files.
    "avif": {"quality": 60, "speed": 8, "max_threads": 1},
    "jpeg": {"quality": 80, "optimize": True},
    "ppm": {},
    "webp": {"quality": 78, "method": 3},
}
MAX_DECODED = 8192
"""Pixels of the side at which an image is decoded so that a small part of it is sharp."""


def make_thumbnail(data: bytes, order: ThumbnailOrder, limits: PictureLimits) -> Thumbnail:
    """The thumbnail, without any metadata. Raises Unreadable, Undecodable as `decode` does."""
    left, upper, across, down = order.crop or (0.0, 0.0, 1.0, 1.0)
    box = (order.width, order.height) if order.rotate in {0, 180} else (order.height, order.width)
    enough = tuple(min(MAX_DECODED, round(side / share)) for side, share in zip(box, (across, down), strict=True))
    picture = Pillow.fromarray(decode(data, (enough[0], enough[1]), limits).image.array)
    if order.crop:
        width, height = picture.size
        right, lower = round((left + across) * width), round((upper + down) * height)
        start = min(round(left * width), width - 1), min(round(upper * height), height - 1)
        picture = picture.crop((*start, max(start[0] + 1, right), max(start[1] + 1, lower)))
    if order.rotate:
        picture = picture.transpose(_TURNS[order.rotate])
    picture = _fit(picture, order)
    buffer = BytesIO()
    picture.save(buffer, order.format.upper(), **_ENCODERS[order.format])
    return Thumbnail(data=buffer.getvalue(), width=picture.width, height=picture.height)


def _fit(picture: Pillow.Image, order: ThumbnailOrder) -> Pillow.Image:
    """The picture, or with ``cover`` its middle, at no more than the size of the box."""
    width, height = picture.size
    box: tuple[float, float, float, float] = (0, 0, width, height)
    if order.cover:
        share = min(width / order.width, height / order.height)
        across, down = share * order.width, share * order.height
        left, upper = (width - across) / 2, (height - down) / 2
        box = (left, upper, left + across, upper + down)
        scale = min(1.0, 1 / share)
    else:
        across, down = width, height
        scale = min(1.0, order.width / width, order.height / height)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    return picture if size == picture.size else picture.resize(size, Pillow.Resampling.BICUBIC, box=box)
