"""EXIF: orientation, time, camera, position. Whatever it holds, nothing is raised: labels need none of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")
Other = TypeVar("Other")

_MAX_TEXT = 1_000
"""Characters looked at of a text that may be as long as the file."""
_VOID = "V"
"""The status of a receiver that had no fix."""


def read_exif(picture: Image.Image) -> Image.Exif:
    """The EXIF of a picture; empty where it cannot be read."""
    return attempt(picture.getexif, Image.Exif())


def parse_exif(data: bytes | None) -> Image.Exif:
    """The EXIF in a block of bytes; empty where there is none or it cannot be read."""
    exif = Image.Exif()
    attempt(lambda: exif.load(data or b""), None)
    return exif


def read_tiff(data: bytes) -> Image.Exif:
    """The EXIF of a file whose own directory it is."""
    exif = Image.Exif()
    attempt(lambda: exif.load_from_fp(BytesIO(data)), None)
    return exif


def orientation(exif: Image.Exif) -> int:
    """1 to 8; 1, which is upright, if it is missing or makes no sense."""
    value = attempt(lambda: exif.get(ExifTags.Base.Orientation), None)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def dates(exif: Image.Exif) -> Iterator[str]:
    """The dates on which the image was taken, digitized and last changed; missing ones are empty."""
    nothing: dict[int, Any] = {}
    details = attempt(lambda: exif.get_ifd(ExifTags.IFD.Exif), nothing)
    yield one_line(details.get(ExifTags.Base.DateTimeOriginal))
    yield one_line(details.get(ExifTags.Base.DateTimeDigitized))
    yield one_line(attempt(lambda: exif.get(ExifTags.Base.DateTime), None))


def make_and_model(exif: Image.Exif) -> tuple[str, str]:
    """Make and model of the camera; missing ones are empty."""
    make = attempt(lambda: exif.get(ExifTags.Base.Make), None)
    model = attempt(lambda: exif.get(ExifTags.Base.Model), None)
    return one_line(make), one_line(model)


def coordinates(exif: Image.Exif) -> tuple[float, float] | None:
    """Latitude and longitude in degrees; None if either is missing or ambiguous."""
    gps = attempt(lambda: exif.get_ifd(ExifTags.IFD.GPSInfo), {})
    if one_line(gps.get(ExifTags.GPS.GPSStatus)).upper() == _VOID:
        return None
    lat = attempt(lambda: _signed(gps, ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef, "NS"), None)
    lng = attempt(lambda: _signed(gps, ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef, "EW"), None)
    return None if lat is None or lng is None else (lat, lng)


def one_line(value: object) -> str:
    """Text from EXIF, which Pillow decodes as Latin-1, as one line without control characters."""
    if isinstance(value, bytes):
        value = value[:_MAX_TEXT].decode("latin-1")
    text = recoded(value[:_MAX_TEXT]) if isinstance(value, str) else ""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def recoded(text: str) -> str:
    """UTF-8 if the bytes are valid UTF-8, which phones and editors write against the standard; otherwise Latin-1."""
    try:
        data = text.rstrip("\0 ").encode("latin-1")
        return data.decode()
    except UnicodeDecodeError as error:
        # A field of fixed length may end in the middle of a character.
        return data[: error.start].decode() if error.reason == "unexpected end of data" else text
    except UnicodeEncodeError:
        return text


def attempt(read: Callable[[], Value], otherwise: Other) -> Value | Other:
    """What ``read`` gives; Pillow raises nearly anything on hostile EXIF."""
    with suppress(Exception):
        return read()
    return otherwise


def _signed(gps: dict[int, Any], tag: int, reference_tag: int, references: str) -> float | None:
    """An angle with its direction: by the reference (`N`, `s`, `West`), or by a minus sign if there is none."""
    value = gps.get(tag)
    parts = [float(part) for part in (value if isinstance(value, tuple) else (value,))]
    angle = _degrees(parts)
    reference = one_line(gps.get(reference_tag)).upper()[:1]
    if angle is None or (reference and reference not in references):
        return None
    if not reference:
        return angle if angle < 0 else None
    if reference == references[1]:
        return -abs(angle)
    return angle if angle >= 0 else None


def _degrees(parts: list[float]) -> float | None:
    """Degrees, degrees and minutes, or all three. Seconds may be unknown (0/0), which costs a mile at most."""
    if not 1 <= len(parts) <= 3:
        return None
    degrees, minutes, seconds = (*parts, 0.0, 0.0)[:3]
    seconds = 0.0 if math.isnan(seconds) else seconds
    if not (math.isfinite(degrees) and 0 <= minutes <= 60 and 0 <= seconds <= 60):
        return None
    return math.copysign(abs(degrees) + minutes / 60 + seconds / 3600, degrees)
