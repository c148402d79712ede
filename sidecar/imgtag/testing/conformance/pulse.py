"""Whether the event loop stands still."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread

BEAT = 0.002  # seconds between two turns of the loop
LOOK = 0.004  # seconds between two looks from a thread
MAX_STILL = 50
"""Looks without a turn in between. Counted instead of measured in seconds: on a busy machine both threads are slow."""


class Pulse:
    """Counts how often a thread looks and finds no new turn of the event loop."""

    def __init__(self) -> None:
        self.longest = 0
        """The most looks in a row without a turn."""
        self._turns = 0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._count, daemon=True)

    async def __aenter__(self) -> Self:
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._beat)
        await anyio.to_thread.run_sync(self._watch.start)  # both wait for the thread, which a test must not
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(kind, error, trace)
        await anyio.to_thread.run_sync(self._watch.join)

    async def _beat(self) -> None:
        while True:
            self._turns += 1
            await anyio.sleep(BEAT)

    def _count(self) -> None:
        turns, still = self._turns, 0
        while not self._stop.wait(LOOK):
            turns, still = (turns, still + 1) if turns == self._turns else (self._turns, 0)
            self.longest = max(self.longest, still)
