"""One at a time for each key."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from contextlib import AbstractAsyncContextManager
from types import TracebackType


class Serial:
    """Lets work on the same key run one after the other, on different keys side by side."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[asyncio.Event]] = {}
        """For each key that is held: those who wait for it, in order."""

    @property
    def pending(self) -> int:
        """How much work there is, running or in line."""
        return sum(1 + len(line) for line in self._lines.values())

    def hold(self, key: Hashable) -> AbstractAsyncContextManager[None]:
        """Wait until nothing else runs on ``key``, and keep it until the block ends."""
        return _Hold(self, key)

    async def take(self, key: Hashable) -> None:
        """Wait until nothing else runs on ``key``; `give` ends it."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
        else:
            turn = asyncio.Event()
            line.append(turn)
            try:
                await turn.wait()
            except BaseException:
                if turn.is_set():  # it came while the wait was cancelled
                    self.give(key)
                else:
                    line.remove(turn)
                raise

    def give(self, key: Hashable) -> None:
        """Let the next one that waits for ``key`` have it."""
        if line := self._lines[key]:
            line.popleft().set()
        else:
            del self._lines[key]


class _Hold:
    def __init__(self, serial: Serial, key: Hashable) -> None:
        self._serial = serial
        self._key = key

    async def __aenter__(self) -> None:
        await self._serial.take(self._key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._serial.give(self._key)
