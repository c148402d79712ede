"""One at a time for each key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

import anyio


@dataclass(eq=False)
class _Turn:
    lock: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    users: int = 0


class Serial:
    """Runs work on the same key one after the other, on different keys side by side."""

    def __init__(self) -> None:
        self._turns: dict[Hashable, _Turn] = {}

    @property
    def waiting(self) -> int:
        """How much work there is, running or in line."""
        return sum(turn.users for turn in self._turns.values())

    async def run(self, key: Hashable, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` when nothing else runs on ``key``."""
        turn = self._turns.setdefault(key, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                await work()
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[key]
