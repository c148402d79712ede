"""From deliveries to acknowledgements: concurrency, retry, dead letters, drain.

The only place that acts on an error's disposition. Nothing is acknowledged that is not done.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from imgtag.errors import BucketAbsent, Disposition, ImgtagError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.breaker import Breaker
from imgtag.flow.serial import Serial
from imgtag.flow.turns import Places
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.source import Delivery, Source
from imgtag.reconcile import Outcome, Poison, Reconciler
from imgtag.stages.index import IndexUnavailable
from imgtag.stages.receive import Recent, event_of, is_upload
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.document import Problem
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.result import Result

log = logging.getLogger(__name__)

MAX_RESYNC_PENDING = 1_000
"""Keys of a resync that may wait for another try at once."""
MAX_RESYNC_TRIES = 7
"""Tries of a key within its resync, which take about a minute."""
MAX_UNEXPECTED = 3
"""Unforeseen errors on one key before it is set aside."""
MAX_REPEATED_LOOKS = 3
"""Further looks at a key that other sidecars may work on too."""
ROOM = 8
"""Deliveries that may wait in memory for a place, for each place, while their uploaders are slow."""
MAX_DEFERRAL = 30.0
"""Seconds, at most, until a deferred delivery comes again."""
HEARTBEAT = "pipeline"
WATCH_PERIOD = 1.0
"""Seconds between two looks at whether there is anything to do."""
MAX_SILENCE = 300.0
"""Seconds without a key done, though some are in work, before the pipeline counts as stuck."""
_TIMED = frozenset({Result.LABELLED, Result.RELABELLED, Result.UNLABELLED})
"""Results whose time since the event is measured: others may stem from an old event."""
_SETTLED = frozenset({Result.CURRENT, Result.ABSENT, Result.SKIPPED})
"""Results of a look that changed nothing."""
_LOGGED = frozenset({*_TIMED, Result.REINDEXED, Result.DELETED})


@dataclass(frozen=True, kw_only=True)
class PipelineLimits:
    """Keys in work at once, pauses between tries, seconds that a stop may take."""

    concurrency: int
    drain: float
    backoff: Backoff = field(default_factory=Backoff)


class RetryLater(Exception):
    """Try this work again after ``delay`` seconds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay


