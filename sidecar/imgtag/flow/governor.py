"""Bulk work as a good neighbour: less of it while the store or the machine is under pressure, or live work waits.

It controls how many objects are in work at once, as TCP does its packets: a little more each second while all is well,
much less as soon as it is not (additive increase, multiplicative decrease). Number of objects rather than a rate,
because a store that answers more slowly then gets less to do at once, before anything is measured. Below one, there are
pauses between the objects.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

import anyio

from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.token_bucket import TokenBucket

STEP = 1.0
"""Seconds between two adjustments."""
MIN_LIMIT = 0.1
"""Objects in work at once, at least: one that is worked on for a tenth of the time."""
MAX_PAUSE = 5.0
"""Seconds, at most, between two objects: bulk work never stops wholly outside of its closed hours."""
GROWTH = 2.0
"""Factor of each adjustment while the limit is far below the last one that was too much."""
MIN_CUT, MAX_CUT = 0.8, 0.3
"""Factors of one adjustment, for little and for much pressure."""
CALM = 0.8
"""Part of the limit of a strain below which bulk work may grow again; in between it stays as it is."""
LAG_STEP = 0.05
"""Seconds between two measurements of how late the event loop is."""
TIMER = 0.001
"""Seconds by which a timer is late on an idle machine: those of epoll are in whole milliseconds."""
WINDOW = 2.0
"""Seconds after which few measurements must do."""
MIN_SAMPLES = 10
"""Measurements that an adjustment waits for, up to ``WINDOW``."""
MAX_SAMPLES = 5_000
TAIL_SAMPLES, TAIL_PERIOD = 100, 10.0
"""Measurements of which a 99th percentile is taken, and seconds within which they come: of fewer, it is one request."""
BASELINE_SAMPLES, MIN_BASELINE_SAMPLES = 20, 5
"""Measurements that a baseline waits for, up to ``BASELINE_TIME``, and without which it is not ended then."""
BASELINE_PERIOD = 600.0
"""Seconds between two measurements of the baseline."""
BASELINE_LIMIT, BASELINE_PAUSE = 0.5, 0.5
"""Objects in work at once during a measurement, and seconds of a pause: a store answers more slowly after one."""
BASELINE_TIME, MAX_BASELINE_TIME = 3.0, 30.0
"""Seconds for a measurement that yields little, and for one that yields nearly nothing."""
MAX_BASELINE_RISE = 2.0
"""Factor by which one measurement may raise the baseline: others' peak load does not become normal at once."""
BASELINE_FALL = 0.05
"""Part of the way that the baseline follows lower latencies in each adjustment."""
_LIVE_LOOK = 0.1
"""Seconds between two looks at whether live work still waits."""
_HOURS_LOOK = 60.0
"""Seconds, at most, between two looks at the clock outside of the hours: somebody may set it."""


@dataclass(frozen=True)
class _Bound:
    """How much longer than its baseline a quantile of the store's latency may be: so many times, or so many seconds."""

    quantile: float
    times: float
    seconds: float
    """For a store that answers within a millisecond, of which two differ by chance."""


BOUNDS = (_Bound(0.5, 1.5, 0.002), _Bound(0.99, 2.0, 0.01))
"""The median as well, because the 99th percentile of a busy store is high, and differs much, without any bulk work."""

