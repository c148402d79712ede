"""Numbers, dates and places as a query writes them.

The functions raise ValueError with two arguments, the message and the hint.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import date

DECIMAL = r"[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15}"
NUMBER = re.compile(rf"({DECIMAL})([^\W\d_]*)")
DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
DEGREES = re.compile(rf"[+-]?(?:{DECIMAL})")
METRES = {"m": 1, "km": 1000}
EPOCH = date(1970, 1, 1).toordinal()
DAY = 86400  # seconds


def read_number(text: str, units: Mapping[str, int]) -> float:
    """Read a number with one of the units, whose case is ignored; the unit "" means none is needed."""
    match = NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a number", f"Write a number such as {'1.5MB' if 'MB' in units else '0.5'}.")
    factor = {unit.lower(): factor for unit, factor in units.items()}.get(match[2].lower())
    if factor is None:
        names = ", ".join(filter(None, units))
        hint = f"Units are {names}." if names else "Write the number without a unit."
        raise ValueError(f"{match[2]!r} is not an unit here" if match[2] else f"{text!r} has no unit", hint)
    return round(float(match[1]) * factor, 6)


def read_confidence(text: str) -> float:
    """Read a confidence, from 0 to 1."""
    match = NUMBER.fullmatch(text)
    if not match or match[2] or float(match[1]) > 1:
        raise ValueError(f"{text!r} is not a confidence", "A confidence is between 0 and 1: write 0.4 for 40 %.")
    return float(match[1])


def read_period(text: str) -> tuple[int, int]:
    """Read a year, a month or a day as its first second and the first one after it: seconds since 1970, UTC."""
    hint = "Write 2024, 2024-07 or 2024-07-01."
    match = DATE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a date", hint)
    year, month, day = (int(part) if part else None for part in match.groups())
    try:
        first = date(year or 0, month or 1, day or 1)
        last = first.replace(month=month or 12)
        last = last.replace(day=day or monthrange(last.year, last.month)[1])
    except ValueError:
        raise ValueError(f"{text!r} is not in the calendar", hint) from None
    return (first.toordinal() - EPOCH) * DAY, (last.toordinal() + 1 - EPOCH) * DAY


def read_place(text: str) -> tuple[float, float, float]:
    """Read latitude and longitude in degrees and a distance, which is returned in metres."""
    hint = "Write latitude, longitude and distance: near:46.5,7.9,10km."
    parts = text.split(",")
    if len(parts) != 3:
        raise ValueError(f"{text!r} is not a place with a distance", hint)
    latitude, longitude = _read_degrees(parts[0], 90, "latitude"), _read_degrees(parts[1], 180, "longitude")
    metres = read_number(parts[2], METRES)
    if not metres:
        raise ValueError("the distance is zero", hint)
    return latitude, longitude, metres


def _read_degrees(text: str, limit: int, what: str) -> float:
    if not DEGREES.fullmatch(text):
        raise ValueError(f"{text!r} is no {what}", "Write degrees with a point: near:46.5,7.9,10km.")
    if abs(float(text)) > limit:
        raise ValueError(f"the {what} {text} is not on the globe", f"A {what} is between -{limit} and {limit} degrees.")
    return float(text)
