"""Bulk work gives way to the store, to the machine and to live work, and comes back; caps and hours always hold."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import anyio
import pytest

from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.governor import MAX_PAUSE, MIN_LIMIT, Caps, Governor, Strain

pytestmark = pytest.mark.anyio

CLOCKS = ("wall_clock", "cpu_clock", "polite_share")
BERLIN = ZoneInfo("Europe/Berlin")


class Bench:
    """Bulk work on a store that answers in ``latency`` seconds; each object takes as long again elsewhere."""

    def __init__(self, **caps):
        self.latency = 0.05
        self.strains = []
        self.live = False
        self.states = []
        self.begun = Counter()
        self.bytes = Counter()
        self.peak = 0
        self._in_work = 0
        self._options = {name: caps.pop(name) for name in CLOCKS if name in caps}
        self.governor = Governor(
            Caps(**caps),
            pressure=self._measure,
            is_live_waiting=lambda: self.live,
            report=self.states.append,
            # Whatever blocks the loop is our own work, unless a test has another clock.
            **{"cpu_clock": anyio.current_time} | self._options,
        )

    async def _measure(self):
        return self.strains

    async def _work(self, size):
        while True:
            async with self.governor.admit(size):
                second = int(anyio.current_time())
                self.begun[second] += 1
                self.bytes[second] += size
                self._in_work += 1
                self.peak = max(self.peak, self._in_work)
                started = anyio.current_time()
                await anyio.sleep(self.latency)
                self.governor.observe(anyio.current_time() - started)
                await anyio.sleep(self.latency)
                self._in_work -= 1

    async def run(self, *steps, size=0, workers=32):
        """Let ``seconds`` pass, then do what comes next, and so on."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.governor.run)
            for _ in range(workers):
                tasks.start_soon(self._work, size)
            for seconds, act in steps:
                await anyio.sleep(seconds)
                act()
            tasks.cancel_scope.cancel()

    def rate(self, start, end):
        """Objects begun in a second, on average."""
        return sum(self.begun[second] for second in range(start, end)) / (end - start)


def nothing():
    pass


async def test_full_speed_is_reached_and_never_exceeded():
    bench = Bench(concurrency=16)

    await bench.run((30, nothing))

    assert 16 == bench.peak
    assert bench.rate(25, 30) == pytest.approx(16 / 0.1, rel=0.05)
    assert ("full speed", None, 16) == (str(bench.states[-1]), bench.states[-1].held_back, bench.states[-1].limit)


async def test_a_store_ten_times_as_slow_is_relieved_within_five_seconds_and_used_again_afterwards():
    """The store alone would bring a tenth of the rate; the governor goes far below, and says why."""
    bench = Bench(concurrency=16)

    def slow():
        bench.latency = 0.5

    def mend():
        bench.latency = 0.05

    await bench.run((30, slow), (30, mend), (60, nothing))

    alone = bench.rate(25, 30)
    assert bench.rate(35, 60) < alone / 10 / 5
    assert all(bench.rate(second, second + 7) for second in range(35, 60)), "it never stops"
    state = bench.states[35]
    assert "store_latency" == state.held_back
    assert "holding back: store latency 10.0 x its baseline of 50.0 ms" == str(state)
    assert bench.rate(90, 120) == pytest.approx(alone, rel=0.05)
    assert "full speed" == str(bench.states[-1])


async def test_a_store_that_answers_within_milliseconds_is_no_reason():
    """A millisecond more may be chance."""
    bench = Bench(concurrency=1)
    bench.latency = 0.001

    def slower():
        bench.latency = 0.0019

    await bench.run((5, slower), (5, nothing), workers=1)

    assert {None} == {state.held_back for state in bench.states}


async def test_a_governor_that_waited_long_before_its_work():
    """The baseline is measured when there is something to measure, however late that is."""
    bench = Bench(concurrency=4)
    await anyio.sleep(100)

    def slow():
        bench.latency = 0.5

    await bench.run((20, slow), (10, nothing), workers=4)

    assert "store_latency" == bench.states[-1].held_back


