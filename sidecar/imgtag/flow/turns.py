"""Share what is scarce between uploaders, so that one who sends what is slow waits for itself and not the others."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

import anyio

HALF_LIFE = 60.0
"""Seconds after which half of what an owner used is forgotten."""
MAX_OWNERS = 10_000
"""Owners whose use is remembered."""
SHARE = 2
"""One owner may hold so many times as many places as are free: two thirds where nobody else holds any."""
LAST_WAIT = 1.0
"""Seconds after which one of those that let everybody else go first has a turn all the same."""
LAST_PAUSE = 9
"""The turns after that one are for the others for so many times as long as it took: it costs a tenth of a thing."""
MAX_HELD = 1.5
"""Seconds in which the places that an owner holds should come free; else it is slow."""


class Turns:
    """A number of equal things to use, given to the owner that used them least lately; to one owner in order.

    ``charge`` says what a use cost, in seconds; ``charge_last`` does so for a turn of `take_last`, of which there is
    one at a time while owners wait.
    """

    def __init__(self, free: int = 0) -> None:
        self._free = free
        self._lines: dict[str, deque[asyncio.Event]] = {}
        self._last: deque[tuple[asyncio.Event, float]] = deque()
        """Those that let the other lines go first, and since when."""
        self._last_held = 0
        self._last_from = 0.0
        """When one of them may go before the other lines again."""
        self._used: dict[str, tuple[float, float]] = {}
        """Seconds used, and when that was counted; the owner charged longest ago first."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._lines.values())) + len(self._last)

    async def take(self, owner: str) -> None:
        """Wait for a turn; `give` ends it."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.Event()
        self._lines.setdefault(owner, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.give()  # it came while the wait was cancelled
            else:
                self._leave(owner, turn)
            raise

    async def take_last(self) -> None:
        """Wait for a turn that no owner waits for, or for one of the few that are let in between; `give` ends it."""
        if self._free:
            self._free -= 1
            self._last_held += 1
            return
        turn = asyncio.Event(), monotonic()
        self._last.append(turn)
        try:
            await turn[0].wait()
        except BaseException:
            if turn[0].is_set():
                self.charge_last(0.0)
                self.give()
            else:
                self._last.remove(turn)
            raise

    def give(self) -> None:
        """Let the next one have its turn."""
        if self._last and (not self._lines or self._is_due()):
            self._last_held += 1
            self._last.popleft()[0].set()
        elif self._lines:
            owner = min(self._lines, key=self._seconds_used)
            turn = self._lines[owner][0]
            self._leave(owner, turn)
            turn.set()
        else:
            self._free += 1

    def charge(self, owner: str, seconds: float) -> None:
        """Count what a turn of this owner cost."""
        used = self._seconds_used(owner) + seconds
        self._used.pop(owner, None)
        self._used[owner] = used, monotonic()
        if len(self._used) > MAX_OWNERS:
            del self._used[next(iter(self._used))]

    def charge_last(self, seconds: float) -> None:
        """Count what a turn of `take_last` cost, before `give` ends it."""
        self._last_held -= 1
        self._last_from = monotonic() + LAST_PAUSE * seconds

    def _is_due(self) -> bool:
        """Whether the first of those that let others go first has waited for so long that it goes before them."""
        now, (_, since) = monotonic(), self._last[0]
        return not self._last_held and now >= max(self._last_from, since + LAST_WAIT)

    def _leave(self, owner: str, turn: asyncio.Event) -> None:
        line = self._lines[owner]
        line.remove(turn)
        if not line:
            del self._lines[owner]

    def _seconds_used(self, owner: str) -> float:
        used, at = self._used.get(owner, (0.0, 0.0))
        return used * 0.5 ** ((monotonic() - at) / HALF_LIFE) if used else 0.0


class Places:
    """Places for work, of which some stay free for owners that hold few.

    One owner may hold `SHARE` times as many as are free, as switches divide their buffers ("dynamic threshold").
    """

    def __init__(self, total: int) -> None:
        self._free = total
        self._held: dict[str, deque[float]] = {}
        """When the places that each owner holds were taken; of places given back, the earliest is forgotten."""
        self._given: asyncio.Event | None = None
        """Set when a place is given back; there is one only while somebody waits."""

    async def wait_until_free(self) -> None:
        """Wait until an owner that holds none could take one."""
        while not self._free:
            await self._wait_for_one()

    async def take_soon(self, owner: str) -> bool:
        """Take a place, unless the owner holds its share and is slow to give places back."""
        while not self.try_to_take(owner):
            if (left := MAX_HELD - self.age(owner)) <= 0:
                return False
            with anyio.move_on_after(left):
                await self._wait_for_one()
        return True

    def try_to_take(self, owner: str) -> bool:
        """Take a place if there is one now."""
        if len(self._held.get(owner, ())) >= SHARE * self._free:
            return False
        self._free -= 1
        self._held.setdefault(owner, deque()).append(monotonic())
        return True

    def give(self, owner: str) -> None:
        """Give a place back."""
        held = self._held[owner]
        held.popleft()
        if not held:
            del self._held[owner]
        self._free += 1
        if self._given is not None:
            self._given.set()
            self._given = None

    def age(self, owner: str) -> float:
        """About the seconds in which all places of the owner come free, once it has been at its share for a while."""
        held = self._held.get(owner)
        return monotonic() - held[0] if held else 0.0

    async def _wait_for_one(self) -> None:
        """Wait until a place is given back, which somebody else may take."""
        self._given = self._given or asyncio.Event()
        await self._given.wait()
