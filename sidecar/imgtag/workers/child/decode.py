"""From the bytes of an object to a picture that a classifier can take."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from imgtag.errors import Undecodable, Unreadable
from imgtag.plugin.image import Image
from imgtag.types.facts import Facts
from imgtag.workers.child import animation, exif, magic

# Our own limits are checked from the header, before a pixel is decoded.
Pillow.MAX_IMAGE_PIXELS = None

_MARGIN = 8 / 7
"""How much larger than the model's input a picture is decoded: what ImageNet models crop away (1 / 0.875)."""

_EIGHT_BIT = {"1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "LA", "La", "PA", "RGBa"}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a picture may be: pixels and frames by its header, bytes of memory once decoded."""

    pixels: int
    frames: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture and what it says of itself."""

    image: Image
    facts: Facts


def decode(data: bytes, size: tuple[int, int], limits: Limits) -> Decoded:
    """The first frame, oriented, RGB, at least ``size`` wherever the original is.

    Raises Unreadable over a limit, Undecodable where it is broken.
    """
    name = magic.require(data)
    try:
        with Pillow.open(BytesIO(data), formats=[name]) as picture:
            _check(picture, data, limits)
            return _decoded(picture, size, limits)
    except (Undecodable, Unreadable):
        raise
    except MemoryError as error:
        raise Unreadable("decoding it takes more memory than a worker may use", code="memory") from error
    except Exception as error:
        # Decoders raise OSError, ValueError, SyntaxError, struct.error and more on broken files.
        raise _broken(name, error) from error


def _decoded(picture: Pillow.Image, size: tuple[int, int], limits: Limits) -> Decoded:
    original = picture.size
    picture.draft("RGB", (round(size[0] * _MARGIN), round(size[1] * _MARGIN)))
    _check_memory(picture, original, limits)
    picture.load()
    upright = _upright(picture)
    turned = upright.size != picture.size
    facts = exif.read(picture, *(reversed(original) if turned else original))
    return Decoded(image=Image(_rgb(upright)), facts=facts)


def _check(picture: Pillow.Image, data: bytes, limits: Limits) -> None:
    width, height = picture.size
    if width * height > limits.pixels:
        raise Unreadable(
            f"{width} x {height} pixels are over the limit of {limits.pixels:,}", code="too_many_pixels"
        )
    frames = animation.count_frames(picture, data, limits.frames)
    if frames > limits.frames:
        raise Unreadable(f"it has more than {limits.frames:,} frames", code="too_many_frames")


def _check_memory(picture: Pillow.Image, original: tuple[int, int], limits: Limits) -> None:
    needed = picture.width * picture.height * 4
    if picture.info.get("progressive"):
        # A progressive JPEG is held whole as 16-bit coefficients, however small it is decoded.
        needed += original[0] * original[1] * 2 * len(picture.getbands())
    if needed > limits.memory:
        raise Unreadable(
            f"decoding {original[0]} x {original[1]} pixels takes {needed >> 20} MiB, over the limit of "
            f"{limits.memory >> 20} MiB",
            code="memory",
        )


def _upright(picture: Pillow.Image) -> Pillow.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # noqa: BLE001 - broken EXIF costs the orientation, not the picture
        return picture


def _rgb(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode == "RGB":
        return picture
    if picture.mode not in _EIGHT_BIT:
        picture = _eight_bit(picture)
    if picture.has_transparency_data:
        return _on_white(picture.convert("RGBA"))
    return picture.convert("RGB")


def _on_white(picture: Pillow.Image) -> Pillow.Image:
    ground = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _eight_bit(picture: Pillow.Image) -> Pillow.Image:
    """16-bit by their high byte; 32-bit and float stretched between their least and greatest value."""
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return Pillow.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float32))
    if picture.mode == "I" and values.min(initial=0) >= 0 and values.max(initial=0) <= 65535:
        return Pillow.fromarray((values / 257).astype(np.uint8))
    low, high = float(values.min()), float(values.max())
    return Pillow.fromarray(((values - low) * (255 / max(high - low, 1e-12))).astype(np.uint8))


def _broken(name: str, error: Exception) -> Undecodable:
    said = str(error).strip() or type(error).__name__
    truncated = "truncated" in said.lower()
    return Undecodable(
        f"the {name} is cut off: {said}" if truncated else f"the {name} is damaged: {said}",
        code="truncated" if truncated else "undecodable",
    )
