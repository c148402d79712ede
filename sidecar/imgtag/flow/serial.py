"""One at a time for each key."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import anyio


class Serial:
    """Lets work on the same key run one after the other, on different keys side by side."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[anyio.Event]] = {}
        """For each key that is held: those who wait for it, in order."""

    @property
    def pending(self) -> int:
        """How much work there is, running or in line."""
        return sum(1 + len(line) for line in self._lines.values())

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until nothing else runs on ``key``, and keep it until the block ends."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
        else:
            turn = anyio.Event()
            line.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():  # it came while the wait was cancelled
                    self._pass_on(key)
                else:
                    line.remove(turn)
                raise
        try:
            yield
        finally:
            self._pass_on(key)

    def _pass_on(self, key: Hashable) -> None:
        if line := self._lines[key]:
            line.popleft().set()
        else:
            del self._lines[key]
