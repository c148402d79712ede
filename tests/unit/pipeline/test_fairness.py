"""Fairness: an uploader whose images are slow waits for itself, and for hardly anything else does anybody."""

from __future__ import annotations

from collections import Counter
from functools import partial

import anyio
import pytest

from imgtag.errors import EventError, Unavailable
from imgtag.flow import turns
from imgtag.flow.budget import ByteBudget
from imgtag.flow.turns import HALF_LIFE, MAX_HELD, MAX_OWNERS, Places, Turns
from imgtag.pipeline import ROOM
from imgtag.plugin.source import SourceFeatures
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, picture

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("key", "uploader"),
    [
        ("ann/2026/fox.jpg", "pictures/ann"),
        ("ann/fox.jpg", "pictures/ann"),
        ("ann", "pictures/"),
        ("fox.jpg", "pictures/"),
        ("/fox.jpg", "pictures/"),
    ],
)
def test_an_uploader_is_a_bucket_and_a_first_folder(key, uploader):
    assert uploader == ObjectRef(BUCKET, key).uploader


class Clock:
    """The time as turns see it, which stands still unless it is moved."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(turns, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


async def order_of(turns, *owners):
    """The order in which owners that wait get their turns, each of which is given back at once."""
    order = []

    async def use(owner):
        await turns.take(owner)
        order.append(owner)
        turns.give()

    await turns.take("first")
    async with anyio.create_task_group() as tasks:
        for owner in owners:
            tasks.start_soon(use, owner)
        await anyio.wait_all_tasks_blocked()
        assert len(owners) == turns.waiting
        turns.give()
    assert not turns.waiting
    return order


async def test_the_owner_that_used_least_goes_first(clock):
    """However long its line is, and in the order of its own line."""
    turns = Turns(1)
    turns.charge("slow", 30.0)
    turns.charge("quick", 0.1)
    assert ["new", "new", "quick", "slow", "slow"] == await order_of(turns, "slow", "slow", "new", "quick", "new")


async def test_owners_that_used_the_same_go_in_the_order_in_which_they_came(clock):
    assert ["b", "b", "a"] == await order_of(Turns(1), "b", "a", "b")


async def test_what_was_used_is_forgotten(clock):
    turns = Turns(1)
    turns.charge("a", 8.0)
    clock.now += 3 * HALF_LIFE
    turns.charge("b", 1.1)
    assert ["a", "b"] == await order_of(turns, "b", "a")
    turns.charge("a", 0.2)
    assert ["b", "a"] == await order_of(turns, "b", "a")


async def test_those_that_let_others_go_first_are_let_in_between(clock):
    """Each after a while, one at a time; what they take is a tenth of the time."""
    turns, order = Turns(1), []

    async def use(owner):
        await turns.take(owner)
        order.append("live")
        clock.now += 0.5
        turns.give()

    async def use_last():
        await turns.take_last()
        order.append("last")
        clock.now += 0.3
        turns.charge_last(0.3)
        turns.give()

    await turns.take("first")
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(use_last)
        for _ in range(12):
            tasks.start_soon(use, "a")
        await anyio.wait_all_tasks_blocked()
        turns.give()

    assert [*["live"] * 2, "last", *["live"] * 6, "last", *["live"] * 4] == order


async def test_only_one_of_them_is_let_in_between_at_once(clock):
    """However many things there are, and however long that one takes."""
    turns, order = Turns(2), []

    async def use(take, name):
        await take()
        order.append(name)

    for _ in range(2):
        await turns.take("first")
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(use, turns.take_last, "last")
            tasks.start_soon(use, partial(turns.take, "a"), "live")
        await anyio.wait_all_tasks_blocked()
        clock.now += 100
        for _ in range(4):
            turns.give()
            await anyio.wait_all_tasks_blocked()

    assert ["last", "live", "live", "last"] == order


async def test_only_so_many_owners_are_remembered(clock):
    turns = Turns(1)
    for number in range(MAX_OWNERS + 1):
        turns.charge(str(number), 1.0)
    assert ["0", "1"] == await order_of(turns, "1", "0")
    assert MAX_OWNERS == len(turns._used)


async def test_a_wait_that_is_cancelled_costs_nobody_a_turn():
    """Neither before the turn came nor just as it comes."""
    turns = Turns(1)

    async def use(owner):
        await turns.take(owner)
        turns.give()

    await turns.take("holder")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, "before")
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert 0 == turns.waiting
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, "meanwhile")
        await anyio.wait_all_tasks_blocked()
        turns.give()
        tasks.cancel_scope.cancel()
    with anyio.fail_after(1):
        await turns.take("next")
    assert 0 == turns._free


def fill(places, owner):
    """How many places the owner can take."""
    count = 0
    while places.try_to_take(owner):
        count += 1
    return count


@pytest.mark.parametrize(("total", "held"), [(1, 1), (2, 2), (3, 2), (4, 3), (32, 22)])
async def test_one_owner_leaves_a_third_of_the_places_to_others(total, held):
    """Where there are so many that it can."""
    assert held == fill(Places(total), "slow")


async def test_several_owners_leave_places_too():
    places = Places(32)
    assert [22, 7, 2, 1, 0] == [fill(places, owner) for owner in "abcde"]


async def test_an_owner_waits_for_places_that_come_free_soon():
    """So that what is quick stays in order."""
    places, taken = Places(4), []
    assert 3 == fill(places, "bulk")

    async def wait():
        taken.append(await places.take_soon("bulk"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not taken
        places.give("bulk")
    assert [True] == taken


async def test_an_owner_is_slow_when_its_places_do_not_come_free(clock):
    """It is when the last ones that it took have been held for too long; the time is that of all of them."""
    places = Places(4)
    assert 3 == fill(places, "slow")
    clock.now += MAX_HELD
    assert not await places.take_soon("slow")
    places.give("slow")
    assert await places.take_soon("slow")
    clock.now += 2
    assert await places.take_soon("other")
    assert (MAX_HELD + 2, 0, 0) == (places.age("slow"), places.age("other"), places.age("none"))
    for _ in range(2):
        places.give("slow")
    assert 2 == places.age("slow")


async def test_an_owner_at_its_share_of_the_bytes_holds_up_nobody():
    """An image larger than a share goes while its owner holds nothing else."""
    budget, order = ByteBudget(100), []

    async def hold(owner, count, end):
        async with budget.reserve(count, owner):
            order.append((owner, count))
            await end.wait()

    end = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for owner, count in [("slow", 60), ("slow", 7), ("slow", 5), ("other", 25), ("third", 15)]:
            tasks.start_soon(hold, owner, count, end)
        await anyio.wait_all_tasks_blocked()
        assert [("slow", 60), ("other", 25), ("third", 15)] == order
        end.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold, "large", 500, end)
    assert ("large", 500) == order[-1]
    assert 0 == budget._used.total()


class SlowFor:
    """A model that takes until ``go`` for one uploader's images."""

    def __init__(self, bench, uploader):
        self.go, self.slow = anyio.Event(), 0
        classify = bench.pool.classify

        async def classify_slowly(data, limits, state, digest):
            if state.ref.uploader == f"{BUCKET}/{uploader}":
                self.slow += 1
                await self.go.wait()
            return await classify(data, limits, state, digest)

        bench.pool.classify = classify_slowly