async def run_on_busy_loop(bench):
    """For 30 seconds, of which the last 20 are spent with something else for the most part."""

    async def block():
        await anyio.sleep(10)
        while True:
            await anyio.sleep(0.03)
            asyncio.get_running_loop().block(0.1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(block)
        await bench.run((30, nothing), workers=4)
        tasks.cancel_scope.cancel()


async def test_a_busy_event_loop_is_not_a_slow_store():
    """What was measured contains its lag, which is measured as well."""
    bench = Bench(concurrency=4)

    await run_on_busy_loop(bench)

    assert {None} == {state.held_back for state in bench.states}


@pytest.mark.parametrize(("polite", "held_back"), [(0.0, "store_latency"), (1.0, None)])
async def test_a_machine_that_is_busy_with_what_gives_way_is_not_a_slow_store(polite, held_back):
    """Bulk work's own workers make its event loop late; the store, which goes before them, is not."""
    bench = Bench(concurrency=4, polite_share=lambda: polite, cpu_clock=lambda: 0.0)

    await run_on_busy_loop(bench)

    assert {None, held_back} == {state.held_back for state in bench.states}


async def test_one_slow_request_in_a_while_is_no_reason():
    bench = Bench(concurrency=1)

    async def stumble(governor):
        while True:
            await anyio.sleep(1)
            governor.observe(5.0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stumble, bench.governor)
        await bench.run((20, nothing), workers=1)
        tasks.cancel_scope.cancel()

    assert {None} == {state.held_back for state in bench.states}


async def test_a_store_that_stays_slow_becomes_the_baseline():
    """A measurement every ten minutes believes up to twice the last one, so it takes a while."""
    bench = Bench(concurrency=4)
    bench.latency = 0.5

    def slow():
        bench.latency = 2.5

    await bench.run((30, slow), (2300, nothing), workers=4)

    assert "store_latency" == bench.states[300].held_back
    assert "full speed" == str(bench.states[-1])
    assert bench.rate(2200, 2300) == pytest.approx(4 / 5, rel=0.1)


async def test_pressure_of_the_machine():
    """Holds bulk work back at its minimum as long as it lasts."""
    bench = Bench(concurrency=16)

    def press():
        bench.strains = [Strain(reason="io_pressure", level=2.5, text="I/O pressure of 50%, over 20%")]

    def relax():
        bench.strains = [Strain(reason="io_pressure", level=0.1, text="I/O pressure of 2%, over 20%")]

    await bench.run((30, press), (20, relax), (30, nothing))

    assert 0 < bench.rate(36, 50) <= 0.1 / 0.1
    assert (MIN_LIMIT, "io_pressure") == (bench.states[36].limit, bench.states[36].held_back)
    assert "holding back: I/O pressure of 50%, over 20%" == str(bench.states[36])
    assert bench.rate(75, 80) == pytest.approx(16 / 0.1, rel=0.05)


async def test_what_follows_slowly_is_not_answered_twice():
    """A load average still shows the work of a minute ago: it must not be cut every second for it."""
    bench = Bench(concurrency=16)

    def press():
        bench.strains = [Strain(reason="load", level=1.1, text="", lag=30.0)]

    await bench.run((30, press), (45, nothing))

    assert [16, 16 * 0.8, 16 * 0.8 * 0.8] == list(dict.fromkeys(state.limit for state in bench.states[25:]))


async def test_a_little_pressure_keeps_it_as_it_is():
    bench = Bench(concurrency=16)
    bench.strains = [Strain(reason="load", level=0.9, text="")]

    await bench.run((20, nothing))

    assert 1 == bench.peak


async def test_live_work_goes_first():
    """While it waits, bulk work is at its minimum; after that at once at its former limit."""
    bench = Bench(concurrency=16)

    def wait():
        bench.live = True

    def rest():
        bench.live = False

    await bench.run((30, wait), (20, rest), (5, nothing))

    assert 0 < bench.rate(31, 49) <= 0.1 / 0.1
    assert ("live_work", "holding back: live work is waiting") == (bench.states[40].held_back, str(bench.states[40]))
    assert bench.rate(51, 55) == pytest.approx(16 / 0.1, rel=0.05)


async def test_bulk_work_never_stops():
    """However long an object takes, the pause before the next one is bounded."""
    bench = Bench(concurrency=4)
    bench.latency = 30.0
    bench.strains = [Strain(reason="cpu_pressure", level=math.inf, text="")]

    await bench.run((1000, nothing))

    assert 1000 / (60 + MAX_PAUSE) == pytest.approx(sum(bench.begun.values()), abs=1)


@pytest.mark.parametrize(("cap", "expected"), [(0.5, 0.5), (3, 3), (50, 50)])
async def test_a_cap_of_objects(cap, expected):
    bench = Bench(concurrency=16, objects=cap)

    await bench.run((60, nothing))

    assert bench.rate(20, 60) == pytest.approx(expected, rel=0.06)
    assert max(bench.begun.values()) <= cap * 1.1 + 1


async def test_a_cap_of_bytes():
    """Also for objects larger than what is allowed in a second."""
    small, large = Bench(concurrency=16, bytes=1_000_000), Bench(concurrency=16, bytes=1_000_000)

    await small.run((40, nothing), size=10_000)
    await large.run((40, nothing), size=5_000_000)

    for bench in (small, large):
        assert 33_000_000 <= sum(bench.bytes.values()) <= 45_000_000


async def test_objects_begin_in_their_order():
    governor, order = Governor(Caps(concurrency=1)), []

    async def work(number):
        async with governor.admit():
            order.append(number)
            await anyio.sleep(1)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(work, number)
            await anyio.sleep(0.01)

    assert [0, 1, 2, 3, 4] == order


async def test_an_object_that_is_cancelled_while_it_waits_takes_no_place():
    governor = Governor(Caps(concurrency=1))
    async with governor.admit():
        with anyio.move_on_after(1):
            async with governor.admit():
                raise AssertionError

    with anyio.fail_after(2):
        async with governor.admit():
            assert 1 == governor.state.in_work
    assert (0, 2) == (governor.state.in_work, governor.state.admitted)


async def test_an_object_that_fails_gives_its_place_back():
    governor = Governor(Caps(concurrency=1))
    with pytest.raises(KeyError):
        async with governor.admit():
            raise KeyError

    with anyio.fail_after(1):
        async with governor.admit():
            pass


async def test_hours_are_kept():
    """Outside it waits, and says until when. The baseline is measured when work begins, not before."""
    start = datetime(2026, 11, 27, 21, 50, tzinfo=BERLIN).timestamp()
    bench = Bench(
        concurrency=2,
        hours=DailyHours.parse("22:00-22:20", BERLIN),
        wall_clock=lambda: start + anyio.current_time(),
    )
    bench.latency = 5.0

    await bench.run((2400, nothing), workers=2)

    assert 599 <= min(bench.begun) <= 660
    assert 1790 <= max(bench.begun) < 1800
    assert ("hours", 0) == (bench.states[10].held_back, bench.states[10].limit)
    assert "waiting until 22:00: bulk work runs 22:00-22:20" == str(bench.states[10])
    assert bench.rate(800, 1800) == pytest.approx(2 / 10, rel=0.1)


@pytest.mark.parametrize(
    ("hours", "now", "begins"),
    [
        ("22:00-06:00", "2026-11-27 21:59", "2026-11-27 22:00"),
        ("22:00-06:00", "2026-11-27 22:00", None),
        ("22:00-06:00", "2026-11-27 05:59", None),
        ("22:00-06:00", "2026-11-27 06:00", "2026-11-27 22:00"),
        ("09:00-17:00", "2026-11-27 12:00", None),
        ("09:00-17:00", "2026-11-27 17:00", "2026-11-28 09:00"),
        (" 1:00 - 24:00 ", "2026-12-31 00:30", "2026-12-31 01:00"),
        ("20:00-24:00", "2026-12-31 23:59", None),
        ("20:00-24:00", "2027-01-01 00:00", "2027-01-01 20:00"),
        # Clocks go forward at 02:00 of 29 March, and back at 03:00 of 25 October.
        ("02:30-05:00", "2026-03-29 01:59", "2026-03-29 03:30"),
        ("02:30-05:00", "2026-03-29 03:30", None),
        ("22:00-02:30", "2026-03-29 03:29", None),
        ("22:00-02:30", "2026-03-29 03:30", "2026-03-29 22:00"),
        ("02:30-03:30", "2026-10-25 02:29", "2026-10-25 02:30"),
    ],
)
def test_hours_of_a_day(hours, now, begins):
    """Local time, over midnight, and in the nights in which the clock jumps."""
    hours = DailyHours.parse(hours, BERLIN)
    start = hours.next_start(datetime.fromisoformat(now).replace(tzinfo=BERLIN).timestamp())

    assert begins == (start and f"{datetime.fromtimestamp(start, BERLIN):%Y-%m-%d %H:%M}")


def test_hours_last_through_the_hour_that_comes_twice():
    """They begin at the first 02:30, and do not stop and begin again."""
    hours = DailyHours.parse("02:30-03:30", BERLIN)
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN).timestamp()

    assert [None] * 8 == [hours.next_start(first + minutes * 60) for minutes in range(0, 120, 15)]
    assert hours.next_start(first + 120 * 60) == first + timedelta(days=1, hours=1).total_seconds()


@pytest.mark.parametrize("text", ["", "22-06", "22:00", "25:00-06:00", "24:30-06:00", "22:00-22:00", "22:61-06:00"])
def test_what_is_no_hours(text):
    with pytest.raises(ValueError, match=r"write, for example|leave it out"):
        DailyHours.parse(text)
