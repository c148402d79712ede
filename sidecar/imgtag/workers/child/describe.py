"""The facts of an image, from all the places where cameras and programs write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from imgtag.types.facts import Facts, position
from imgtag.workers.child import exif
from imgtag.workers.child.dates import parse_date
from imgtag.workers.child.xmp import read_xmp

_MAX_CAMERA = 64
"""Characters of a camera's name that are kept."""
_DECIMALS = 5
"""Of a degree: about a metre."""
_PNG_DATES = ("exif:DateTimeOriginal", "Creation Time", "creation-time", "Create Time")
"""Keys of PNG texts: ImageMagick's copy of the EXIF, and what the specification and its readers of it say."""
_XMP_ANGLE = re.compile(r"(\d{1,3})(?:,(\d{1,2}(?:\.\d*)?))?(?:,(\d{1,2}(?:\.\d*)?))?([NSEW])")
"""`46,57.6N` or `46,57,36N`."""


def describe(tags: Image.Exif, info: Mapping[Any, Any], width: int, height: int) -> Facts:
    """The facts of an image, shown at this size. One hostile value does not cost the others."""
    xmp = exif.attempt(lambda: read_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp")), {})
    lat, lng = exif.attempt(lambda: _position(tags, xmp), (None, None))
    # The first readable date; those of the camera come before those of programs.
    moments = (parse_date(text) for text in _dates(tags, xmp, info))
    return Facts(
        width=width,
        height=height,
        taken=exif.attempt(lambda: next((moment for moment in moments if moment is not None), None), None),
        camera=exif.attempt(lambda: _camera(tags, xmp), None),
        lat=lat,
        lng=lng,
    )


def _dates(tags: Image.Exif, xmp: Mapping[str, str], info: Mapping[Any, Any]) -> Iterator[str]:
    original, digitized, changed = exif.dates(tags)
    yield original
    yield xmp.get("exif:DateTimeOriginal", "")
    yield xmp.get("photoshop:DateCreated", "")
    yield digitized
    yield xmp.get("xmp:CreateDate", "")
    yield from (exif.one_line(info.get(key)) for key in _PNG_DATES)
    yield changed


def _camera(tags: Image.Exif, xmp: Mapping[str, str]) -> str | None:
    make, model = exif.make_and_model(tags)
    if not make and not model:
        make, model = (exif.one_line(xmp.get(name)) for name in ("tiff:Make", "tiff:Model"))
    name = model if model.lower().startswith(make.lower().split(" ")[0]) else f"{make} {model}"
    return name[:_MAX_CAMERA].strip() or None


def _position(tags: Image.Exif, xmp: Mapping[str, str]) -> tuple[float, float] | tuple[None, None]:
    lat, lng = exif.coordinates(tags) or (
        _xmp_angle(xmp.get("exif:GPSLatitude", ""), "NS"),
        _xmp_angle(xmp.get("exif:GPSLongitude", ""), "EW"),
    )
    # Receivers without a fix write two zeros, a place in the open sea.
    if lat is None or lng is None or (lat, lng) == (0, 0):
        return None, None
    return position(round(lat, _DECIMALS), round(lng, _DECIMALS))


def _xmp_angle(text: str, references: str) -> float | None:
    match = _XMP_ANGLE.fullmatch(text.upper())
    if not match or match[4] not in references:
        return None
    angle = int(match[1]) + float(match[2] or 0) / 60 + float(match[3] or 0) / 3600
    return -angle if match[4] == references[1] else angle