HELD, WAITING = 3, 22
"""Of four places, and of the room for what waits for them."""
IMPATIENCE = 0.1
"""Seconds in which the places of an uploader should come free here."""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(turns, "MAX_HELD", IMPATIENCE)


@pytest.mark.parametrize("parks", [False, True])
async def test_slow_images_do_not_hold_up_those_of_others(bench, impatient, parks):
    """All others are done while not one slow image is; those come afterwards, each once."""
    bench.source.features = SourceFeatures(parks=parks)
    model = SlowFor(bench, "slow")
    for number in range(40):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        await anyio.wait_all_tasks_blocked()
        for number in range(20):
            bench.store.put(f"{BUCKET}/other/{number}.jpg", picture(f"kit fox#{number}"))
        with anyio.fail_after(30):
            while bench.count("imgtag_objects_total", result="labelled") < 20:
                await anyio.sleep(0.01)
        assert HELD == model.slow
        assert all(bench.document(f"other/{number}.jpg") for number in range(20))
        assert bench.count("imgtag_deferred_total") >= 40 - HELD - WAITING
        assert parks == bool(bench.source.published)
        model.go.set()
        bench.source.finish()
    assert 60 == bench.count("imgtag_objects_total", result="labelled")


async def test_a_deferred_event_is_a_durable_hint_only_once(bench, impatient):
    """Where the source keeps hints, the event is acknowledged; a hint that must wait again is given back."""
    bench.source.features = SourceFeatures(parks=True)
    model = SlowFor(bench, "slow")
    hints = [bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}")) for number in range(27)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        with anyio.fail_after(30):
            while len(bench.source.naked) < 2:
                await anyio.sleep(0.01)
        deferred = {hint.ref for hint in hints[HELD + WAITING :]}
        assert {(ref, True) for ref in deferred} == {(hint.ref, hint.deferred) for hint in bench.source.published}
        assert deferred == {delivery.hints[0].ref for delivery in bench.source.acked}
        assert all(delay >= IMPATIENCE for _, delay in bench.source.naked)
        model.go.set()
        bench.source.finish()
    assert 2 == len(bench.source.published)


