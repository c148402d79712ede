"""Single calls joined into batches."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

AFTER_MANY = 0.2
"""Seconds after a batch during which the next one needs a quarter of its calls to be due."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item, Answer]):
    item: Item
    is_done: bool = False
    answer: Answer | None = None
    error: BaseException | None = None


class Batcher(Generic[Item, Answer]):
    """Joins single calls into batches: those that arrive while a batch runs, and those within ``linger`` seconds.

    A batch leaves earlier when ``is_due`` says so, which is asked whenever a call joins it. Just after a batch of many
    calls it must have some as well: what takes their place has hardly begun, so that only few calls seem to be made.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        max_items: int,
        linger: float = 0.0,
        is_due: Callable[[], bool] = lambda: False,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._linger = linger
        self._is_due = is_due
        self._last_count, self._last_end = 0, -math.inf
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._full = asyncio.Event()
        self._line = asyncio.Lock()

    async def __call__(self, item: Item) -> Answer:
        """The answer to ``item``; raises what its batch raised."""
        mine: _Waiting[Item, Answer] = _Waiting(item)
        self._waiting.append(mine)
        if self._is_full():
            self._full.set()
        async with self._line:
            while not mine.is_done:
                if self._linger:
                    await self._wait_for_more()
                batch, self._waiting = self._waiting[: self._max_items], self._waiting[self._max_items :]
                # The batch belongs to all of its callers: the one that runs it may be cancelled while the others wait.
                with anyio.CancelScope(shield=True):
                    try:
                        answers = await self._run([one.item for one in batch])
                        for one, answer in zip(batch, answers, strict=True):
                            one.answer = answer
                    except Exception as error:  # noqa: BLE001 - raised again in every caller
                        for one in batch:
                            one.error = error
                    for one in batch:
                        one.is_done = True
                    self._last_count, self._last_end = len(batch), time.monotonic()
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]

    async def _wait_for_more(self) -> None:
        first = min(max(0.0, self._last_end + AFTER_MANY - time.monotonic()), self._linger)
        for pause in (first, self._linger - first):
            if self._is_full():
                return
            self._full.clear()
            if pause:
                with anyio.move_on_after(pause):
                    await self._full.wait()

    def _is_full(self) -> bool:
        count = len(self._waiting)
        is_few = count < self._last_count // 4 and time.monotonic() < self._last_end + AFTER_MANY
        return count >= self._max_items or (self._is_due() and not is_few)
