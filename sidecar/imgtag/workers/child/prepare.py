"""From the bytes of an object to what a server gets to classify, and the facts of the image."""

from __future__ import annotations

from io import BytesIO

from PIL import Image as Pillow

from imgtag.errors import Unreadable
from imgtag.types.facts import Facts
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.prepared_image import ImageOrder, PreparedImage
from imgtag.workers.child.decode import decode

_QUALITIES = (92, 85, 75, 60)
"""Of JPEG, one after the other until the image is small enough."""
_SHRINK = 0.7
"""What a side is multiplied by where the lowest quality is not enough."""


def prepare_image(data: bytes, order: ImageOrder | None, limits: PictureLimits) -> tuple[Facts, PreparedImage | None]:
    """The facts, and the image as ordered, if it is. Raises Unreadable, Undecodable as `decode` does, and
    Unreadable(code="too_small").
    """
    if order is None:
        return decode(data, (1, 1), limits).facts, None
    if order.format == "rgb":
        decoded = decode(data, order.size, limits)
        pixels = decoded.image.fit(order.size, crop=order.crop)
        return decoded.facts, PreparedImage(data=pixels.tobytes(), width=order.size[0], height=order.size[1])
    decoded = decode(data, (order.max_side, order.max_side), limits)
    return decoded.facts, _encode_jpeg(Pillow.fromarray(decoded.image.array), order)


def _encode_jpeg(picture: Pillow.Image, order: ImageOrder) -> PreparedImage:
    scale = min(1.0, order.max_side / max(picture.size))
    scale = max(scale, order.min_side / min(picture.size))
    if scale * max(picture.size) > order.max_side + 0.5:
        message = (
            f"{picture.width} x {picture.height} pixels are too narrow for the server: no side may be shorter than"
        )
        raise Unreadable(f"{message} {order.min_side} or longer than {order.max_side}", code="too_small")
    while True:
        width, height = (max(order.min_side, round(side * scale)) for side in picture.size)
        size = (width, height)
        resized = picture if size == picture.size else picture.resize(size, Pillow.Resampling.BICUBIC)
        for quality in _QUALITIES:
            buffer = BytesIO()
            resized.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= order.max_bytes:
                return PreparedImage(data=buffer.getvalue(), width=resized.width, height=resized.height)
        if min(size) * _SHRINK < order.min_side:
            message = f"the server takes at most {order.max_bytes:,} bytes, and no side shorter than {order.min_side}"
            raise Unreadable(message, code="too_large")
        scale *= _SHRINK
