"""EXIF: orientation, time, camera, position. Whatever it holds, nothing is raised: labels need none of it."""

from __future__ import annotations

import calendar
import time
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import ExifTags, Image

from imgtag.types.facts import Facts, position

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")
Position = tuple[float, float] | tuple[None, None]

_CAMERA = 64
"""Longest camera name that is kept, characters."""
_LONGEST = 1_000
"""Characters looked at of a text that may be as long as the file."""
_DECIMALS = 5
"""Of a degree: about a metre."""
_TIMES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)
_NORTH, _EAST = {"N": 1, "S": -1}, {"E": 1, "W": -1}


def tags(picture: Image.Image) -> Image.Exif:
    """The EXIF of a picture; empty where it cannot be read."""
    return _tried(picture.getexif, Image.Exif())


def parse(data: bytes | None) -> Image.Exif:
    """The EXIF in a block of bytes; empty where there is none or it cannot be read."""
    exif = Image.Exif()
    _tried(lambda: exif.load(data or b""), None)
    return exif


def read_tiff(data: bytes) -> Image.Exif:
    """The EXIF of a file whose own directory it is."""
    exif = Image.Exif()
    _tried(lambda: exif.load_from_fp(BytesIO(data)), None)
    return exif


def orientation(exif: Image.Exif) -> int:
    """1 to 8; 1, which is upright, where it is not said or makes no sense."""
    said = _tried(lambda: exif.get(ExifTags.Base.Orientation), None)
    return said if isinstance(said, int) and 1 <= said <= 8 else 1


def facts(exif: Image.Exif, width: int, height: int) -> Facts:
    """What can be read of it; one hostile value does not cost the others."""
    nowhere: Position = (None, None)
    lat, lng = _tried(lambda: _position(exif), nowhere)
    taken, camera = _tried(lambda: _taken(exif), None), _tried(lambda: _camera(exif), None)
    return Facts(width=width, height=height, taken=taken, camera=camera, lat=lat, lng=lng)


def _tried(read: Callable[[], Value], otherwise: Value) -> Value:
    # Pillow raises nearly anything on hostile EXIF.
    with suppress(Exception):
        return read()
    return otherwise


def _taken(exif: Image.Exif) -> int | None:
    details = exif.get_ifd(ExifTags.IFD.Exif)
    said = (*(details.get(tag) for tag in _TIMES), exif.get(ExifTags.Base.DateTime))
    return next((moment for text in said if (moment := _moment(text)) is not None), None)


def _moment(value: object) -> int | None:
    try:
        moment = calendar.timegm(time.strptime(_text(value), "%Y:%m:%d %H:%M:%S"))
    except ValueError:
        return None
    return moment if moment > 0 else None


def _camera(exif: Image.Exif) -> str | None:
    make, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    name = model if model.lower().startswith(make.lower().split(" ")[0]) else f"{make} {model}"
    return name[:_CAMERA].strip() or None


def _text(value: object) -> str:
    shown = (char if char.isprintable() else " " for char in value[:_LONGEST]) if isinstance(value, str) else ()
    return " ".join("".join(shown).split())


def _position(exif: Image.Exif) -> Position:
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    lat = _degrees(gps[ExifTags.GPS.GPSLatitude]) * _NORTH[_text(gps[ExifTags.GPS.GPSLatitudeRef])]
    lng = _degrees(gps[ExifTags.GPS.GPSLongitude]) * _EAST[_text(gps[ExifTags.GPS.GPSLongitudeRef])]
    return position(round(lat, _DECIMALS), round(lng, _DECIMALS))


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600
