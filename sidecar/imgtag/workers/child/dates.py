"""The dates that cameras and programs write, as seconds since 1970 by the clock that they were read from.

Ambiguous text is not a date: without one, an image is found by the date of its file; with a wrong one it is lost.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime
from email.utils import parsedate

_WRITTEN = re.compile(
    r"""(?P<year>\d{4}) (?P<mark>[-:/.]) (?P<month>\d{1,2}) (?P=mark) (?P<day>\d{1,2})
    (?: (?:\s+|\s*T\s*) (?P<hour>\d{1,2}) : (?P<minute>\d{2}) (?: : (?P<second>\d{2}) (?:[.,]\d*)? )?
        (?: \s* (?P<half>[AaPp])\.?[Mm]\.? )?
        \s* (?: Z | (?:UTC|GMT)?\s*[+-]\d{1,2}:?(?:\d{2})? | UTC | GMT )? )?""",
    re.VERBOSE,
)
"""EXIF's `2017:03:04 05:06:07`, ISO 8601 and what lies between. An offset is not applied: the camera's clock counts."""
_PACKED = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})(?:T?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2}))?"
)
_MAX_TEXT = 100
"""Characters; no date has more, and the time that patterns take grows with the square of the length."""
_UNSET = {
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1601, 1, 1, tzinfo=UTC),
    datetime(1904, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
}
"""The zeros of .NET, Windows, QuickTime and Unix, written by programs that had no date."""


def parse_date(text: str) -> int | None:
    """Seconds since 1970, negative before; None unless ``text`` is exactly one date."""
    text = text[: _MAX_TEXT + 1].strip()
    if len(text) > _MAX_TEXT:
        return None
    match = _WRITTEN.fullmatch(text) or _PACKED.fullmatch(text)
    moment = _moment(match) if match else _written_out(text)
    return None if moment is None or moment in _UNSET else calendar.timegm(moment.timetuple())


def _moment(match: re.Match[str]) -> datetime | None:
    fields = match.groupdict()
    year, month, day, hour, minute, second = (
        int(fields[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    half = (fields.get("half") or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _written_out(text: str) -> datetime | None:
    """`Sat, 04 Mar 2017 05:06:07 +0200`, as the PNG specification suggests, and C's `Sat Mar  4 05:06:07 2017`."""
    if not re.search(r"[A-Za-z]{3}.*\b\d{4}\b", text):
        return None
    fields = parsedate(text)
    try:
        return datetime(*fields[:6], tzinfo=UTC) if fields else None
    except (ValueError, OverflowError):
        return None
