"""Who is given the messages of a site: this process alone, or others as well.

The server counts what a consumer delivers, and each message carries that count. By as much as it exceeds the count of
the messages that arrived here, it counts messages of others, or messages that are still on their way here. Why that
is enough: docs/design/20261127-exclusive-deliveries.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import anyio

from imgtag.errors import Unavailable
from imgtag.flow.batcher import Batcher

MAX_ASKERS = 1000
LINGER = 0.02
"""Seconds in which questions gather that one look at the consumers answers."""
ARRIVAL = 0.02
"""Seconds in which a message arrives here that the server has counted already."""

ConsumerInfo: TypeAlias = Mapping[str, Any]
"""A consumer as the server describes it."""


class Tally:
    """What one consumer delivered to others, counted from a moment when nothing was on its way here.

    ``others`` is exact for some moment in the past, so it is never too large. Messages before the first moment count
    as those of others.
    """

    def __init__(self, info: ConsumerInfo) -> None:
        self.others = self._last = _delivered(info)
        self._received = 0
        self._life = _life(info)

    def count(self, sequence: int) -> bool:
        """A message arrived, the ``sequence``-th of the consumer. False where the server has begun to count again."""
        is_later = sequence > self._last
        self._received += 1
        self._last = sequence
        self.others = sequence - self._received
        return is_later

    def is_exact(self, info: ConsumerInfo, *, at_rest: bool) -> bool:
        """Whether ``others`` is still right. ``at_rest``: nothing was on its way here when ``info`` was asked for."""
        # Otherwise messages may have arrived that the server delivered after it described the consumer.
        delivered = _delivered(info) if at_rest else max(_delivered(info), self._last)
        return self._life == _life(info) and delivered - self._received == self.others


class Audience:
    """Knows whether others were given anything by the consumers of a site since some moment."""

    def __init__(
        self, durables: Collection[str], read_consumer: Callable[[str], Awaitable[ConsumerInfo | None]]
    ) -> None:
        self._durables = durables
        self._read_consumer = read_consumer
        self._tallies: dict[str, Tally] = {}
        self._changes = 0
        """Grows when others turn out to have been given something, and when nothing is certain any more."""
        self._ask = Batcher(self._compare, MAX_ASKERS, LINGER)

    def compare_at_rest(self, durable: str, info: ConsumerInfo) -> None:
        """No pull of ours was open when ``info`` was asked for, and none has been opened since."""
        tally = self._tallies.get(durable)
        if tally is None or not tally.is_exact(info, at_rest=True):
            self._tallies[durable] = Tally(info)
            self._changes += 1

    def is_counting(self, durable: str) -> bool:
        """Whether the messages of this consumer are counted."""
        return durable in self._tallies

    def count(self, durable: str, sequence: int) -> int:
        """A message arrived, the ``sequence``-th of its consumer; the moment for `is_alone_since`."""
        tally = self._tallies.get(durable)
        if tally is not None:
            others = tally.others
            if not tally.count(sequence):
                self.forget(durable)
            elif others != tally.others:
                self._changes += 1
        return self._changes

    def forget(self, durable: str) -> None:
        """What is delivered from now on may not arrive."""
        self._tallies.pop(durable, None)
        self._changes += 1

    async def is_alone_since(self, moment: int) -> bool:
        """Whether nobody else was given anything since. False where that is not certain."""
        return moment == self._changes and await self._ask(moment)

    async def _compare(self, moments: Sequence[int]) -> Sequence[bool]:
        is_exact = await self._is_exact()
        if not is_exact:
            await anyio.sleep(ARRIVAL)
            is_exact = await self._is_exact()
        return [is_exact and moment == self._changes for moment in moments]

    async def _is_exact(self) -> bool:
        try:
            infos = await asyncio.gather(*map(self._read_consumer, self._durables))
        except Unavailable:
            return False
        tallies = map(self._tallies.get, self._durables)
        return all(
            tally is not None and info is not None and tally.is_exact(info, at_rest=False)
            for tally, info in zip(tallies, infos, strict=True)
        )


def _delivered(info: ConsumerInfo) -> int:
    return int(info["delivered"]["consumer_seq"])


def _life(info: ConsumerInfo) -> tuple[object, ...]:
    """What changes where a consumer is created again, or another server of a cluster goes on with it."""
    cluster = info.get("cluster") or {}
    return info.get("created"), cluster.get("leader"), cluster.get("leader_since")
