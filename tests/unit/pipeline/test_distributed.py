"""Sidecars and publishers of a distributed backfill, over the in-memory plugins."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import anyio
import pytest

from imgtag.engine import JobParts
from imgtag.errors import PluginError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.governor import Caps
from imgtag.jobs import distributed as module
from imgtag.jobs.backfill import Backfill, ListedScope, Selection
from imgtag.jobs.distributed import BackfillWorker, Publisher, caps_of, limits_to_json, progress_of
from imgtag.jobs.neighbour import FullSpeed
from imgtag.jobs.standing import make_judge
from imgtag.plugin.backfills import SharedBackfill
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.source import MemorySource
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, SITE, picture

pytestmark = pytest.mark.anyio
FULL_SPEED = limits_to_json(Caps(), full_speed=True)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(module, "LOOK_PERIOD", 0.02)
    monkeypatch.setattr(module, "IDLE_PERIOD", 0.02)
    monkeypatch.setattr(module, "UNKNOWN", Backoff(first=0.02, maximum=0.02))
    monkeypatch.setattr(module, "TICK", 0.005)


@pytest.fixture
def keeping(bench):
    """A source that keeps hints durably, as JetStream does."""
    bench.source = MemorySource(features=SourceFeatures(parks=True, ack_wait=5.0))
    bench.store.notify = lambda _: None
    return bench


def make_parts(bench) -> JobParts:
    return JobParts(
        source=bench.source,
        store=bench.store,
        indexer=bench.indexer,
        site=SITE,
        pipeline=bench.pipeline(),
        policy_of=bench.policy_of,
        metrics=bench.metrics,
    )


@asynccontextmanager
async def running(bench):
    """A sidecar: the pipeline, and the worker beside it. It stops at the end of the context."""
    parts, stop = make_parts(bench), anyio.Event()
    worker = BackfillWorker(parts=parts, backfills=bench.source.backfills, drain=30)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(parts.pipeline.run, stop)
            tasks.start_soon(worker.run, stop)
            yield
            stop.set()


async def publish(bench, keys, description=FULL_SPEED, intent=Intent.NORMAL):
    publication = await bench.source.backfills.begin("b", description)
    hints = [Hint(ref=ObjectRef(BUCKET, key), intent=intent, size=7) for key in keys]
    await publication.publish(hints, "0:end", {"listed": len(hints)})
    await publication.complete()


def fill(bench, count: int) -> list[str]:
    keys = [f"{number:03}.jpg" for number in range(count)]
    for number, key in enumerate(keys):
        bench.store.put(ObjectRef(BUCKET, key), picture(f"red fox#{number}"))
    return keys


async def until(holds) -> None:
    while not await holds():
        await anyio.sleep(0.005)


async def find(bench) -> SharedBackfill:
    (backfill,) = await bench.source.backfills.list()
    return backfill


async def is_done(bench) -> bool:
    (backfill,) = bench.source.broker.backfills.values()
    return backfill.is_published and not backfill.items


async def test_nothing_is_taken_while_live_work_goes_on(keeping):
    """Not when it waits, and not when it is in work, however often the worker looks; afterwards all is labelled."""
    keys, bench, release = fill(keeping, 20), keeping, anyio.Event()
    bench.store.put(ObjectRef(BUCKET, "live.jpg"), picture("kit fox"))
    await publish(bench, keys)
    bench.store.faults.when("open", release.wait)
    bench.source.send(Hint(ref=ObjectRef(BUCKET, "live.jpg")))

    async with running(bench):
        looks = bench.source.faults.count

        async def has_looked() -> bool:
            return bench.store.faults.count("open") > 0 and looks("list_backfills") > 5

        await until(has_looked)
        taken = looks("take_backfill")
        release.set()
        await until(lambda: is_done(bench))
        backfill = await find(bench)

    assert 0 == taken
    assert ["kit fox"] == bench.document("live.jpg")["labels"]
    assert (20, 20, 140) == tuple(backfill.counts[name] for name in ("listed", "labelled", "bytes"))
    assert 20 == bench.count("imgtag_backfill_objects_total", outcome="labelled")


async def test_a_stop_gives_back_what_is_not_begun(keeping):
    """It does not wait for the rate: what waits for its turn is left for others."""
    keys = fill(keeping, 3)
    await publish(keeping, keys, limits_to_json(Caps(objects=0.001), full_speed=False))

    async with running(keeping):

        async def waits() -> bool:
            backfill = keeping.source.broker.backfills["b"]
            return backfill.counts["labelled"] == 1 and any(item.attempt for item in backfill.items)

        await until(waits)

    (again, *_) = await keeping.source.backfills.take("b", 3)
    assert 2 == (await find(keeping)).left
    assert 2 == again.attempt


async def test_while_the_index_is_down_objects_stay_in_the_queue(keeping):
    """Nothing is parked for later: the object counts when it is indexed."""
    keys = fill(keeping, 3)
    keeping.indexer.faults.fail(Unavailable("the index is away"), on="apply", times=4)
    await publish(keeping, keys)

    async with running(keeping):
        await until(lambda: is_done(keeping))
        counts = (await find(keeping)).counts

    assert [] == keeping.source.published
    assert 3 == counts["labelled"]
    assert 3 == keeping.count("imgtag_writes_total")


async def test_a_broken_queue_stops_nothing(keeping):
    """Whatever it raises, live work goes on, and the backfill as soon as it can."""
    keys = fill(keeping, 1)
    await publish(keeping, keys)
    keeping.source.faults.fail(PluginError("the source failed"), on="list_backfills", times=5)
    keeping.source.faults.fail(PluginError("the source failed"), on="take_backfill", times=2)
    keeping.store.put(ObjectRef(BUCKET, "live.jpg"), picture("kit fox"))

    async with running(keeping):
        keeping.source.send(Hint(ref=ObjectRef(BUCKET, "live.jpg")))
        await until(lambda: is_done(keeping))

    assert ["kit fox"] == keeping.document("live.jpg")["labels"]
    assert ["red fox"] == keeping.document(keys[0])["labels"]


async def test_outcomes_count_as_those_of_any_backfill(keeping):
    """What is broken is failed, with its dead letter; what is current is passed over, unless an attempt was lost."""
    (key,) = fill(keeping, 1)
    keeping.store.put(ObjectRef(BUCKET, "broken.jpg"), picture("broken"))
    await publish(keeping, [key])
    async with running(keeping):
        await until(lambda: is_done(keeping))
    await publish(keeping, [key, "broken.jpg", "gone.jpg"])
    async with running(keeping):
        await until(lambda: is_done(keeping))
        progress = progress_of(await find(keeping))
    await publish(keeping, [key])
    async with MemorySource(keeping.source.broker) as killed:
        await killed.backfills.take("b", 1)
    async with running(keeping):
        await until(lambda: is_done(keeping))
        after_a_loss = progress_of(await find(keeping))

    assert (3, 0, 2, 0, 1) == tuple(getattr(progress, name) for name in ("listed", *module.COUNTS))
    assert {"current": 1, "absent": 1} == progress.skipped_as
    assert ["broken.jpg"] == [letter.ref.key async for letter in keeping.source.dead.list()]
    assert (1, 0) == (after_a_loss.labelled, after_a_loss.skipped)
    assert 1 == keeping.count("imgtag_writes_total")


async def test_a_second_publisher_goes_on(keeping, everything, monkeypatch):
    """What is current is passed over by the publisher; each other object is published once."""
    monkeypatch.setattr(module, "PART", 2)
    keys = fill(keeping, 7)
    await publish(keeping, keys[:2])
    async with running(keeping):
        await until(lambda: is_done(keeping))
    parts, queue = make_parts(keeping), keeping.source.backfills
    chooser = Backfill(parts=parts, judge=make_judge(parts), selection=Selection(), gate=FullSpeed(1), dry_run=True)
    queue.max_items = 2
    first = Publisher(backfill=chooser, publication=await queue.begin("b", {}))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run, [ListedScope(keeping.store, everything)])

        async def is_full() -> bool:
            return bool(first.publication.trouble)

        with anyio.fail_after(10):
            await until(is_full)
        tasks.cancel_scope.cancel()
    listed_before = (await find(keeping)).counts["listed"]
    queue.max_items = 100
    second = Publisher(backfill=chooser, publication=await queue.begin("b", {}))

    assert await second.run([ListedScope(keeping.store, everything)])
    backfill, progress = await find(keeping), progress_of(await find(keeping))
    assert 4 == listed_before
    assert (7, 2, {"current": 2}) == (progress.listed, progress.skipped, progress.skipped_as)
    assert (5, True) == (backfill.left, backfill.is_published)
    assert keys[2:] == [item.hint.ref.key for item in keeping.source.broker.backfills["b"].items]


async def test_hours_and_age(keeping):
    """Outside of its hours nothing is taken; what was done a day ago is forgotten."""
    hours = [DailyHours.parse(text) for text in ("00:00-00:01", "12:00-12:01")]
    caps = Caps(
        concurrency=module.MAX_IN_HAND,
        hours=next(closed for closed in hours if closed.next_start(time.time()) is not None),
    )
    keys = fill(keeping, 1)
    await publish(keeping, keys, limits_to_json(caps, full_speed=False))
    old = await keeping.source.backfills.begin("old", {})
    await old.complete()
    keeping.source.broker.backfills["old"].changed -= module.REMEMBERED + 1

    async with running(keeping):

        async def is_forgotten() -> bool:
            return "old" not in keeping.source.broker.backfills

        await until(is_forgotten)
        backfill = await find(keeping)

    assert (1, caps) == (backfill.left, caps_of(backfill))
    assert 0 == keeping.source.faults.count("take_backfill")
