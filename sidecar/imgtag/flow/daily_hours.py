"""Hours of the day, such as 22:00-06:00, in local time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

_HOURS = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*", re.ASCII)


@dataclass(frozen=True)
class DailyHours:
    """From ``start`` until ``end`` each day, or until ``end`` of the next day where that is not later.

    Both are instants on the local clock, so the hours are an hour longer or shorter in a night in which daylight saving
    time changes. A time that the clock then skips counts as the same number of minutes after the change; of a time that
    comes twice, the first one counts. ``zone`` is None for the time zone of the machine.
    """

    start: time
    end: time
    zone: tzinfo | None = None

    @classmethod
    def parse(cls, text: str, zone: tzinfo | None = None) -> DailyHours:
        """Read ``HH:MM-HH:MM``; ``24:00`` is midnight. Raises ValueError."""
        match = _HOURS.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} are no hours: write, for example, 22:00-06:00")
        hours, minutes = [int(match[1]), int(match[3])], [int(match[2]), int(match[4])]
        if hours[1] == 24 and minutes[1] == 0:
            hours[1] = 0
        if max(hours) > 23 or max(minutes) > 59:
            raise ValueError(f"{text!r} has a time that no clock shows: write, for example, 22:00-06:00")
        start, end = (time(hour, minute) for hour, minute in zip(hours, minutes, strict=True))
        if start == end:
            raise ValueError(f"{text!r} begins and ends at the same time: leave it out for the whole day")
        return cls(start, end, zone)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def next_start(self, now: float) -> float | None:
        """When the hours begin next, or None while they last. Both in seconds since 1970."""
        today = datetime.fromtimestamp(now, self.zone).date()
        length = timedelta(days=int(self.end <= self.start))
        starts = []
        for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
            # Naive where there is no zone: `timestamp` then takes the machine's, with its rule for that very day.
            begin = datetime.combine(day, self.start, self.zone).timestamp()
            if begin <= now < datetime.combine(day + length, self.end, self.zone).timestamp():
                return None
            starts.append(begin)
        return min(start for start in starts if start > now)
