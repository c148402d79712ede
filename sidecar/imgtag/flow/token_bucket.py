"""So many a second, and no more."""

from __future__ import annotations

from collections.abc import Callable

BURST = 0.1
"""Seconds of the rate that may be used at once: a cap should hold in every second, also in the first one."""
_TICK = 1e-6
"""Seconds: what is made up sooner is there already, because a clock may not be able to show so short a time."""


class TokenBucket:
    """Limits objects or bytes a second.

    What is larger than a whole burst is let through when the bucket is full, and waited off afterwards.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._size = max(1.0, rate * BURST)
        self._tokens = self._size
        self._at = clock()

    def delay(self, count: float) -> float:
        """Seconds until ``count`` may be taken; 0 if they may be taken now."""
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        seconds = (min(count, self._size) - self._tokens) / self._rate
        return seconds if seconds > _TICK else 0.0

    def take(self, count: float) -> None:
        """Take ``count``; call it only when `delay` was 0."""
        self._tokens -= count
