"""One at a time for each key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio


@dataclass(eq=False)
class _Turn:
    lock: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    users: int = 0


class Serial:
    """Lets work on the same key run one after the other, on different keys side by side."""

    def __init__(self) -> None:
        self._turns: dict[Hashable, _Turn] = {}

    @property
    def pending(self) -> int:
        """How much work there is, running or in line."""
        return sum(turn.users for turn in self._turns.values())

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until nothing else runs on ``key``, and keep it until the block ends."""
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]
