"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass

import anyio


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Doubles from ``first`` to ``most`` seconds, with jitter, so that many do not come back at once."""

    first: float = 1.0
    most: float = 300.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait behind the ``attempt``-th failure (1 for the first)."""
        longest = min(self.most, self.first * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


class Breaker:
    """Holds work back while something that everything depends on does not answer."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._until = 0.0

    def failed(self) -> None:
        """Something did not answer. Failures within one pause count once."""
        now = anyio.current_time()
        if now >= self._until:
            self._failures += 1
            self._until = now + self._backoff.delay(self._failures)

    def worked(self) -> None:
        """Something was done from end to end."""
        self._failures, self._until = 0, 0.0

    async def passable(self) -> None:
        """Wait until trying makes sense again."""
        while (pause := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110  (the moment moves meanwhile)
            await anyio.sleep(pause)
