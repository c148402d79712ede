"""Failures on request, and a log of the calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel

ANY = ""
"""Any call, whatever its name."""

Act: TypeAlias = Callable[[], Any]
"""What is done at a moment: it may act as a user, wait (if it is async) or raise."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a plugin's method, with the object or scope that it concerned."""

    name: str
    about: object = None


@dataclass(slots=True, eq=False)
class _Plan:
    moment: str
    act: Act
    left: int | None

    def take(self, moment: str, *, call: bool) -> bool:
        """Whether it happens now; counts down."""
        if self.left == 0 or not (self.moment == moment or (call and self.moment == ANY)):
            return False
        self.left = None if self.left is None else self.left - 1
        return True


class Faults:
    """Failures, races and delays of one plugin in memory, and the log of its calls.

    ``latency`` is in seconds, before each call. Moments are the names of the calls (``rewrite``, ``apply``) and of
    points within them that the plugin names.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.calls: list[Call] = []
        self._plans: list[_Plan] = []

    def when(self, moment: str, act: Act, *, times: int | None = 1) -> None:
        """Do ``act`` the next ``times`` times that this moment comes; None: each time, until ``mend``."""
        self._plans.append(_Plan(moment, act, times))

    def fail(self, error: Exception, *, on: str = ANY, times: int | None = 1) -> None:
        """Raise ``error`` in the next ``times`` calls, or in those named ``on``. None: until ``mend``."""

        def act() -> None:
            raise error

        self.when(on, act, times=times)

    def mend(self) -> None:
        """End all failures."""
        self._plans.clear()

    def count(self, name: str) -> int:
        """How often a method was called, including failed calls."""
        return sum(call.name == name for call in self.calls)

    async def meet(self, name: str, about: object = None) -> None:
        """Begin a call: log it, wait for the latency, and do what was planned for it."""
        self.calls.append(Call(name, about))
        await (anyio.sleep(self.latency) if self.latency else anyio.lowlevel.checkpoint())
        await self._act(name, call=True)

    async def reach(self, moment: str) -> None:
        """Reach a point within a call. No other task runs meanwhile unless an act waits."""
        await self._act(moment, call=False)

    async def _act(self, moment: str, *, call: bool) -> None:
        for plan in list(self._plans):
            if plan.take(moment, call=call):
                outcome = plan.act()
                if isawaitable(outcome):
                    await outcome
