"""Requests that take too long, or whose server falls silent, end.

One timer looks at all requests in progress. With a timer for each, and another one that moves whenever bytes arrive,
an image of a megabyte has twenty of them, which are a twentieth of what it costs.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self

import aiohttp

_LOOKS = 8
"""Looks within the shorter of the two times: by so little of it a request ends too late."""


class TimeLimits:
    """Ends requests at their deadline, or after ``silence`` seconds without a byte of the response."""

    def __init__(self, deadline: float, silence: float) -> None:
        self._period = min(deadline, silence) / _LOOKS
        self._silence = silence
        self._running: set[TimeLimit] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, limit: TimeLimit) -> None:
        """Look at a request from now on."""
        self._running.add(limit)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._look)

    def remove(self, limit: TimeLimit) -> None:
        """Look at it no more."""
        self._running.discard(limit)

    def _look(self) -> None:
        self._timer = None
        running, self._running = self._running, set()
        for limit in running:
            if not limit.expire(self._silence):
                self.add(limit)


class TimeLimit:
    """A context around one request, which raises TimeoutError; ``deadline`` is by the clock of the event loop."""

    def __init__(self, limits: TimeLimits, deadline: float) -> None:
        self._limits = limits
        self._deadline = deadline
        self._timeout = asyncio.timeout(None)
        self._quiet_since = math.inf
        self._content: aiohttp.StreamReader | None = None
        self._received = 0
        self._reason = ""

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._limits.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.remove(self)
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise TimeoutError(self._reason) from error

    def note_progress(self) -> None:
        """Something was sent or has arrived. Before the first time, the request waits for a connection."""
        self._quiet_since = asyncio.get_running_loop().time()

    def follow(self, content: aiohttp.StreamReader) -> None:
        """The headers have arrived; these are the bytes after them."""
        self._content = content
        self.note_progress()

    def expire(self, silence: float) -> bool:
        """End the request if it is time; whether it was."""
        if self._content is not None and self._content.total_bytes != self._received:
            self._received = self._content.total_bytes
            self.note_progress()
        now = asyncio.get_running_loop().time()
        if now >= self._deadline:
            self._reason = "the request takes too long"
        elif now >= self._quiet_since + silence:
            self._reason = f"nothing came for {silence:g} s"
        else:
            return False
        self._timeout.reschedule(now)
        return True
