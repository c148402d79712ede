"""A backfill that all sidecars of a site work off: one process publishes objects, each sidecar takes some when idle."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from imgtag.engine import JobParts
from imgtag.errors import ImgtagError
from imgtag.flow.backoff import Backoff
from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.governor import Caps, Governor
from imgtag.jobs.backfill import Backfill, Progress, Targets, classify_outcome
from imgtag.jobs.neighbour import FullSpeed, govern
from imgtag.pipeline import RetryLater
from imgtag.plugin.backfills import BackfillDelivery, BackfillPublication, Backfills, SharedBackfill
from imgtag.reconcile import Outcome
from imgtag.types.event import Hint, Intent
from imgtag.types.result import COUNTS, Result

PART = 100
"""Objects that are published at once."""
LOOK_PERIOD, IDLE_PERIOD = 2.0, 5.0
"""Seconds between two looks at which backfills there are and how far they are; the second while there is none."""
TICK = 0.05
"""Seconds between two looks at whether live work has ended."""
MAX_IN_HAND, MAX_BATCH = 16, 8
"""Objects that a sidecar has at once, which are all that an upload waits for, and objects that it takes at once."""
PATIENCE = 60.0
"""Seconds for which an empty backfill is attended, whose publisher may be slow, before the governor is given up."""
REMEMBERED = 86_400.0
"""Seconds after which a backfill that is done is forgotten, where nobody waited for it."""
PACE_WINDOW = 60.0
"""Seconds over which the rate is measured."""
UNKNOWN = Backoff(first=LOOK_PERIOD, maximum=60.0)
MAX_SILENT_FAILURES = 3
"""Failed looks in a row before one is logged: a connection that comes back soon is no news."""

log = logging.getLogger(__name__)


def limits_to_json(caps: Caps, *, full_speed: bool) -> dict[str, Any]:
    """Limits for each sidecar, as a part of the description of a backfill."""
    hours = str(caps.hours) if caps.hours else None
    fields = {"concurrency": caps.concurrency, "objects": caps.objects, "bytes": caps.bytes, "hours": hours}
    return {"caps": fields, "full_speed": full_speed}


def caps_of(backfill: SharedBackfill) -> Caps:
    """The limits for one sidecar; the hours are those of this machine's clock."""
    fields: Any = backfill.description.get("caps")
    try:
        hours = DailyHours.parse(fields["hours"]) if fields["hours"] else None
        return Caps(**{**fields, "hours": hours, "concurrency": min(MAX_IN_HAND, fields["concurrency"])})
    except (TypeError, ValueError, KeyError):  # of another release
        return Caps(concurrency=MAX_IN_HAND)


def progress_of(backfill: SharedBackfill) -> Progress:
    """What was done so far, whoever did it."""
    progress = Progress(seconds=max(0.0, backfill.changed - backfill.started))
    for name, count in backfill.counts.items():
        group, colon, detail = name.partition(":")
        if not hasattr(progress, group):
            continue  # of a newer release
        if colon:
            getattr(progress, group)[detail] = count
        else:
            setattr(progress, group, count)
    return progress


def count_done(counts: Mapping[str, int]) -> int:
    """How many objects are done."""
    return sum(counts.get(name, 0) for name in COUNTS)


