"""From deliveries to acknowledgements: concurrency, retry, dead letters, drain.

The only place that acts on an error's disposition. Nothing is acknowledged that is not done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
from anyio.abc import TaskGroup

from imgtag.errors import BucketAbsent, Disposition, EventError, ImgtagError, Unavailable
from imgtag.flow.backoff import Backoff, Breaker
from imgtag.flow.serial import Serial
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.source import Delivery, Source
from imgtag.reconcile import Poison, Reconciler, Result
from imgtag.stages.index import IndexUnavailable
from imgtag.stages.receive import Recent
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope

log = logging.getLogger(__name__)

_RESYNCING = 1_000
"""Keys of a resync that may wait for another try at once."""
_BUGS = 3
"""How often a key may meet an error that nobody foresaw before it is set aside."""
_LOOKS = 3
"""How often a key is looked at again where other sidecars work on it too."""
_BEAT = "pipeline"
_WATCH = 1.0
"""Seconds between two looks at whether there is anything to do."""
_STUCK = 300.0
"""Seconds without a key done, though some are in work, before the pipeline counts as stuck."""
_TIMED = frozenset({Result.LABELLED, Result.RELABELLED, Result.UNLABELLED})
"""Results whose time since the event is measured: others may be of an old event."""
_WORTH_A_LINE = frozenset({Result.LABELLED, Result.RELABELLED, Result.UNLABELLED, Result.REINDEXED, Result.DELETED})


@dataclass(frozen=True, kw_only=True)
class PipelineLimits:
    """Keys in work at once, pauses between tries, seconds that a stop may take."""

    concurrency: int = 6
    backoff: Backoff = field(default_factory=Backoff)
    drain: float = 25.0


class RetryLater(Exception):
    """This work is to be tried again after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self.delay = delay


