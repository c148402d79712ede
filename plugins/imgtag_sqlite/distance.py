"""How far two places are apart."""

from __future__ import annotations

from math import asin, cos, degrees, hypot, radians, sin, sqrt

EARTH = 6_371_000.0  # metres, the radius


def metres(latitude: float | None, longitude: float | None, to_latitude: float, to_longitude: float) -> float | None:
    """Return the distance on a great circle; None where the first place is unknown."""
    if latitude is None or longitude is None:
        return None
    north, east = radians(to_latitude - latitude) / 2, radians(to_longitude - longitude) / 2
    chord = hypot(sin(north), sin(east) * sqrt(cos(radians(latitude)) * cos(radians(to_latitude))))
    return 2 * EARTH * asin(min(1.0, chord))


def band(distance: float) -> float:
    """Return the degrees of latitude that a distance can span at most, with a little to spare."""
    return degrees(distance / EARTH) + 1e-6