@dataclass(kw_only=True)
class Pipeline:
    """Works off what a source delivers. ``is_own_write`` recognises events of our own writes from the event alone;
    ``take_unconfirmed`` gives the objects on which we wrote and of which no such event came; ``find_differences``
    gives the hints of a resync.
    """

    source: Source
    reconcile: Reconciler
    find_differences: Callable[[Scope], AsyncIterator[Hint]]
    is_own_write: Callable[[Hint], bool]
    take_unconfirmed: Callable[[], Sequence[ObjectRef]]
    metrics: Metrics
    limits: PipelineLimits
    health: Health
    is_job: bool = False
    """Whether it works off a list beside a sidecar, which gets the events: then other processes may always touch the
    same keys, nothing is left for later, and what waiting cannot mend ends the job."""

    def __post_init__(self) -> None:
        self._places = Places(self.limits.concurrency)
        self._room = Places(ROOM * self.limits.concurrency)
        # Of its own: the pull holds a slot while it waits for the next delivery, which may be the only one.
        self._resync_slots = anyio.Semaphore(self.limits.concurrency, fast_acquire=True)
        self._serial = Serial()
        self._recent = Recent()
        self._breaker = Breaker(self.limits.backoff)
        self._in_work: dict[int, Delivery] = {}
        self._copies: dict[Hashable, list[Delivery]] = {}
        """Of each event that waits or is in work: further deliveries of it, which are answered with the first."""
        self._waiting: dict[str, deque[Delivery]] = {}
        """Deliveries that wait for a place, by uploader."""
        self._unexpected: dict[ObjectRef, int] = {}
        self._given_back: set[ObjectRef] = set()
        """Keys of resyncs whose own hints this process is to get and has not done."""
        self._dropped_letters: int = getattr(self.source.dead, "dropped", 0)

    async def run(self, stop: anyio.Event) -> None:
        """Work until ``stop`` or until the source ends; then finish what is in flight, within the drain time.

        What is not finished by then goes back to the source.
        """
        self.health.expect(HEARTBEAT, within=MAX_SILENCE)
        async with anyio.create_task_group() as keeping:
            keeping.start_soon(self._keep_deliveries)
            async with anyio.create_task_group() as work:
                try:
                    async with anyio.create_task_group() as pulling:
                        pulling.start_soon(self._pull, work, pulling)
                        pulling.start_soon(self._watch_queue, work)
                        await stop.wait()
                        pulling.cancel_scope.cancel("stop")
                finally:
                    work.cancel_scope.deadline = anyio.current_time() + self.limits.drain
                    await self._give_back_waiting()
            keeping.cancel_scope.cancel("drained")

    async def _pull(self, work: TaskGroup, pulling: TaskGroup) -> None:
        deliveries = self.source.deliveries()
        while True:
            await self._breaker.wait_until_closed()
            # A place before a delivery: what waits unfetched at the source can be taken by another sidecar.
            await self._places.wait_until_free()
            try:
                delivery = await anext(deliveries)
            except StopAsyncIteration:
                pulling.cancel_scope.cancel("the source has ended")
                return
            if delivery.resync is not None:
                # A resync takes a slot for each of its keys, not one for all the time that it lasts.
                work.start_soon(self._resync, delivery, delivery.resync)
                continue
            # Most events are those of our own writes, or come a second time on the other lane: they need no place.
            if len(delivery.hints) == 1 and delivery.problem is None and self._is_answered(delivery.hints[0]):
                self._given_back.discard(delivery.hints[0].ref)
                await delivery.ack()
                continue
            event = _event_of(delivery)
            if event in self._copies:
                self._in_work[id(delivery)] = delivery
                self._copies[event].append(delivery)
                continue
            # Parked hints do not wait for workers, so they have places of their own.
            has_uploader = delivery.hints and not delivery.hints[0].parked
            uploader = delivery.hints[0].ref.uploader if has_uploader else ""
            has_place = self._places.try_to_take(uploader)
            if not has_place:
                async with _Holding(self._in_work, delivery):
                    has_place = await self._places.take_soon(uploader)
            if event is not None:
                self._copies[event] = []
            if has_place:
                work.start_soon(self._handle, work, delivery, uploader)
            elif self._room.try_to_take(uploader):
                self._in_work[id(delivery)] = delivery
                self._waiting.setdefault(uploader, deque()).append(delivery)
            else:
                await self._defer(delivery, uploader)

    def _start_waiting(self, work: TaskGroup) -> None:
        """Work on deliveries that waited for a place, as far as there are places now."""
        for uploader, line in tuple(self._waiting.items()):
            while line and self._places.try_to_take(uploader):
                self._room.give(uploader)
                work.start_soon(self._handle, work, line.popleft(), uploader)
            if not line:
                del self._waiting[uploader]

    async def _give_back_waiting(self) -> None:
        """Nothing that waits for a place is begun any more."""
        waiting, self._waiting = self._waiting, {}
        for uploader, line in waiting.items():
            for delivery in line:
                self._room.give(uploader)
                async with self._answering(delivery):
                    raise RetryLater(0.0)

    async def _watch_queue(self, work: TaskGroup) -> None:
        """Beat the heart while nothing is in work, because no progress can be expected then; look at writes instead of
        which no event came.
        """
        looks = anyio.Semaphore(MAX_RESYNC_PENDING, fast_acquire=True)
        while True:
            pending = self._serial.pending
            if not pending:
                self.health.beat(HEARTBEAT)
                for ref in self.take_unconfirmed():
                    await looks.acquire()
                    work.start_soon(self._process_one_of_many, Hint(ref=ref), looks)
            self.metrics.queue.set(pending)
            await anyio.sleep(WATCH_PERIOD)

    async def _keep_deliveries(self) -> None:
        """Tell the source in time that deliveries are still in work, or it would give them to another sidecar."""
        wait = self.source.features.ack_wait
        while wait is not None:
            await anyio.sleep(wait / 3)
            for number in tuple(self._in_work):
                # It may have been answered while another one was extended.
                if delivery := self._in_work.get(number):
                    await delivery.extend()

    async def _defer(self, delivery: Delivery, uploader: str) -> None:
        """Put a delivery behind those of other uploaders, which come into sight only when it is out of the way.

        Where the source keeps hints durably, it becomes one: a stream stops giving out new messages when too many
        that it gave out are unanswered.
        """
        async with self._answering(delivery):
            if all(self._is_answered(hint) for hint in delivery.hints):
                return
            self.metrics.deferred.inc()
            is_hint = any(hint.deferred or hint.parked for hint in delivery.hints)
            if self.source.features.parks and not is_hint and delivery.problem is None:
                with suppress(ImgtagError):
                    await self.source.publish([replace(hint, deferred=True) for hint in delivery.hints])
                    return
            raise RetryLater(min(MAX_DEFERRAL, self._places.age(uploader) * delivery.attempt))

    async def _handle(self, work: TaskGroup, delivery: Delivery, uploader: str) -> None:
        """Work on a delivery and give its place back."""
        try:
            async with self._answering(delivery):
                if delivery.problem is not None:
                    problem = delivery.problem
                    await self._bury(
                        DeadLetter(
                            ref=None,
                            code=problem.code,
                            reason=problem.message,
                            at=time.time(),
                            payload=problem.payload,
                        )
                    )
                for hint in delivery.hints:
                    await self._process(hint, delivery.attempt, delivery)
                    self._given_back.discard(hint.ref)
        finally:
            self._places.give(uploader)
            self._start_waiting(work)

    async def _resync(self, delivery: Delivery, scope: Scope) -> None:
        async with self._answering(delivery):
            try:
                await self.compare(scope)
            except ImgtagError as error:  # also a key that a server takes no longer, as in _act_on
                self._note_failure(error)
                raise RetryLater(self._schedule_retry(error, str(scope), delivery.attempt)) from error

    async def compare(self, scope: Scope) -> None:
        """Process every difference between store and index in ``scope``; try each key until it is done.

        One that fails again and again goes back to the source as a hint of its own: the next comparison waits for the
        end of this one. Raises ImgtagError where store or index cannot be listed to the end.
        """
        log.info("resync_started", extra={"scope": str(scope)})
        pending = anyio.Semaphore(MAX_RESYNC_PENDING, fast_acquire=True)
        count, failure = 0, None
        try:
            async with anyio.create_task_group() as keys:
                async for hint in self.find_differences(scope):
                    if hint.ref not in self._given_back:
                        count += 1
                        await pending.acquire()
                        keys.start_soon(self._process_one_of_many, hint, pending, MAX_RESYNC_TRIES)
        except* ImgtagError as errors:
            failure = _first(errors)
        if failure is not None:  # outside of `except*`, which would wrap it in a group again
            raise failure
        log.info("resync_finished", extra={"scope": str(scope), "keys": count})

    async def _process_one_of_many(self, hint: Hint, pending: anyio.Semaphore, tries: float = math.inf) -> None:
        try:
            await self.process_until_done(hint, tries)
        finally:
            pending.release()

    async def process_until_done(self, hint: Hint, tries: float = math.inf) -> Outcome:
        """Work on a hint that no delivery brought, as often as it takes. Returns what it came to in the end.

        After ``tries`` in vain the source gets it, if it takes it. A job raises the ImgtagError that ends it.
        """
        attempt = 0
        while True:
            attempt += 1
            await self._breaker.wait_until_closed()
            try:
                async with self._resync_slots:
                    return await self._process(hint, attempt)
            except RetryLater as later:
                delay = later.delay
            if attempt >= tries and await self._give_back(hint):
                return Outcome(result=Result.PARKED)
            await anyio.sleep(delay)  # without a slot, so that other keys go on

    async def _give_back(self, hint: Hint) -> bool:
        """Publish a key of a resync as a hint of its own; returns whether the source has taken it."""
        # Of a shared source another sidecar may get it: when that has done it, nobody tells us.
        if not self.source.features.shared:
            self._given_back.add(hint.ref)
        try:
            await self.source.publish([hint])
        except ImgtagError:
            self._given_back.discard(hint.ref)
            return False
        return True

    @property
    def is_idle(self) -> bool:
        """Whether nothing that the source delivered is in work."""
        return not self._in_work

    async def process_once(self, hint: Hint, attempt: int) -> Outcome:
        """Work once on a hint of bulk work, which is kept elsewhere until it is done: nothing is parked.

        Raises RetryLater.
        """
        await self._breaker.wait_until_closed()
        return await self._process(hint, attempt, may_park=False)

    async def confirm_writes(self) -> None:
        """Look, until cancelled, at what a job wrote and concluded from the response alone: its events go elsewhere."""
        while True:
            for ref in self.take_unconfirmed():
                await self.process_until_done(Hint(ref=ref))
            await anyio.sleep(WATCH_PERIOD)

    async def _process(
        self, hint: Hint, attempt: int, delivery: Delivery | None = None, *, may_park: bool = True
    ) -> Outcome:
        """Work on one hint until it is done; a resync's has no delivery. Raises RetryLater."""
        ref, traces = hint.ref, self.metrics.traces
        async with self._serial.hold(ref):
            # Not before: the same event may be in work, from the other lane.
            if self._is_answered(hint):
                return Outcome(result=Result.ANSWERED)
            with traces.span("object", bucket=ref.bucket, key=ref.key, intent=hint.intent.value):
                try:
                    outcome = await self.reconcile(hint, is_new=attempt == 1 and is_upload(hint))
                    self._report(hint, outcome)
                    last = await self._look_again(hint, outcome, delivery)
                except Poison as poison:
                    result = Result(poison.problem.status or Result.FAILED)
                    self.metrics.count_object(result)
                    await self._bury_object(poison.ref, poison.problem.code, poison.problem.reason, attempt)
                    self._recent.remember(hint)
                    return Outcome(result=result, not_written=poison.problem)
                except IndexUnavailable as error:
                    return await (self._park if may_park else self._act_on)(hint, error, attempt)
                except ImgtagError as error:
                    return await self._act_on(hint, error, attempt)
                except Exception as error:  # noqa: BLE001  (whatever it is, the other keys go on)
                    return await self._handle_unexpected(hint, error, attempt)
                else:
                    problem = last.failed_before
                    if problem is None and last.result is not Result.REFUSED:
                        with suppress(Unavailable):  # not worth a retry: `imgtag dlq drop` removes it as well
                            await self.source.dead.discard([ref])
                    if problem is not None and attempt > 1:
                        # The document of a failure is indexed before its letter is put; the letter may have been lost.
                        await self._bury_object(ref, problem.code, problem.reason, attempt)
                    self._breaker.record_success()
                    self._recent.remember(hint)
                    self._unexpected.pop(ref, None)
                    return outcome

    async def _look_again(self, hint: Hint, outcome: Outcome, delivery: Delivery | None) -> Outcome:
        """Look at a key until a look changes nothing, unless no other sidecar can have touched it meanwhile.

        A document that is indexed late must not stay over a newer one. docs/design/20261127-exclusive-deliveries.md
        """
        looks = MAX_REPEATED_LOOKS if self.source.features.shared or self.is_job else 0
        if looks and outcome.result not in _SETTLED and delivery and await delivery.is_exclusive():
            return outcome
        while looks and outcome.result not in _SETTLED:
            outcome = await self.reconcile(hint)
            looks -= 1
        return outcome

    def _answering(self, delivery: Delivery) -> _Answering:
        return _Answering(self._in_work, self._copies, self.metrics, delivery)

    def _is_answered(self, hint: Hint) -> bool:
        """Whether nothing is to be done: it is doubled, or the event of a write of ours."""
        # Ours first: it must not make us forget the upload, whose event comes again on the second lane.
        if not (self.is_own_write(hint) or self._recent.knows(hint)):
            return False
        self.metrics.count_object(Result.ANSWERED)
        return True

    def _report(self, hint: Hint, outcome: Outcome) -> None:
        result, problem = outcome.result, outcome.not_written
        self.metrics.count_object(result)
        self.health.beat(HEARTBEAT)
        if hint.at is not None and result in _TIMED:
            # Clocks of store and sidecar may differ: never less than nothing.
            self.metrics.latency.observe(max(0.0, time.time() - hint.at))
        facts = {"bucket": hint.ref.bucket, "key": hint.ref.key, "result": result.value}
        if problem:
            log.warning("labels_not_written", extra={**facts, "code": problem.code, "reason": problem.reason})
        else:
            log.log(logging.INFO if result in _LOGGED else logging.DEBUG, "object_processed", extra=facts)

    async def _park(self, hint: Hint, error: IndexUnavailable, attempt: int) -> Outcome:
        """The index is down: where the source keeps hints durably, labelling goes on without it."""
        if not self.source.features.parks or hint.parked or self.is_job:
            return await self._act_on(hint, error, attempt)
        try:
            await self.source.publish([replace(hint, parked=True)])
        except Unavailable as unavailable:
            return await self._act_on(hint, unavailable, attempt)
        return Outcome(result=Result.PARKED)

    async def _act_on(self, hint: Hint, error: ImgtagError, attempt: int) -> Outcome:
        """Bury what was dropped, retry everything else. Raises RetryLater; in a job, what waiting cannot mend."""
        if error.disposition is Disposition.DROP:
            return await self._give_up(hint, error.code, error.message, attempt)
        if self.is_job and (error.disposition is Disposition.STOP or isinstance(error, BucketAbsent)):
            raise error
        # STOP is for the start. At run time a key or a permission that a server takes away is waited for like a server
        # that is down: an admin mends it without a restart, and nothing is lost meanwhile.
        if not hint.parked and (error.disposition is Disposition.STOP or isinstance(error, Unavailable)):
            self._note_failure(error)  # a hint that waits only for the index does not hold back the others
        raise RetryLater(self._schedule_retry(error, str(hint.ref), attempt)) from error

    def _note_failure(self, error: ImgtagError) -> None:
        """An absent bucket holds back only what is in it; anything else that does not answer holds back everything."""
        if not isinstance(error, BucketAbsent):
            self._breaker.record_failure()

    def _schedule_retry(self, error: ImgtagError, target: str, attempt: int) -> float:
        self.health.beat(HEARTBEAT)
        delay = self.limits.backoff.delay(attempt)
        self.metrics.retries.labels(error.code).inc()
        facts = {"target": target, "code": error.code, "reason": error.message, "hint": error.hint, "attempt": attempt}
        level = logging.ERROR if error.disposition is Disposition.STOP else logging.WARNING
        log.log(level, "retry_scheduled", extra={**facts, "delay": round(delay, 1)})
        return delay

    async def _handle_unexpected(self, hint: Hint, error: Exception, attempt: int) -> Outcome:
        log.error("unexpected_error", exc_info=error, extra={"bucket": hint.ref.bucket, "key": hint.ref.key})
        count = self._unexpected.get(hint.ref, 0) + 1
        if count < MAX_UNEXPECTED:
            self._unexpected[hint.ref] = count
            raise RetryLater(self.limits.backoff.delay(attempt)) from error
        self._unexpected.pop(hint.ref, None)
        return await self._give_up(hint, "internal", f"{type(error).__name__}: {error}", attempt)

    async def _give_up(self, hint: Hint, code: str, reason: str, attempt: int) -> Outcome:
        await self._bury_object(hint.ref, code, reason, attempt)
        return Outcome(result=Result.FAILED, not_written=Problem(code=code, reason=reason))

    async def _bury_object(self, ref: ObjectRef, code: str, reason: str, attempt: int) -> None:
        await self._bury(DeadLetter(ref=ref, code=code, reason=reason, at=time.time()), attempt)

    async def _bury(self, letter: DeadLetter, attempt: int = 1) -> None:
        """Keep a dead letter. Raises RetryLater where it cannot be kept: nothing is given up without one."""
        try:
            await self.source.dead.put(letter)
        except ImgtagError as error:
            raise RetryLater(self._schedule_retry(error, str(letter.ref), attempt)) from error
        except Exception as error:
            log.exception("unexpected_error", extra={"object": str(letter.ref)})
            raise RetryLater(self.limits.backoff.delay(attempt)) from error
        self.metrics.dead_letters.labels(letter.code).inc()
        dropped: int = getattr(self.source.dead, "dropped", 0)
        self.metrics.dead_letters_dropped.inc(dropped - self._dropped_letters)
        self._dropped_letters = dropped
        log.warning("dead_letter", extra={"object": str(letter.ref), "code": letter.code, "reason": letter.reason})


