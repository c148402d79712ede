"""From the bytes of an object to a picture that a classifier can take."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL import Image as Pillow

from imgtag.errors import ImgtagError, Undecodable, Unreadable
from imgtag.plugin.image import Image
from imgtag.types.image_formats import require_format
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child import animation, exif
from imgtag.workers.child.colours import to_rgb

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from imgtag.types.facts import Facts

# Our own limits are checked from the header, before a pixel is decoded.
Pillow.MAX_IMAGE_PIXELS = None
# Texts and colour profiles of a PNG are packed; some programs write megabytes into them.
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20, 32 << 20

_READERS: dict[str, type[ImageFile]] = {
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
"""All that is ever loaded of Pillow's decoders; what a file really holds cannot choose another one."""

_MARGIN = 8 / 7
"""How much larger than the model's input a picture is decoded: what ImageNet models crop away (1 / 0.875)."""
_GAP = 2
"""How much larger still it may be before it is made smaller by averaging: less would cost sharpness."""
_ROWS = 4
"""Rows of a reduced picture that are made at a time."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes of a pixel by mode, where they are not four."""
_BESIDE = {"WEBP": 12, "TIFF": 4}
"""Bytes of a pixel that the decoder takes beside: libwebp three frames, libtiff a strip that may be all there is."""
_COEFFICIENT = 2

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""By EXIF's orientation, what makes a picture upright."""
_LYING = {5, 6, 7, 8}


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture and what it says of itself."""

    image: Image
    facts: Facts


def decode(data: bytes, size: tuple[int, int], limits: PictureLimits) -> Decoded:
    """The first frame, oriented, RGB, at least ``size`` wherever the original is.

    Raises Unreadable over a limit, Undecodable where it is broken.
    """
    name = require_format(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_before(name, data, limits)
            with _READERS[name](BytesIO(data)) as picture:
                _check_size(picture.size, limits)
                return _decoded(picture, data, size, limits)
    except ImgtagError:
        raise
    except MemoryError as error:
        raise Unreadable("decoding it takes more memory than a worker may use", code="memory") from error
    except Exception as error:
        # Decoders raise OSError, ValueError, SyntaxError, struct.error and more on broken files.
        raise _broken(name, data, error) from error


def _decoded(picture: ImageFile, data: bytes, size: tuple[int, int], limits: PictureLimits) -> Decoded:
    # Both sides by the longer one: which of them is the width is not known before the picture is upright.
    side = round(max(size) * _MARGIN)
    original = picture.size
    coefficients = _coefficients(picture, data)
    picture.draft("RGB", (side, side))
    _check_memory(picture, original, coefficients, limits)
    picture.load()
    tags = exif.tags(picture)
    orientation = exif.orientation(tags)
    small = _reduced(picture, max(1, min(picture.size) // (side * _GAP)))
    upright = small.transpose(_TURNS[orientation]) if orientation in _TURNS else small
    shown = original[::-1] if orientation in _LYING else original
    return Decoded(image=Image(upright), facts=exif.facts(tags, *shown))


def _reduced(picture: Pillow.Image, factor: int) -> Pillow.Image:
    """RGB, each ``factor`` x ``factor`` pixels averaged into one; by rows, so that no second picture is made whole."""
    converted = to_rgb(picture)
    if factor == 1:
        return converted(picture)
    width, height = picture.size
    small = Pillow.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, small.height, _ROWS):
        band = picture.crop((0, top * factor, width, min(height, (top + _ROWS) * factor)))
        small.paste(converted(band).reduce(factor), (0, top))
    return small


def _check_before(name: str, data: bytes, limits: PictureLimits) -> None:
    """What can be known before Pillow opens it."""
    if name == "WEBP":
        _check_size(animation.webp_canvas(data) or (0, 0), limits)
    if animation.count_frames(name, data, limits.frames) > limits.frames:
        raise Unreadable(f"it has more than {limits.frames:,} frames", code="too_many_frames")


def _check_size(size: tuple[int, int], limits: PictureLimits) -> None:
    width, height = size
    if width * height > limits.pixels:
        raise Unreadable(f"{width} x {height} pixels are over the limit of {limits.pixels:,}", code="too_many_pixels")


def _check_memory(picture: Pillow.Image, original: tuple[int, int], more: int, limits: PictureLimits) -> None:
    pixel = _STORED.get(picture.mode, 4) + _BESIDE.get(picture.format or "", 0)
    needed = picture.width * picture.height * pixel + more
    if needed > limits.memory:
        width, height = original
        raise Unreadable(
            f"decoding {width} x {height} pixels takes {needed >> 20} MiB, over the limit of {limits.memory >> 20} MiB",
            code="memory",
        )


def _coefficients(picture: Pillow.Image, data: bytes) -> int:
    """Bytes of all coefficients of a JPEG that comes in several scans: they are held, however small it is decoded."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile) or not picture.fp:
        return 0
    scan = picture.fp.tell() - 8 - 2 * picture.layers  # where the header of a scan of all colours would begin
    if data[scan : scan + 2] == b"\xff\xda" and not picture.info.get("progressive"):
        return 0
    across, down = ([max(1, layer[place]) for layer in picture.layer] for place in (1, 2))
    share = sum(a * d for a, d in zip(across, down, strict=True)) / (max(across) * max(down))
    return int(picture.width * picture.height * share * _COEFFICIENT)


def _broken(name: str, data: bytes, error: Exception) -> ImgtagError:
    """What Pillow says is for those who write programs; three reasons are enough for everybody else."""
    said, shown = str(error), "WebP" if name == "WEBP" else name
    if "MAX_TEXT" in said:
        return Unreadable("its texts or its colour profile unpack to megabytes", code="metadata_too_large")
    if "truncated" in said.lower() or _cut(name, data):
        return Undecodable(f"the {shown} is cut off: the file ends before the picture does", code="truncated")
    return Undecodable(f"the {shown} is damaged")


def _cut(name: str, data: bytes) -> bool:
    return name == "WEBP" and len(data) < 8 + int.from_bytes(data[4:8], "little")
