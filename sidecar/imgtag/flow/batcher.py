"""Single calls joined into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

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

    A batch leaves earlier when ``is_due`` says so of the number that wait.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        max_items: int,
        linger: float = 0.0,
        is_due: Callable[[int], bool] = lambda _waiting: False,
    ) -> None:
        self._run = run
        self._max_items = max_items
        self._linger = linger
        self._is_due = is_due
        self._waiting: list[_Waiting[Item, Answer]] = []
        self._arrived = asyncio.Event()
        self._line = asyncio.Lock()

    async def __call__(self, item: Item) -> Answer:
        """The answer to ``item``; raises what its batch raised."""
        mine: _Waiting[Item, Answer] = _Waiting(item)
        self._waiting.append(mine)
        self._arrived.set()
        async with self._line:
            while not mine.is_done:
                if self._linger:
                    with anyio.move_on_after(self._linger):
                        while len(self._waiting) < self._max_items and not self._is_due(len(self._waiting)):
                            self._arrived = asyncio.Event()
                            await self._arrived.wait()
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
        if mine.error is not None:
            raise mine.error
        return mine.answer  # type: ignore[return-value]
