"""How fast calls are made: as fast as is allowed, and slower for a while after some were refused."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import anyio

_SLOWER = 0.5
_FASTER = 1.05
"""What the rate is multiplied by after a refused and after an answered call."""
_MIN_SHARE = 0.02
"""Of the maximum, below which the rate does not fall."""


class Pace:
    """Spreads calls over time, and halves its rate whenever there were too many, as TCP does."""

    def __init__(self, max_rate: float, clock: Callable[[], float] = monotonic) -> None:
        self._max_rate = max_rate
        self._clock = clock
        self._next = 0.0
        self.rate = max_rate
        """Calls per second now."""

    async def wait(self) -> None:
        """Wait for the next call's turn; turns come in the order in which they are waited for."""
        now = self._clock()
        turn = max(now, self._next)
        self._next = turn + 1 / self.rate
        if turn > now:
            await anyio.sleep(turn - now)

    def slow_down(self) -> None:
        """A call was refused because there were too many."""
        self.rate = max(self._max_rate * _MIN_SHARE, self.rate * _SLOWER)
        self._next = max(self._next, self._clock() + 1 / self.rate)

    def speed_up(self) -> None:
        """A call was answered."""
        self.rate = min(self._max_rate, self.rate * _FASTER)