async def test_events_of_own_writes_are_answered_while_their_uploader_waits(bench, impatient):
    """They would come back as often as there are images."""
    model = SlowFor(bench, "slow")
    for number in range(HELD + WAITING):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    pipeline = bench.pipeline()
    known = Hint(ref=ObjectRef(BUCKET, "slow/known.jpg"), sequencer="1", etag="e")
    pipeline._recent.remember(known)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, anyio.Event())
        bench.source.send(known)
        with anyio.fail_after(30):
            while not bench.source.acked:
                await anyio.sleep(0.01)
        assert 1 == bench.count("imgtag_objects_total", result="answered")
        assert [known.ref] == [delivery.hints[0].ref for delivery in bench.source.acked]
        assert HELD == model.slow
        model.go.set()
        bench.source.finish()


async def test_a_copy_of_an_event_gets_the_answer_of_the_first(bench, impatient):
    """Whether that is in work or waits for a place; the copy takes no place, and nothing is done twice."""
    model, stop = SlowFor(bench, "slow"), anyio.Event()
    hints = [bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}")) for number in range(HELD + 1)]
    working, waiting = hints[0], hints[-1]
    pipeline = bench.pipeline()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, stop)
        bench.source.send(working)
        bench.source.send(waiting)
        with anyio.fail_after(30):
            while len(pipeline._in_work) < HELD + 3:
                await anyio.sleep(0.01)
        assert (HELD, ROOM * bench.concurrency - 1) == (model.slow, pipeline._room._free)
        assert ([], []) == (bench.source.acked, bench.source.naked)
        stop.set()
        await anyio.wait_all_tasks_blocked()
        assert [waiting, waiting] == [delivery.hints[0] for delivery, _ in bench.source.naked]
        model.go.set()
    answered = Counter(delivery.hints[0].ref for delivery in bench.source.acked)
    assert Counter(hint.ref for hint in [*hints[:-1], working]) == answered
    assert HELD == bench.count("imgtag_objects_total", result="labelled")
    assert 1 == bench.count("imgtag_objects_total", result="answered")
    assert {} == pipeline._copies


async def test_a_message_that_cannot_be_read_beside_hints_is_never_lost(bench, impatient):
    """It is given back whole, because a hint would not carry it."""
    bench.source.features = SourceFeatures(parks=True)
    model = SlowFor(bench, "slow")
    for number in range(HELD + WAITING):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        bench.source.send(Hint(ref=ObjectRef(BUCKET, "slow/x.jpg")), problem=EventError("bad", payload=b"x"))
        with anyio.fail_after(30):
            while not bench.source.naked:
                await anyio.sleep(0.01)
        model.go.set()
        bench.source.finish()
    assert [] == bench.source.published
    assert ["bad"] == [letter.reason async for letter in bench.source.dead.list()]


