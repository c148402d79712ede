"""How long to wait before trying again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from imgtag.errors import BucketAbsent, Unavailable

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Doubles from ``first`` to ``maximum`` seconds, with jitter, so that many do not come back at once."""

    first: float = 1.0
    maximum: float = 300.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the ``attempt``-th failure (1 for the first)."""
        full = min(self.maximum, self.first * 2.0 ** min(attempt - 1, 30))  # 2.0 ** 1024 would overflow
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


async def until_answered(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """The answer of a server; while it does not answer, it is waited for. Raises BucketAbsent at once."""
    failures, backoff = 0, Backoff()
    while True:
        try:
            return await ask()
        except BucketAbsent:
            raise
        except Unavailable:
            failures += 1
            await anyio.sleep(backoff.delay(failures))