class _Holding:
    """Keeps a delivery while it waits for its place; gives it back at once if the wait is cancelled."""

    def __init__(self, in_work: dict[int, Delivery], delivery: Delivery) -> None:
        self._in_work = in_work
        self._delivery = delivery

    async def __aenter__(self) -> None:
        self._in_work[id(self._delivery)] = self._delivery

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                with anyio.CancelScope(shield=True):
                    await self._delivery.nak(0.0)
        finally:
            del self._in_work[id(self._delivery)]


class _Answering:
    """Acks what went well, naks what must come again; also when the pipeline is stopped in between.

    Copies of the same event that came meanwhile get the same answer.
    """

    def __init__(
        self,
        in_work: dict[int, Delivery],
        copies: dict[Hashable, list[Delivery]],
        metrics: Metrics,
        delivery: Delivery,
    ) -> None:
        self._in_work = in_work
        self._copies = copies
        self._metrics = metrics
        self._delivery = delivery

    async def __aenter__(self) -> None:
        self._in_work[id(self._delivery)] = self._delivery

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        copies = self._copies.pop(_event_of(self._delivery), [])
        delay = error.delay if isinstance(error, RetryLater) else 0.0
        # Shielded: a delivery without an answer comes back only after ack_wait, to the next sidecar or start.
        with anyio.CancelScope(shield=True):
            for delivery in (self._delivery, *copies):
                del self._in_work[id(delivery)]
                await (delivery.ack() if error is None else delivery.nak(delay))
        for _ in copies if error is None else ():
            self._metrics.count_object(Result.ANSWERED)
        return isinstance(error, RetryLater)


def _event_of(delivery: Delivery) -> Hashable | None:
    """The one event that a delivery is about, if it can be told from others."""
    return event_of(delivery.hints[0]) if len(delivery.hints) == 1 and delivery.problem is None else None


def _first(group: BaseExceptionGroup[ImgtagError]) -> ImgtagError:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
