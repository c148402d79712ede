"""What a picture says of itself, and what our write would otherwise erase."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from imgtag.types.packed import pack, unpack

EARLIEST, LATEST = -62_135_596_800, 253_402_300_799
"""The first second of the year 1 and the last one of 9999, counted from 1970: calendars and charts go no further."""
MAX_CAMERA = 64
"""Characters of a camera's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Width and height as shown (pixels), camera's clock read as UTC, camera, position (degrees).

    ``modified`` is the object's Last-Modified before the sidecar wrote on it, seconds since 1970.
    """

    width: int | None = None
    height: int | None = None
    taken: int | None = None
    camera: str | None = None
    lat: float | None = None
    lng: float | None = None
    modified: int | None = None

    def without(self, *, gps: bool, exif: bool) -> Facts:
        """The facts that may leave the worker when position or all of EXIF is switched off."""
        facts = self if gps and exif else replace(self, lat=None, lng=None)
        return facts if exif else replace(facts, taken=None, camera=None)

    def encode(self) -> str:
        """One line that ``decode`` reads; a store's clock may be wrong, so ``modified`` is brought into its range."""
        position = "" if self.lat is None or self.lng is None else f"{self.lat!r},{self.lng!r}"
        numbers = {"w": self.width, "h": self.height, "t": self.taken}
        texts = {name: "" if value is None else str(value) for name, value in numbers.items()}
        modified = "" if self.modified is None else str(max(0, min(LATEST, self.modified)))
        return pack({**texts, "c": self.camera or "", "g": position, "m": modified})

    @classmethod
    def decode(cls, text: str) -> Facts | None:
        """None if ``text`` is not such a record; values out of range are left out."""
        fields = unpack(text)
        if fields is None:
            return None
        lat, lng = _position(fields.get("g", ""))
        camera = fields.get("c", "")
        return cls(
            width=_number(fields.get("w", ""), 2**31),
            height=_number(fields.get("h", ""), 2**31),
            taken=_time(fields.get("t", "")),
            camera=camera if 0 < len(camera) <= MAX_CAMERA and camera.isprintable() else None,
            lat=lat,
            lng=lng,
            modified=_number(fields.get("m", ""), LATEST),
        )


def position(lat: float, lng: float) -> tuple[float, float] | tuple[None, None]:
    """The position where it is one on earth, else (None, None)."""
    if math.isfinite(lat) and math.isfinite(lng) and abs(lat) <= 90 and abs(lng) <= 180:
        return lat, lng
    return None, None


def _position(text: str) -> tuple[float, float] | tuple[None, None]:
    try:
        lat, lng = map(float, text.split(","))
    except ValueError:
        return None, None
    return position(lat, lng)


def _time(text: str) -> int | None:
    if text.startswith("-"):  # an old photograph that was scanned
        seconds = _number(text[1:], -EARLIEST)
        return None if seconds is None else -seconds
    return _number(text, LATEST)


def _number(text: str, most: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= most else None
