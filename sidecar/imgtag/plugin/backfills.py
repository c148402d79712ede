"""Distributed backfills: lists of objects that all sidecars of a source work off together. Optional for a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from imgtag.plugin.source import Source
from imgtag.types.event import Hint


@dataclass(frozen=True, kw_only=True)
class SharedBackfill:
    """A distributed backfill as every sidecar sees it.

    ``description`` is what `Backfills.begin` was given. ``started`` and ``changed`` are in seconds since 1970: when it
    began, and when something was published or counted last. ``is_published``: no hints follow. ``left`` counts hints
    that are published and not finished. ``counts`` are the sums of what was counted, whoever counted it.
    """

    id: str
    description: Mapping[str, Any]
    started: float
    changed: float
    is_published: bool
    left: int
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether everything was published and finished; ``counts`` are complete then."""
        return self.is_published and not self.left


class BackfillDelivery(Protocol):
    """One hint of a distributed backfill. It comes again unless ``finish`` ends it; ``attempt`` is 1 at first."""

    hint: Hint
    attempt: int

    async def finish(self, counts: Mapping[str, int]) -> None:
        """Done: it never comes again, and ``counts`` are added to those of the backfill, durably on return.

        A hint counts once, however often it is delivered, and also where a killed process had counted it without the
        source knowing that it was done. May be called again after it has failed. Raises Unavailable.
        """
        ...

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds, to any sidecar."""
        ...

    async def extend(self) -> None:
        """Still at it: do not give it to anybody else yet."""
        ...


class BackfillPublication(Protocol):
    """The right to publish the hints of a backfill. The process that began or joined it last has it."""

    @property
    def position(self) -> str:
        """How far the backfill is published; empty at the beginning."""
        ...

    @property
    def trouble(self) -> str:
        """What ``publish`` waits for at the moment; empty while it waits for nothing."""
        ...

    async def publish(self, hints: Sequence[Hint], position: str, counts: Mapping[str, int]) -> bool:
        """Publish hints, add to the counts, and keep ``position``; all of that or nothing, also for a killed process.

        At most a hundred hints. While there is no room, or no answer, it waits. False, and nothing is published, where
        another process has the right now, or the backfill was dropped.
        """
        ...

    async def complete(self) -> bool:
        """No hints follow. False as in ``publish``."""
        ...


class Backfills(Protocol):
    """The distributed backfills of a source, in a bounded queue of their own that live hints never wait behind."""

    async def list(self) -> Sequence[SharedBackfill]:
        """All that were begun and not dropped, the oldest first. Raises Unavailable."""
        ...

    async def begin(self, id_: str, description: Mapping[str, Any]) -> BackfillPublication:
        """Begin a backfill, or go on with the one of this id that is not done, from its position.

        ``id_``: lower-case letters and digits. ``description``: JSON, kept with it. It does not wait for room: what a
        killed process published in part, the next ``publish`` or ``complete`` publishes to its end. Raises
        Unavailable.
        """
        ...

    async def take(self, id_: str, count: int) -> Sequence[BackfillDelivery]:
        """Up to ``count`` hints that wait, soon; none while live hints wait at the source. Raises Unavailable."""
        ...

    async def drop(self, id_: str) -> bool:
        """Remove a backfill with the hints that wait; False where there is none. Raises Unavailable."""
        ...


class BackfillSource(Source, Protocol):
    """A source that can distribute backfills: it has ``backfills`` beside what every source has."""

    backfills: Backfills
