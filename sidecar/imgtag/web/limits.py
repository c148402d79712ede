"""What clients may use: requests a second for each of them, and so many of a kind at once for all."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from imgtag.web.errors import HttpError

MAX_CLIENTS = 10_000
"""Clients whose use is remembered."""


class RateLimit:
    """So many requests in a burst and so many a second after it, for each client."""

    def __init__(self, burst: float, rate: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._rate = rate
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Requests left and when that was counted, by client; the one seen longest ago first."""

    def take(self, client: str, count: float = 1) -> int:
        """Count requests of a client; returns 0, or the seconds to wait where there were too many."""
        now = self._clock()
        left, wait = self._count_left(client, count)
        self._left.pop(client, None)
        self._left[client] = (left if wait else left - count), now
        if len(self._left) > MAX_CLIENTS:
            self._left.popitem(last=False)
        return wait

    def wait(self, client: str, count: float = 1) -> int:
        """The seconds until a client may send so many requests; counts nothing."""
        return self._count_left(client, count)[1]

    def _count_left(self, client: str, count: float) -> tuple[float, int]:
        now = self._clock()
        left, at = self._left.get(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        return left, 0 if left >= count else math.ceil((count - left) / self._rate)


class Lane:
    """So many at once; others wait in line, unless that is too long already."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._waiting = 0
        self._max_waiting = waiting

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises HttpError where too many wait."""
        if self._waiting >= self._max_waiting:
            raise HttpError(503, "busy", "too many requests at once", "Ask again in a moment.", retry_after=1)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()
