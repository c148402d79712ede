"""EXIF: time, camera, position."""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image

from imgtag.types.facts import Facts, position

_CAMERA = 64
"""Longest camera name that is kept, characters."""


def read(picture: Image.Image, width: int, height: int) -> Facts:
    """The facts of a picture; whatever its EXIF holds, nothing is raised."""
    # Pillow raises nearly anything on hostile EXIF, and a picture is worth its labels without it.
    with suppress(Exception):
        exif = picture.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        lat, lng = _position(exif.get_ifd(ExifTags.IFD.GPSInfo))
        taken = _moment(details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime))
        return Facts(width=width, height=height, taken=taken, camera=_camera(exif), lat=lat, lng=lng)
    return Facts(width=width, height=height)


def _moment(value: object) -> int | None:
    try:
        moment = calendar.timegm(time.strptime(str(value).strip("\0 "), "%Y:%m:%d %H:%M:%S"))
    except ValueError:
        return None
    return moment if moment > 0 else None


def _camera(exif: Image.Exif) -> str | None:
    make, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    name = model if model.lower().startswith(make.lower().split(" ")[0]) else f"{make} {model}"
    return name.strip()[:_CAMERA] or None


def _text(value: object) -> str:
    return " ".join("".join(char for char in str(value or "") if char.isprintable()).split())


def _position(gps: Mapping[int, Any]) -> tuple[float, float] | tuple[None, None]:
    if not {1, 2, 3, 4} <= gps.keys():
        return None, None
    lat = _degrees(gps[2]) * (-1 if gps[1] in {"S", b"S"} else 1)
    lng = _degrees(gps[4]) * (-1 if gps[3] in {"W", b"W"} else 1)
    return position(round(lat, 6), round(lng, 6))


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600
