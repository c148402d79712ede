"""How many bytes the sidecar holds at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class ByteBudget:
    """Limits the bytes in flight: an image waits in line for room, and one larger than the total goes alone."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._line = anyio.Lock(fast_acquire=True)
        self._freed = anyio.Event()

    @asynccontextmanager
    async def reserve(self, count: int) -> AsyncIterator[None]:
        """Hold ``count`` bytes."""
        async with self._line:
            while self._used and self._used + count > self._total:
                await self._freed.wait()
            self._used += count
        try:
            yield
        finally:
            self._used -= count
            self._freed.set()
            self._freed = anyio.Event()