Reason: TypeAlias = Literal[
    "hours", "live_work", "store_latency", "cpu_pressure", "io_pressure", "memory_pressure", "load", "temperature"
]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strain:
    """How much there is of something: a ``level`` of 1 is the limit.

    ``lag`` is the number of seconds in which it can follow a change of the load; until then it does not count again.
    """

    reason: Reason
    level: float
    text: str
    lag: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What bulk work never exceeds, whatever the pressure; None is no limit."""

    concurrency: int = 16
    """Objects in work at once."""
    objects: float | None = None
    """Objects a second."""
    bytes: float | None = None
    """Bytes of objects a second."""
    hours: DailyHours | None = None
    """When bulk work may begin with an object."""


@dataclass(frozen=True, kw_only=True)
class GovernorState:
    """``limit`` is the number of objects that may be in work at once; below 1, the part of the time for one.

    ``held_back`` says why it is lower than it could be, and ``message`` says so to a person.
    """

    limit: float
    in_work: int
    admitted: int
    """Objects, since the start."""
    held_back: Reason | None
    message: str

    def __str__(self) -> str:
        return self.message


async def _no_pressure() -> Sequence[Strain]:
    return ()


class Governor:
    """Admits bulk work, object by object.

    ``run`` must run beside it. ``observe`` is to be called with the seconds of each request of one kind to the store,
    ``pressure`` is asked every second, and ``report`` gets the state as often. While ``is_live_waiting``, bulk work is
    at its minimum. ``polite_share`` is the part of the processors' work, of late, that gives way to the store's, as
    that of our own workers does.
    """

    def __init__(
        self,
        caps: Caps,
        *,
        pressure: Callable[[], Awaitable[Sequence[Strain]]] = _no_pressure,
        is_live_waiting: Callable[[], bool] = lambda: False,
        report: Callable[[GovernorState], None] = lambda _state: None,
        cpu_clock: Callable[[], float] = time.thread_time,
        polite_share: Callable[[], float] = lambda: 0.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._caps = caps
        self._pressure = pressure
        self._is_live_waiting = is_live_waiting
        self._report = report
        self._clock = anyio.current_time
        self._cpu_clock = cpu_clock
        self._polite_share = polite_share
        self._wall_clock = wall_clock
        self._latency = _StoreLatency()
        self._limit = self._plateau = min(1.0, caps.concurrency)
        self._held_back: Strain | None = None
        self._last_cut = -math.inf
        self._is_limit_reached = False
        self._is_growing = False
        self._objects = TokenBucket(caps.objects, anyio.current_time) if caps.objects else None
        self._bytes = TokenBucket(caps.bytes, anyio.current_time) if caps.bytes else None
        self._in_work = self._peak = 0
        self._admitted = 0
        self._last_end, self._last_seconds = -math.inf, 0.0
        self._line = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()

    @asynccontextmanager
    async def admit(self, size: int = 0) -> AsyncIterator[None]:
        """Wait until work on an object of ``size`` bytes may begin; the block is the work. First come, first served."""
        async with self._line:
            while delay := self._delay(size):
                with anyio.move_on_after(delay):
                    await self._changed.wait()
            if self._objects:
                self._objects.take(1)
            if self._bytes:
                self._bytes.take(size)
            self._in_work += 1
        self._admitted += 1
        self._peak = max(self._peak, self._in_work)
        started = self._clock()
        try:
            yield
        finally:
            self._in_work -= 1
            self._last_end = self._clock()
            self._last_seconds = self._last_end - started
            self._wake()

    def observe(self, seconds: float) -> None:
        """A request to the store took so long."""
        self._latency.observe(seconds)

    async def run(self) -> None:
        """Adjust the limit every second, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_loop)
            while True:
                self.adjust(await self._pressure())
                self._report(self.state)
                await anyio.sleep(STEP)

    async def _watch_loop(self) -> None:
        """Measure how late the event loop is by its own work, which makes requests look slow that the store answered.

        When it is late because others use the processors, that is an excuse only as far as they give way to the store:
        the rest includes the store.
        """
        while True:
            due, used = self._clock() + LAG_STEP, self._cpu_clock()
            await anyio.sleep(LAG_STEP)
            late = self._clock() - due - TIMER
            self._latency.observe_lag(max(min(late, self._cpu_clock() - used), late * self._polite_share()))

    def adjust(self, pressure: Sequence[Strain]) -> None:
        """One step, by what the machine shows now and by what was observed since the last step."""
        now = self._clock()
        latency = self._latency.evaluate(now, self._in_work, self._admitted)
        self._is_growing = False
        strains = [*pressure, *([latency] if latency else [])]
        worst = max(strains, key=lambda strain: strain.level, default=None)
        if worst and worst.level > 1:
            if self._held_back is None:
                self._plateau = self._limit
            self._held_back = worst
            due = [strain.level for strain in strains if now - self._last_cut >= strain.lag and strain.level > 1]
            if due:
                # Only what was in work can be the cause: a limit far above it would be lowered in vain.
                base = min(self._limit, self._peak + 1)
                self._limit = max(MIN_LIMIT, base * min(MIN_CUT, max(MAX_CUT, 1 / max(due))))
                self._last_cut = now
        elif self._latency.is_blind:
            pass  # nothing was measured since the last step, as when every request hangs
        elif worst is None or worst.level < CALM:
            self._held_back = None
            if self._is_limit_reached and not self._latency.is_measuring:
                self._grow()
        self._is_limit_reached, self._peak = False, self._in_work
        self._wake()

    def _grow(self) -> None:
        top = self._caps.concurrency
        self._is_growing = self._limit < top
        is_far = self._limit < max(1.0, self._plateau / 2) or self._last_cut == -math.inf
        grown = self._limit * GROWTH if is_far else self._limit + max(0.5, top / 50) * STEP
        self._limit = min(top, grown)

    @property
    def state(self) -> GovernorState:
        """How it is now."""
        limit, held_back = self._limit, self._held_back.reason if self._held_back else None
        opens = self._caps.hours and self._caps.hours.next_start(self._wall_clock())
        if opens:
            limit, held_back = 0.0, "hours"
            zone = self._caps.hours.zone if self._caps.hours else None
            message = f"waiting until {datetime.fromtimestamp(opens, zone):%H:%M}: bulk work runs {self._caps.hours}"
        elif self._is_live_waiting():
            limit, held_back = MIN_LIMIT, "live_work"
            message = "holding back: live work is waiting"
        elif self._held_back:
            message = f"holding back: {self._held_back.text}"
        elif self._latency.is_measuring:
            message = "measuring how fast the store answers with one object at a time"
        elif self._is_growing:
            message = f"speeding up: {limit:.1f} of {self._caps.concurrency} objects at once"
        else:
            message = "full speed"
        return GovernorState(
            limit=limit, in_work=self._in_work, admitted=self._admitted, held_back=held_back, message=message
        )

    @property
    def slots(self) -> int:
        """How many objects may be in work at once now, at least one; 0 outside of the hours."""
        is_closed = self._caps.hours is not None and self._caps.hours.next_start(self._wall_clock()) is not None
        return 0 if is_closed else max(1, int(self._limit))

    def _delay(self, size: int) -> float:
        """Seconds until it makes sense to look again, unless something changes before; 0 where work may begin."""
        if self._caps.hours and (opens := self._caps.hours.next_start(wall := self._wall_clock())):
            return min(_HOURS_LOOK, opens - wall)
        is_live = self._is_live_waiting()
        limit = MIN_LIMIT if is_live else min(self._limit, BASELINE_LIMIT if self._latency.is_measuring else math.inf)
        if self._in_work >= max(1, int(limit)):
            self._is_limit_reached = True
            return _LIVE_LOOK if is_live else math.inf
        if limit < 1:
            longest = BASELINE_PAUSE if self._latency.is_measuring else MAX_PAUSE
            pause = min(longest, self._last_seconds * (1 / limit - 1))
            if (left := self._last_end + pause - self._clock()) > 0:
                self._is_limit_reached = True
                return min(left, _LIVE_LOOK if is_live else math.inf)
        objects = self._objects.delay(1) if self._objects else 0.0
        return max(objects, self._bytes.delay(size) if self._bytes else 0.0)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class _StoreLatency:
    """Median and 99th percentile of the last seconds, against those of the store while hardly any bulk work runs."""

    def __init__(self) -> None:
        self.is_measuring = True
        """Whether the baseline is being measured, for which bulk work is reduced to one object at a time."""
        self.is_blind = False
        """Whether there was too little to measure since the last step."""
        self._samples: list[float] = []
        self._lags: list[float] = []
        self._tail: list[float] = []
        self._tail_lags: list[float] = []
        self._tail_since = -math.inf
        self._since = math.inf
        self._baseline: tuple[float, ...] | None = None
        self._is_alone = True
        self._admitted = 0
        self._measured_at: float | None = None

    def observe(self, seconds: float) -> None:
        if len(self._samples) < MAX_SAMPLES:
            self._samples.append(seconds)

    def observe_lag(self, seconds: float) -> None:
        if len(self._lags) < MAX_SAMPLES:
            self._lags.append(max(0.0, seconds))

    def evaluate(self, now: float, in_work: int, admitted: int) -> Strain | None:
        """The strain since the last evaluation; None where there is none, or where it is not known."""
        if self.is_measuring:
            self.is_blind = False
            self._since = min(self._since, now)
            if in_work or self._samples or admitted != self._admitted:
                self._measure(now, in_work)
            else:
                self._since = now  # nothing is at work yet, as outside of the hours
            self._admitted = admitted
            return None
        is_old = self._measured_at is not None and now - self._measured_at >= BASELINE_PERIOD
        if is_old or (self._baseline is None and self._samples):
            self._start_over(now)
            self.is_measuring, self._is_alone = True, False
            return None
        self.is_blind = len(self._samples) < MIN_SAMPLES and (not self._samples or now - self._since < WINDOW)
        if self.is_blind or self._baseline is None:
            # A store whose requests nobody times is no reason for anything.
            self.is_blind = self.is_blind and self._baseline is not None
            return None
        if now - self._tail_since > TAIL_PERIOD:
            self._cut_tail(now)
        self._tail += self._samples
        self._tail_lags += self._lags
        latencies = [(BOUNDS[0], _quantile(BOUNDS[0].quantile, self._samples, self._lags), self._baseline[0])]
        if len(self._tail) >= TAIL_SAMPLES:
            latencies.append((BOUNDS[1], _quantile(BOUNDS[1].quantile, self._tail, self._tail_lags), self._baseline[1]))
            self._cut_tail(now)
        lower = [base + BASELINE_FALL * min(0.0, latest - base) for _, latest, base in latencies]
        self._baseline = (*lower, *self._baseline[len(lower) :])
        self._start_over(now)
        level, latency, baseline = max(
            (latency / max(bound.times * baseline, baseline + bound.seconds), latency, baseline)
            for bound, latency, baseline in latencies
        )
        if level > 1:
            self._cut_tail(now)  # what it shows is answered now
        text = f"store latency {latency / max(baseline, 1e-6):.1f} x its baseline of {baseline * 1000:.1f} ms"
        return Strain(reason="store_latency", level=level, text=text, lag=STEP)

    def _measure(self, now: float, in_work: int) -> None:
        if not self._is_alone:
            # What was begun before the measurement is still in work, and would be measured.
            self._samples.clear()
            self._lags.clear()
            self._is_alone = in_work <= 1
            self._since = now if self._is_alone else self._since
        patience = BASELINE_TIME if len(self._samples) >= MIN_BASELINE_SAMPLES else MAX_BASELINE_TIME
        if len(self._samples) < BASELINE_SAMPLES and now - self._since < patience:
            return
        if self._samples:
            measured = [_quantile(bound.quantile, self._samples, self._lags) for bound in BOUNDS]
            measured[1] = max(measured)  # a lag of few measurements may be greater than any of them
            known = self._baseline or (math.inf,) * len(BOUNDS)
            self._baseline = tuple(min(new, MAX_BASELINE_RISE * old) for new, old in zip(measured, known, strict=True))
        self.is_measuring, self._measured_at = False, now
        self._start_over(now)

    def _cut_tail(self, now: float) -> None:
        self._tail.clear()
        self._tail_lags.clear()
        self._tail_since = now

    def _start_over(self, now: float) -> None:
        self._samples.clear()
        self._lags.clear()
        self._since = now


def _quantile(share: float, samples: Sequence[float], lags: Sequence[float]) -> float:
    """Of the requests, less that of the event loop's lag, which is a part of what was measured.

    The greatest one of up to a hundred does not count: a single request may be slow on any store.
    """
    samples, lags = sorted(samples), sorted(lags) or [0.0]
    return max(0.0, samples[int(share * (len(samples) - 1))] - lags[int(share * (len(lags) - 1))])
