"""Whether the sidecar lives (else it is to be restarted) and whether it is ready (else it waits for something)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from imgtag.errors import BucketAbsent, Disposition, ImgtagError, Unavailable


@dataclass(frozen=True)
class Report:
    """An answer: of each part, why it is not well, or an empty text."""

    parts: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether all parts are well."""
        return not any(self.parts.values())

    def __str__(self) -> str:
        return "; ".join(f"{name}: {reason}" for name, reason in self.parts.items() if reason) or "ok"


class Health:
    """What the parts of the sidecar say of themselves.

    Heartbeats tell whether it makes progress: a server that is down never stops them, it only
    makes a component not ready.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._components: dict[str, str] = {}
        self._beats: dict[str, float] = {}
        self._within: dict[str, float] = {}

    def component(self, name: str, reason: str = "not started") -> None:
        """Say that a component is not ready, and why; an empty reason says that it is."""
        self._components[name] = reason

    def up(self, name: str) -> None:
        """Say that a component is ready."""
        self.component(name, "")

    def calls(self, name: str) -> AbstractContextManager[None]:
        """Let a component's readiness follow what a call to it said.

        A bucket that is absent, a conflict or an object that is refused are answers: the component is up.
        """
        return _Call(self, name)

    def expect(self, name: str, *, within: float) -> None:
        """Wait for heartbeats of this name from now on, at most so many seconds apart."""
        self._within[name] = within
        self.beat(name)

    def forget(self, name: str) -> None:
        """Wait no longer for heartbeats of this name."""
        self._within.pop(name, None)
        self._beats.pop(name, None)

    def beat(self, name: str) -> None:
        """A heartbeat: there is progress, or nothing to do."""
        self._beats[name] = self._clock()

    def live(self) -> Report:
        """Whether every expected heartbeat came in time."""
        silences = {name: self._clock() - self._beats[name] for name in self._within}
        return Report(
            {
                name: f"no progress for {silence:.0f} seconds" if silence > self._within[name] else ""
                for name, silence in silences.items()
            }
        )

    def ready(self) -> Report:
        """Whether every component is ready."""
        return Report(dict(self._components) or {"service": "not started"})


class _Call:
    """One call to a component. A call that was cancelled says nothing of it."""

    def __init__(self, health: Health, name: str) -> None:
        self._health = health
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, BucketAbsent):
            self._health.up(self._name)
        elif isinstance(error, ImgtagError):
            down = isinstance(error, Unavailable) or error.disposition is Disposition.STOP
            self._health.component(self._name, error.message if down else "")
        elif isinstance(error, Exception):
            self._health.component(self._name, f"{type(error).__name__}: {error}")
