"""How many bytes the sidecar holds at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from imgtag.flow.serial import Serial


class ByteBudget:
    """Limits the bytes in flight: an image waits in line for room, and one larger than the total goes alone.

    One owner holds two thirds at most, unless its one image needs more.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = total * 2 // 3
        self._used: Counter[str] = Counter()
        self._holders = 0
        self._own_lines = Serial()
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def holders(self) -> int:
        """How many hold bytes now."""
        return self._holders

    @asynccontextmanager
    async def reserve(self, count: int, owner: str = "") -> AsyncIterator[None]:
        """Hold ``count`` bytes for ``owner``."""
        # An owner waits for its own share first, so that only one image of each stands in the common line.
        async with self._own_lines.hold(owner):
            while self._used[owner] and self._used[owner] + count > self._share:
                await self._freed.wait()
            async with self._line:
                while self._used.total() and self._used.total() + count > self._total:
                    await self._freed.wait()
                self._used[owner] += count
        self._holders += 1
        try:
            yield
        finally:
            self._free(count, owner)

    def reserve_now(self, count: int, owner: str, held: AsyncExitStack) -> bool:
        """Hold ``count`` bytes until ``held`` is closed, unless that would have to wait; whether they are held."""
        used = self._used[owner]
        if self._line.locked() or self._used.total() + count > self._total or (used and used + count > self._share):
            return False
        self._holders += 1
        self._used[owner] += count
        held.callback(self._free, count, owner)
        return True

    def _free(self, count: int, owner: str) -> None:
        self._holders -= 1
        self._used[owner] -= count
        if not self._used[owner]:
            del self._used[owner]
        self._freed.set()
        self._freed = asyncio.Event()
