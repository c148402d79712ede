"""Threads for calls that block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class Threads:
    """So many threads at once, apart from everybody else's. A call is never abandoned: each has its time-outs."""

    def __init__(self, number: int) -> None:
        self._limiter = CapacityLimiter(number)

    async def run(
        self, work: Callable[Parameters, Answer], *args: Parameters.args, **named: Parameters.kwargs
    ) -> Answer:
        """Do the work in one of them."""
        call: Callable[[], Any] = partial(work, *args, **named)
        answer: Answer = await to_thread.run_sync(call, limiter=self._limiter)
        return answer