@dataclass
class Pace:
    """How fast a backfill goes, from what was seen of it in the last minute."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def measure(self, backfill: SharedBackfill) -> float:
        """Objects a second now; over all of its time where it was not seen before."""
        done, now = count_done(backfill.counts), time.time()
        self._samples.append((now, done))
        while len(self._samples) > 2 and now - self._samples[0][0] > PACE_WINDOW:
            self._samples.popleft()
        since, before = self._samples[0] if len(self._samples) > 1 else (backfill.started, 0)
        return max(0, done - before) / max(1e-3, now - since)


def summarise(backfill: SharedBackfill, rate: float) -> dict[str, Any]:
    """How far it is, as JSON. ``eta``: seconds, where that is known."""
    progress, done = progress_of(backfill), count_done(backfill.counts)
    total = progress.listed if backfill.is_published else backfill.description.get("total")
    left = None if total is None else max(0, total - done)
    return {
        "id": backfill.id,
        "scopes": list(map(str, backfill.description.get("scopes", ()))),
        "published": backfill.is_published,
        "total": total,
        **progress.as_dict(),
        "left": backfill.left,
        "rate": round(rate, 1),
        "eta": round(left / rate) if left is not None and rate > 0 else None,
    }


@dataclass(kw_only=True)
class Publisher:
    """Publishes the objects that a backfill is to work on, in order, page by page.

    ``backfill`` chooses them, from the listing and the index alone.
    """

    backfill: Backfill
    publication: BackfillPublication

    async def run(self, lists: Sequence[Targets]) -> bool:
        """Publish from the position on. False where another process does, or it was dropped. Raises ImgtagError."""
        async with self.backfill.open_pages(lists, self.publication.position) as pages:
            async for page in pages:
                hints: list[Hint] = []
                counts: Counter[str] = Counter()
                for position, listed, document in page:
                    counts["listed"] += 1
                    intent = self.backfill.choose(listed, document)
                    if isinstance(intent, Intent):
                        hints.append(Hint(ref=listed.ref, intent=intent, size=listed.size))
                    else:
                        counts.update(("skipped", f"skipped_as:{intent}"))
                    if len(hints) == PART or position == page[-1][0]:
                        if not await self.publication.publish(hints, position, counts):
                            return False
                        hints, counts = [], Counter()
        return await self.publication.complete()


@dataclass(kw_only=True)
class BackfillWorker:
    """Works off the distributed backfills of a site, while its sidecar has nothing else to do.

    ``drain`` is the number of seconds that a stop may take.
    """

    parts: JobParts
    backfills: Backfills
    drain: float

    def __post_init__(self) -> None:
        self._known: Sequence[SharedBackfill] = ()
        self._looked = anyio.Event()
        """Set by the next look at which backfills there are."""
        self._in_hand: dict[int, BackfillDelivery] = {}
        self._waiting: set[anyio.CancelScope] = set()
        """Of what is in hand and not begun."""

    async def run(self, stop: anyio.Event) -> None:
        """Work until ``stop``; then finish what is begun, within the drain time, and give back the rest."""
        async with anyio.create_task_group() as beside:
            beside.start_soon(self._look_forever)
            beside.start_soon(self._keep_deliveries)
            async with anyio.create_task_group() as work:
                async with anyio.create_task_group() as pulling:
                    pulling.start_soon(self._work_forever, work)
                    await stop.wait()
                    pulling.cancel_scope.cancel("stop")
                for scope in tuple(self._waiting):
                    scope.cancel("stop")
                work.cancel_scope.deadline = anyio.current_time() + self.drain
            beside.cancel_scope.cancel("drained")

    async def _look_forever(self) -> None:
        """Know which backfills there are, show them, and forget those that have long been done."""
        paces: dict[tuple[str, float], Pace] = {}
        failures = 0
        while True:
            try:
                self._known = await self.backfills.list()
                self._looked.set()
                self._looked = anyio.Event()
                for backfill in self._known:
                    if backfill.is_done and time.time() - backfill.changed > REMEMBERED:
                        await self.backfills.drop(backfill.id)
            except ImgtagError as error:
                failures += 1
                if failures == MAX_SILENT_FAILURES and not self.parts.source.trouble:
                    facts = {"reason": error.message, "hint": error.hint}
                    log.warning("backfills_unavailable", extra=facts)
                await anyio.sleep(UNKNOWN.delay(failures))
                continue
            failures = 0
            keys = [(backfill.id, backfill.started) for backfill in self._known]
            paces = {key: paces.get(key) or Pace() for key in keys}
            summaries = [
                summarise(backfill, paces[key].measure(backfill))
                for key, backfill in zip(keys, self._known, strict=True)
            ]
            self.parts.metrics.show_backfills(summaries)
            is_idle = all(backfill.is_done for backfill in self._known)
            await anyio.sleep(IDLE_PERIOD if is_idle else LOOK_PERIOD)

    async def _work_forever(self, work: TaskGroup) -> None:
        """Work on one backfill after the other."""
        while True:
            backfill = next((backfill for backfill in self._known if backfill.left and _is_open(backfill)), None)
            if backfill is None:
                await self._looked.wait()
                continue
            log.info("backfill_joined", extra={"backfill": backfill.id, "scopes": backfill.description.get("scopes")})
            async with self._open_gate(backfill) as gate:
                await self._work_off(backfill.id, gate, work)

    def _open_gate(self, backfill: SharedBackfill) -> AbstractAsyncContextManager[Governor | FullSpeed]:
        caps = caps_of(backfill)
        if backfill.description.get("full_speed"):
            return nullcontext(FullSpeed(caps.concurrency))
        return govern(self.parts, caps)

    async def _work_off(self, id_: str, gate: Governor | FullSpeed, work: TaskGroup) -> None:
        """Take objects while nothing live is in work, until the backfill has none, is dropped, or its hours end."""
        taken_at = anyio.current_time()
        while self._in_hand or self._is_worthwhile(id_, taken_at):
            room = min(MAX_BATCH, gate.slots - len(self._in_hand))
            deliveries: Sequence[BackfillDelivery] = ()
            if room > 0 and self.parts.pipeline.is_idle and self._is_worthwhile(id_, taken_at):
                try:
                    deliveries = await self.backfills.take(id_, room)
                except ImgtagError as error:
                    log.debug("backfill_not_taken", extra={"backfill": id_, "reason": error.message})
                    await anyio.sleep(LOOK_PERIOD)
            for delivery in deliveries:
                taken_at = anyio.current_time()
                self._in_hand[id(delivery)] = delivery
                work.start_soon(self._handle, delivery, gate)
            if not deliveries:
                await anyio.sleep(TICK)

    def _is_worthwhile(self, id_: str, taken_at: float) -> bool:
        """Whether something may come of it soon, and nothing waits elsewhere if not."""
        backfill = next((backfill for backfill in self._known if backfill.id == id_), None)
        if backfill is None or not _is_open(backfill):
            return False
        if backfill.left:
            return True
        others = any(other.left and _is_open(other) for other in self._known)
        return not (backfill.is_published or others) and anyio.current_time() - taken_at < PATIENCE

    async def _handle(self, delivery: BackfillDelivery, gate: Governor | FullSpeed) -> None:
        """Wait for a place, work on one object, count it; or give it back."""
        try:
            async with AsyncExitStack() as place:
                with anyio.CancelScope() as waiting:
                    self._waiting.add(waiting)
                    try:
                        await place.enter_async_context(gate.admit(max(0, delivery.hint.size or 0)))
                    finally:
                        self._waiting.discard(waiting)
                if waiting.cancelled_caught:
                    raise RetryLater(0.0)
                outcome = await self.parts.pipeline.process_once(delivery.hint, delivery.attempt)
            counts = _counts(outcome, delivery)
            await delivery.finish(counts)
            self.parts.metrics.backfill_objects.labels(next(name for name in COUNTS if name in counts)).inc()
        except RetryLater as later:
            await delivery.nak(later.delay)
        except ImgtagError as error:
            # It is done, and could not be counted: it comes again, and is counted then.
            log.debug("backfill_not_counted", extra={"object": str(delivery.hint.ref), "reason": error.message})
            await delivery.nak(LOOK_PERIOD)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await delivery.nak(0.0)
            raise
        finally:
            del self._in_hand[id(delivery)]

    async def _keep_deliveries(self) -> None:
        """Tell the source in time that objects are still in work."""
        wait = self.parts.source.features.ack_wait
        while wait is not None:
            await anyio.sleep(wait / 3)
            for delivery in tuple(self._in_hand.values()):
                await delivery.extend()


def _is_open(backfill: SharedBackfill) -> bool:
    """Whether it is within its hours."""
    hours = caps_of(backfill).hours
    return hours is None or hours.next_start(time.time()) is None


def _counts(outcome: Outcome, delivery: BackfillDelivery) -> Mapping[str, int]:
    """What one object adds to the counts."""
    count, not_written, unfinished = classify_outcome(outcome)
    if outcome.result in {Result.CURRENT, Result.REINDEXED} and delivery.attempt > 1:
        count = "labelled"  # by the attempt that no answer came of
    counts = {count: 1, "bytes": max(0, delivery.hint.size or 0)}
    if count == "skipped":
        counts[f"skipped_as:{outcome.result.value}"] = 1
    if not_written:
        counts[f"not_written:{not_written}"] = 1
    return {**counts, "unfinished": 1} if unfinished else counts