async def test_a_stop_gives_back_what_waits_for_a_place(bench, impatient):
    """What is in work is finished; the rest is for the next start, or another sidecar."""
    model, stop = SlowFor(bench, "slow"), anyio.Event()
    for number in range(HELD + 5):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    pipeline = bench.pipeline()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, stop)
        with anyio.fail_after(30):
            while len(pipeline._in_work) < HELD + 5:
                await anyio.sleep(0.01)
        stop.set()
        await anyio.wait_all_tasks_blocked()
        assert 5 * [0.0] == [delay for _, delay in bench.source.naked]
        model.go.set()
    assert HELD == bench.count("imgtag_objects_total", result="labelled")
    assert (0, ROOM * bench.concurrency) == (len(pipeline._in_work), pipeline._room._free)


async def test_a_stop_gives_back_what_was_pulled_last(bench):
    """Though its uploader's places may still come free soon."""
    model, stop = SlowFor(bench, "slow"), anyio.Event()
    for number in range(HELD + 1):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, stop)
        await anyio.wait_all_tasks_blocked()
        assert (HELD, 0) == (model.slow, bench.source.broker.waiting)
        stop.set()
        await anyio.wait_all_tasks_blocked()
        assert [0.0] == [delay for _, delay in bench.source.naked]
        model.go.set()
    assert HELD == len(bench.source.acked)


async def test_nothing_is_pulled_before_there_is_a_place_for_it(bench):
    """Until then another sidecar can take it."""
    bench.concurrency = 1
    model = SlowFor(bench, "slow")
    for name in ("slow", "other"):
        bench.store.put(f"{BUCKET}/{name}/fox.jpg", picture("red fox"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        await anyio.wait_all_tasks_blocked()
        assert (1, 1) == (model.slow, bench.source.broker.waiting)
        model.go.set()
        bench.source.finish()
    assert 2 == bench.count("imgtag_objects_total", result="labelled")


async def test_a_hint_that_waited_only_for_the_index_waits_for_no_slow_uploader(bench, impatient):
    """It needs no worker, so it is not deferred with the images of its uploader."""
    bench.source.features = SourceFeatures(parks=True)
    model = SlowFor(bench, "slow")
    for number in range(HELD + WAITING):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    parked = Hint(ref=ObjectRef(BUCKET, "slow/parked.jpg"), parked=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        bench.source.send(parked)
        with anyio.fail_after(30):
            while not bench.source.acked:
                await anyio.sleep(0.01)
        assert [parked] == [delivery.hints[0] for delivery in bench.source.acked]
        assert (HELD, []) == (model.slow, bench.source.naked)
        model.go.set()
        bench.source.finish()


async def test_what_waits_for_a_place_is_extended(bench, impatient):
    """Like what is in work: it comes to no other sidecar meanwhile."""
    bench.source.features = SourceFeatures(ack_wait=0.06)
    model = SlowFor(bench, "slow")
    hints = [bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}")) for number in range(HELD + 2)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        with anyio.fail_after(30):
            while {hint.ref for hint in hints} > {delivery.hints[0].ref for delivery in bench.source.extended}:
                await anyio.sleep(0.01)
        model.go.set()
        bench.source.finish()


async def test_what_cannot_be_published_is_given_back(bench, impatient):
    """For longer each time: until then its uploader has had its turn, or other images come first again."""
    bench.source.features = SourceFeatures(parks=True)
    bench.source.faults.fail(Unavailable("no stream"), on="publish", times=None)
    model, pipeline = SlowFor(bench, "slow"), bench.pipeline()
    pipeline._places.age = lambda uploader: 0.11
    for number in range(HELD + WAITING + 1):
        bench.store.put(f"{BUCKET}/slow/{number}.jpg", picture(f"red fox#{number}"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, anyio.Event())
        with anyio.fail_after(30):
            while len(bench.source.naked) < 3:
                await anyio.sleep(0.01)
        assert [0.11, 0.22, 0.33] == [round(delay, 2) for _, delay in bench.source.naked[:3]]
        model.go.set()
        bench.source.finish()
    assert [] == bench.source.published
    assert HELD + WAITING + 1 == bench.count("imgtag_objects_total", result="labelled")