@dataclass(kw_only=True)
class Pipeline:
    """Works off what a source delivers. ``own_write`` tells events of our own writes from the event alone;
    ``differences`` gives the hints of a resync.
    """

    source: Source
    reconcile: Reconciler
    differences: Callable[[Scope], AsyncIterator[Hint]]
    own_write: Callable[[Hint], bool]
    metrics: Metrics
    flow: PipelineLimits
    health: Health

    def __post_init__(self) -> None:
        self._slots = anyio.Semaphore(self.flow.concurrency, fast_acquire=True)
        self._serial = Serial()
        self._recent = Recent()
        self._breaker = Breaker(self.flow.backoff)
        self._bugs: dict[ObjectRef, int] = {}

    async def run(self, stop: anyio.Event) -> None:
        """Work until ``stop`` or until the source ends; then finish what is in flight, within the drain time.

        What is not finished by then goes back to the source.
        """
        self.health.expect(_BEAT, within=_STUCK)
        async with anyio.create_task_group() as work:
            async with anyio.create_task_group() as pulling:
                pulling.start_soon(self._pull, work, pulling)
                pulling.start_soon(self._watch)
                await stop.wait()
                pulling.cancel_scope.cancel("stop")
            work.cancel_scope.deadline = anyio.current_time() + self.flow.drain

    async def _pull(self, work: TaskGroup, pulling: TaskGroup) -> None:
        deliveries = self.source.deliveries()
        while True:
            await self._breaker.passable()
            await self._slots.acquire()
            try:
                delivery = await anext(deliveries)
            except BaseException as error:
                self._slots.release()
                if isinstance(error, StopAsyncIteration):
                    pulling.cancel_scope.cancel("the source has ended")
                    return
                raise
            if delivery.resync is not None:
                self._slots.release()
                work.start_soon(self._resync, delivery, delivery.resync)
            else:
                work.start_soon(self._deliver, delivery)

    async def _watch(self) -> None:
        """With nothing in work there is no progress to be expected."""
        while True:
            waiting = self._serial.waiting
            if not waiting:
                self.health.beat(_BEAT)
            self.metrics.queued(waiting)
            await anyio.sleep(_WATCH)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            async with self._answering(delivery):
                if delivery.problem is not None:
                    await self._bury_message(delivery.problem)
                for hint in delivery.hints:
                    await self._work(hint, delivery.attempt)
        finally:
            self._slots.release()

    @asynccontextmanager
    async def _answering(self, delivery: Delivery) -> AsyncIterator[None]:
        """Ack what went well, nak what is to come again, also when we are stopped in the middle."""
        try:
            async with self._kept(delivery):
                yield
        except BaseException as error:
            delay = _again(error)
            with anyio.CancelScope(shield=True):
                await delivery.nak(0.0 if delay is None else delay)
            if delay is None:
                raise
        else:
            with anyio.CancelScope(shield=True):
                await delivery.ack()

    @asynccontextmanager
    async def _kept(self, delivery: Delivery) -> AsyncIterator[None]:
        """Tell the source that we are still at it, where it asks for that."""
        wait = self.source.features.ack_wait
        if wait is None:
            yield
            return
        async with anyio.create_task_group() as keeping:
            keeping.start_soon(_extend, delivery, wait / 3)
            yield
            keeping.cancel_scope.cancel("answered")

    async def _resync(self, delivery: Delivery, scope: Scope) -> None:
        """Everything in ``scope``; each key is tried until it is done, then all of it is acknowledged."""
        log.info("resync begins", extra={"scope": str(scope)})
        waiting = anyio.Semaphore(_RESYNCING, fast_acquire=True)
        count = 0
        async with self._answering(delivery):
            try:
                async with anyio.create_task_group() as keys:
                    async for hint in self.differences(scope):
                        count += 1
                        await waiting.acquire()
                        keys.start_soon(self._insist, hint, waiting)
            except* Unavailable as errors:
                self._failed(_first(errors))
                raise RetryLater(self._later(_first(errors), str(scope), delivery.attempt)) from errors
        log.info("resync done", extra={"scope": str(scope), "keys": count})

    async def _insist(self, hint: Hint, waiting: anyio.Semaphore) -> None:
        attempt = 0
        try:
            while True:
                attempt += 1
                await self._breaker.passable()
                try:
                    async with self._slots:
                        return await self._work(hint, attempt)
                except RetryLater as again:
                    delay = again.delay
                await anyio.sleep(delay)
        finally:
            waiting.release()

    async def _work(self, hint: Hint, attempt: int) -> None:
        """One hint, until it is done. Raises Again."""
        if self._recent.knows(hint) or self.own_write(hint):
            self.metrics.object_done("answered")
            return
        await self._serial.run(hint.ref, lambda: self._traced(hint, attempt))

    async def _traced(self, hint: Hint, attempt: int) -> None:
        with self.metrics.traces.span("object", bucket=hint.ref.bucket, key=hint.ref.key, intent=hint.intent.value):
            await self._attempt(hint, attempt)

    async def _attempt(self, hint: Hint, attempt: int) -> None:
        try:
            await self._reconciled(hint)
            self._breaker.worked()
            self._recent.remember(hint)
        except Poison as poison:
            self.metrics.object_done(poison.problem.status or "failed")
            await self._bury(poison.ref, poison.problem.code, poison.problem.reason, attempt)
        except IndexUnavailable as error:
            await self._park(hint, error, attempt)
        except ImgtagError as error:
            await self._disposed(hint, error, attempt)
        except Exception as error:  # noqa: BLE001  (whatever it is, the other keys go on)
            await self._bug(hint, error, attempt)

    async def _reconciled(self, hint: Hint) -> None:
        result = await self.reconcile(hint)
        self._done(hint.ref, result)
        if hint.at is not None and result in _TIMED:
            self.metrics.latency(max(0.0, time.time() - hint.at))
        looks = _LOOKS if self.source.features.shared else 0
        while looks and result not in {Result.CURRENT, Result.ABSENT, Result.SKIPPED}:
            result = await self.reconcile(hint)
            looks -= 1

    def _done(self, ref: ObjectRef, result: Result) -> None:
        self.metrics.object_done(result.value)
        self.health.beat(_BEAT)
        level = logging.INFO if result in _WORTH_A_LINE else logging.DEBUG
        log.log(level, "object done", extra={"bucket": ref.bucket, "key": ref.key, "result": result.value})

    async def _park(self, hint: Hint, error: IndexUnavailable, attempt: int) -> None:
        """The index is down: where the source keeps hints durably, labelling goes on without it."""
        if not self.source.features.parks or hint.parked:
            await self._disposed(hint, error, attempt)
            return
        try:
            await self.source.publish([replace(hint, parked=True)])
        except Unavailable as down:
            await self._disposed(hint, down, attempt)

    async def _disposed(self, hint: Hint, error: ImgtagError, attempt: int) -> None:
        if error.disposition is Disposition.STOP:
            raise error
        if error.disposition is Disposition.DROP:
            await self._bury(hint.ref, error.code, error.message, attempt)
            return
        if isinstance(error, Unavailable) and not hint.parked:
            self._failed(error)  # what waits for the index only does not hold back what need not
        raise RetryLater(self._later(error, str(hint.ref), attempt)) from error

    def _failed(self, error: Unavailable) -> None:
        """A bucket that is not there holds back what is in it; anything else that does not answer, everything."""
        if not isinstance(error, BucketAbsent):
            self._breaker.failed()

    def _later(self, error: ImgtagError, what: str, attempt: int) -> float:
        self.health.beat(_BEAT)
        delay = self.flow.backoff.delay(attempt)
        self.metrics.retry(error.code)
        facts = {"what": what, "code": error.code, "reason": error.message, "attempt": attempt}
        log.warning("try again", extra={**facts, "in": round(delay, 1)})
        return delay

    async def _bug(self, hint: Hint, error: Exception, attempt: int) -> None:
        log.error("unexpected error", exc_info=error, extra={"bucket": hint.ref.bucket, "key": hint.ref.key})
        count = self._bugs.get(hint.ref, 0) + 1
        if count < _BUGS:
            self._bugs[hint.ref] = count
            raise RetryLater(self.flow.backoff.delay(attempt)) from error
        self._bugs.pop(hint.ref, None)
        await self._bury(hint.ref, "internal", f"{type(error).__name__}: {error}", attempt)

    async def _bury(self, ref: ObjectRef, code: str, reason: str, attempt: int) -> None:
        await self._put(DeadLetter(ref=ref, code=code, reason=reason, at=time.time()), attempt)

    async def _bury_message(self, problem: EventError) -> None:
        await self._put(
            DeadLetter(ref=None, code=problem.code, reason=problem.message, at=time.time(), payload=problem.payload), 1
        )

    async def _put(self, letter: DeadLetter, attempt: int) -> None:
        try:
            await self.source.dead.put(letter)
        except Unavailable as error:
            raise RetryLater(self._later(error, str(letter.ref), attempt)) from error
        self.metrics.dead_letter(letter.code)
        log.warning("dead letter", extra={"object": str(letter.ref), "code": letter.code, "reason": letter.reason})


async def _extend(delivery: Delivery, period: float) -> None:
    while True:
        await anyio.sleep(period)
        await delivery.extend()


def _again(error: BaseException) -> float | None:
    """The delay of an Again, however deep task groups have wrapped it; None for any other error."""
    if isinstance(error, RetryLater):
        return error.delay
    if isinstance(error, BaseExceptionGroup):
        inner = error.split(RetryLater)
        return _again(error.exceptions[0]) if inner[1] is None else None
    return None


def _first(group: BaseExceptionGroup[Unavailable]) -> Unavailable:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
