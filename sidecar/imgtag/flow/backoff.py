"""How long to wait before trying again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Doubles from ``first`` to ``most`` seconds, with jitter, so that many do not come back at once."""

    first: float = 1.0
    most: float = 300.0

    def delay(self, attempt: int) -> float:
        """Seconds to wait behind the ``attempt``-th failure (1 for the first)."""
        longest = min(self.most, self.first * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
