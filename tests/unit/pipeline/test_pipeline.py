"""Deliveries: what is acknowledged, what comes again, what is given up."""

from __future__ import annotations

import random
from dataclasses import replace

import anyio
import pytest

from imgtag.errors import ConfigError, EventError, ModelError, PluginError, Unavailable
from imgtag.plugin.source import SourceFeatures
from imgtag.stages.annotate import WriteLimit
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

from .conftest import BUCKET, picture

pytestmark = pytest.mark.anyio


async def letters(bench):
    return [letter async for letter in bench.source.dead.list()]


async def test_a_delivery_is_acknowledged_when_it_is_indexed(bench):
    """One upload, one write, one acknowledgement; the event of our own write costs nothing."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))

    await bench.work_off()

    assert ["red fox"] == bench.document("fox.jpg")["labels"]
    assert 2 == len(bench.source.acked)
    assert 1 == bench.store.faults.count("open")
    assert 1 == bench.count("imgtag_objects_total", result="answered")


async def test_doubled_events_cost_nothing(bench):
    """A second lane that brings every event again is answered from memory, until another event of the key comes."""
    bench.concurrency = 1
    bench.store.notify = None
    hint = bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    later = Hint(ref=hint.ref, sequencer="9", etag=hint.etag)
    for event in (hint, hint, later, hint):
        bench.source.send(event)

    await bench.work_off()

    assert 4 == len(bench.source.acked)
    assert 1 == bench.count("imgtag_objects_total", result="answered")
    assert 3 == bench.store.faults.count("open")


async def test_what_fails_for_a_while_comes_again(bench):
    """A store that does not answer costs a delay, not a picture."""
    bench.store.faults.fail(Unavailable("slow down"), times=3)
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))

    await bench.work_off()

    assert bench.document("fox.jpg") is not None
    assert bench.source.naked
    assert [] == await letters(bench)


async def test_poison_is_a_dead_letter_and_acknowledged(bench):
    """With the reason, while all others are done."""
    bench.store.put(f"{BUCKET}/bad.jpg", picture("broken"))
    bench.store.put(f"{BUCKET}/good.jpg", picture("red fox"))

    await bench.work_off()

    (letter,) = await letters(bench)
    bad = ObjectRef(BUCKET, "bad.jpg")
    assert (bad, "undecodable", "the JPEG is damaged") == (letter.ref, letter.code, letter.reason)
    assert "failed" == bench.document("bad.jpg")["status"]
    assert "labelled" == bench.document("good.jpg")["status"]
    assert 1 == bench.count("imgtag_objects_total", result="failed")


async def test_a_message_that_is_no_notification_is_a_dead_letter(bench):
    """It is acknowledged, and its reason kept."""
    bench.source.send(problem=EventError("no JSON", payload=b"{"))

    await bench.work_off()

    (letter,) = await letters(bench)
    assert ("event", "no JSON", None, b"{") == (letter.code, letter.reason, letter.ref, letter.payload)


async def test_while_the_index_is_down_hints_are_parked(bench):
    """Where the source keeps hints, labelling goes on; later nothing is inferred again."""
    bench.source.features = SourceFeatures(parks=True)
    bench.indexer.faults.fail(Unavailable(), times=12)
    for number in range(3):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture(f"red fox#{number}"))

    await bench.work_off()

    assert 3 == len(bench.indexer.documents)
    assert 3 == len(bench.pool.asked)
    assert 3 == len({hint.ref for hint in bench.source.published})
    assert all(hint.parked for hint in bench.source.published)
    assert all(hint.parked for delivery, _ in bench.source.naked for hint in delivery.hints)


async def test_where_hints_cannot_be_parked_they_wait(bench):
    """Without such a place the delivery itself comes again."""
    bench.indexer.faults.fail(Unavailable(), times=4)
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))

    await bench.work_off()

    assert bench.source.naked
    assert 1 == len(bench.pool.asked)
    assert bench.document("fox.jpg") is not None


async def test_a_stop_gives_back_what_is_not_done(bench):
    """After the drain time what is in flight is naked, not lost and not acknowledged."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    stop = anyio.Event()

    async def never(*image):
        stop.set()
        await anyio.sleep_forever()

    bench.pool.classify = never
    with anyio.fail_after(5):
        await bench.pipeline(drain=0.05).run(stop)

    assert [] == bench.source.acked
    assert [0.0] == [delay for _, delay in bench.source.naked]


async def test_a_stop_finishes_what_was_begun(bench):
    """Within the drain time it is done and acknowledged; nothing new is begun."""
    bench.concurrency = 1
    for number in range(5):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture(f"red fox#{number}"))
    stop = anyio.Event()
    bench.pool.meanwhile = stop.set

    with anyio.fail_after(5):
        await bench.pipeline().run(stop)

    assert 1 == len(bench.source.acked)
    assert 1 == len(bench.indexer.documents)


@pytest.mark.parametrize("error", [ConfigError("the key is refused"), ModelError("gone"), PluginError("broken")])
async def test_what_was_right_at_the_start_is_waited_for_when_it_breaks(bench, error):
    """A key that a server no longer takes ends nothing: the delivery comes again until somebody has mended it."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    classify, failures = bench.pool.classify, iter([error, error])

    async def broken(*image):
        for failure in failures:
            raise failure
        return await classify(*image)

    bench.pool.classify = broken
    await bench.work_off()

    assert "labelled" == bench.document("fox.jpg")["status"]
    assert 2 == bench.count("imgtag_retries_total", code=error.code)
    assert 0 == bench.count("imgtag_dead_letters_total", code=error.code)


async def test_a_bug_costs_one_key_and_three_tries(bench):
    """An error that nobody foresaw sets its key aside instead of turning for ever."""
    bench.store.put(f"{BUCKET}/good.jpg", picture("red fox"))
    bench.store.put(f"{BUCKET}/odd.jpg", picture("unknown label"))

    await bench.work_off()

    (letter,) = await letters(bench)
    assert ("odd.jpg", "internal") == (letter.ref.key, letter.code)
    assert bench.document("good.jpg") is not None
    assert 3 == bench.pool.asked.count(picture("unknown label"))


async def test_a_resync_mends_every_difference(bench, everything):
    """New, changed and vanished objects are found without a single event; what agrees is not even opened."""
    for name in ("same", "changed", "gone"):
        bench.store.put(f"{BUCKET}/{name}.jpg", picture("red fox"))
    await bench.work_off()
    bench.store.notify = None
    bench.store.put(f"{BUCKET}/changed.jpg", picture("café"))
    bench.store.put(f"{BUCKET}/new.jpg", picture("kit fox"))
    bench.store.delete(f"{BUCKET}/gone.jpg")
    opened = bench.store.faults.count("open")

    bench.source = MemorySource(features=SourceFeatures())
    bench.source.send(resync=everything)
    await bench.work_off()

    labels = {document["key"]: document["labels"] for document in bench.indexer.documents.values()}
    assert {"same.jpg": ["red fox"], "changed.jpg": ["café"], "new.jpg": ["kit fox"]} == labels
    assert 3 == bench.store.faults.count("open") - opened
    assert 1 == len(bench.source.acked)


async def test_a_resync_of_a_bucket_that_is_gone_waits(bench, everything):
    """Nothing is deleted; when the bucket is back the resync is done."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    await bench.work_off()
    bench.store.take_away(BUCKET)
    bench.source = MemorySource(features=SourceFeatures())
    bench.source.send(resync=everything)
    bench.source.finish()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, anyio.Event())
        with anyio.fail_after(5):
            while len(bench.source.naked) < 2:
                await anyio.sleep(0.01)
        assert bench.document("fox.jpg") is not None
        bench.store.bring_back(BUCKET)

    assert 1 == len(bench.source.acked)
    assert bench.document("fox.jpg") is not None


async def test_a_bucket_that_shows_nothing_keeps_its_documents_and_holds_back_no_other(bench, everything):
    """It may be one of the same name on the wrong server: its resync comes again, and the rest goes on meanwhile."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    await bench.work_off()
    bench.store.features = replace(bench.store.features, sure_when_empty=False)
    bench.store.notify = None
    bench.store.delete(f"{BUCKET}/fox.jpg")
    bench.source = MemorySource(features=SourceFeatures())
    bench.source.send(resync=everything)
    bench.source.finish()
    pipeline = bench.pipeline()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, anyio.Event())
        with anyio.fail_after(5):
            while len(bench.source.naked) < 2:
                await anyio.sleep(0.01)
        assert bench.document("fox.jpg") is not None
        assert pipeline._breaker._failures == 0
        bench.store.put(f"{BUCKET}/other.jpg", picture("kit fox"))

    assert ["other.jpg"] == [document["key"] for document in bench.indexer.documents.values()]


async def test_long_work_is_extended(bench):
    """A source with an ack wait is told that we are still at it."""
    bench.source.features = SourceFeatures(ack_wait=0.3)
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    bench.store.notify = None
    classify = bench.pool.classify

    async def slow(*image):
        while len(bench.source.extended) < 4:  # by then it would have come again
            await anyio.sleep(0.01)
        return await classify(*image)

    bench.pool.classify = slow
    await bench.work_off()

    assert 1 == len(bench.source.acked)


async def test_one_key_is_worked_on_by_one(bench):
    """However many events of a key there are, its last content wins and its work never overlaps."""
    busy, most = 0, 0
    classify = bench.pool.classify

    async def watched(*image):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.sleep(0.001)
        busy -= 1
        return await classify(*image)

    bench.pool.classify = watched
    for number in range(30):
        bench.store.put(f"{BUCKET}/fox.jpg", picture(f"red fox#{number}"))
    bench.store.put(f"{BUCKET}/fox.jpg", picture("café"))

    await bench.work_off()

    assert 1 == most
    assert ["café"] == bench.document("fox.jpg")["labels"]


async def test_concurrency_is_bounded(bench):
    """Never more keys in work than the setting says."""
    busy, most = 0, 0

    async def watched(*image):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.sleep(0.001)
        busy -= 1
        return await classify(*image)

    classify = bench.pool.classify
    bench.pool.classify = watched
    for number in range(40):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture(f"red fox#{number}"))

    await bench.work_off()

    assert 1 < most <= bench.concurrency
    assert 40 == len(bench.indexer.documents)


async def test_retry_is_tried_on_the_same_content(bench):
    """A replayed dead letter is looked at again though nothing changed."""
    bench.store.put(f"{BUCKET}/bad.jpg", picture("broken"))
    bench.source.send(Hint(ref=ObjectRef(BUCKET, "bad.jpg"), intent=Intent.RETRY))

    await bench.work_off()

    assert 2 == len(bench.pool.asked)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_index_and_objects_agree_in_the_end(bench, seed):
    """Random uploads, overwrites, copies, deletes, races and outages: afterwards every object has its document,
    every document its object, the labels are those of the content, and user metadata are untouched."""
    chance = random.Random(seed)
    keys = [f"{number}.jpg" for number in range(8)]
    names = ["red fox", "kit fox", "café"]

    def act(tries: int = 1) -> None:
        for _ in range(tries):
            key = f"{BUCKET}/{chance.choice(keys)}"
            move = chance.random()
            there = bench.store.peek(key)
            if move < 0.6 or there is None:
                content = picture(f"{chance.choice(names)}#{chance.randrange(3)}")
                bench.store.put(key, content, metadata={"owner": chance.choice("abc")})
            elif move < 0.8:
                bench.store.delete(key)
            else:
                bench.store.copy(key, f"{BUCKET}/{chance.choice(keys)}")

    act(20)
    bench.limit = WriteLimit(1000)
    bench.store.before_rewrite(lambda: chance.random() < 0.3 and act(), times=20)
    bench.store.between_read_and_write(lambda: chance.random() < 0.3 and act(), times=20)
    bench.store.faults.fail(Unavailable(), times=3)
    bench.indexer.faults.fail(Unavailable(), times=5)
    await bench.work_off()

    states = [bench.store.peek(ObjectRef(BUCKET, key)) for key in keys]
    there = {state.ref.key: state for state in states if state}
    documents = {document["key"]: document for document in bench.indexer.documents.values()}
    assert there.keys() == documents.keys()
    for key, state in there.items():
        content = bench.store.data(state.ref).removeprefix(picture("")).decode().split("#")[0]
        assert [content] == documents[key]["labels"]
        assert state.etag == documents[key]["etag"]
        assert state.metadata["owner"] in "abc"
    assert [] == await letters(bench)
    assert Scope(BUCKET)


# Dead letters end with their reason


@pytest.mark.parametrize("mended", [True, False], ids=["replaced", "deleted"])
async def test_a_dead_letter_is_gone_with_its_reason(bench, mended):
    """Half an image and then the rest, or nothing: the letter does not outlive what it speaks of."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("broken"))
    await bench.work_off()
    assert ["pictures/fox.jpg"] == [str(letter.ref) async for letter in bench.source.dead.list()]

    if mended:
        bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    else:
        bench.store.delete(f"{BUCKET}/fox.jpg")
    await bench.work_off()

    assert [] == [letter async for letter in bench.source.dead.list()]


async def test_a_second_look_at_what_failed_keeps_its_letter(bench):
    """Nothing was tried again, so nothing is known to be better, and there is no second letter."""
    hint = bench.store.put(f"{BUCKET}/fox.jpg", picture("broken"))
    await bench.work_off()
    bench.source.send(Hint(ref=hint.ref))
    await bench.work_off()

    assert 1 == len(await letters(bench))
    assert 1 == bench.source.dead.faults.count("put")


async def test_a_letter_that_cannot_be_removed_does_not_bring_its_key_back(bench):
    """The key is done; an admin can drop the letter."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("broken"))
    await bench.work_off()
    bench.source.dead.faults.fail(Unavailable("no stream"), on="discard", times=None)
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    await bench.work_off()

    assert "labelled" == bench.document("fox.jpg")["status"]
    assert [] == bench.source.naked
    assert 1 == len(await letters(bench))


async def test_what_a_bug_buried_is_gone_when_it_was_done(bench):
    """It has no document that says so."""
    bench.store.put(f"{BUCKET}/odd.jpg", picture("unknown label"))
    pipeline = bench.pipeline()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            stop = anyio.Event()
            group.start_soon(pipeline.run, stop)
            while not [letter async for letter in bench.source.dead.list()]:
                await anyio.sleep(0.01)
            bench.store.put(f"{BUCKET}/odd.jpg", picture("red fox"))
            while [letter async for letter in bench.source.dead.list()]:
                await anyio.sleep(0.01)
            stop.set()


async def test_letters_are_removed_as_soon_as_the_key_is_done(bench):
    """Whether its failure left a document or not."""
    bench.store.notify = None
    pipeline, steps = bench.pipeline(), []
    for name in ("red fox", "unknown label", "kit fox", "broken", "café"):
        bench.store.put(f"{BUCKET}/fox.jpg", picture(name))
        bench.source.broker.finished = False
        bench.source.send(Hint(ref=ObjectRef(BUCKET, "fox.jpg")))
        bench.source.finish()
        with anyio.fail_after(10):
            await pipeline.run(anyio.Event())
        steps.append(len(await letters(bench)))

    assert [0, 1, 0, 1, 0] == steps


async def test_what_failed_is_given_up_only_with_a_dead_letter(bench):
    """Its document is there first; where the letter could not be kept, the delivery that comes again puts it."""
    bench.store.put(f"{BUCKET}/fox.jpg", picture("broken"))
    bench.source.dead.faults.fail(Unavailable("no room"), on="put")

    await bench.work_off()

    (letter,) = await letters(bench)
    assert ("pictures/fox.jpg", "undecodable", "the JPEG is damaged") == (str(letter.ref), letter.code, letter.reason)


async def test_one_key_at_a_time_is_enough_for_a_resync(bench):
    """The pull that waits for the next delivery does not hold the only slot."""
    bench.concurrency = 1
    bench.store.notify = lambda hint: None
    bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    pipeline = bench.pipeline()
    async with anyio.create_task_group() as group:
        stop = anyio.Event()
        group.start_soon(pipeline.run, stop)
        with anyio.fail_after(10):
            await pipeline.compare(Scope(BUCKET))
        stop.set()
    assert ["red fox"] == bench.document("fox.jpg")["labels"]


@pytest.mark.parametrize("lanes", [1, 2])
async def test_an_upload_costs_one_look_on_every_lane(bench, lanes):
    """The event of our own write comes between those of the upload, and both come as often as there are lanes."""
    bench.store.notify = None
    pipeline = bench.pipeline()
    upload = bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    for hint in (upload, None, upload, None)[: 2 * lanes]:
        bench.source.broker.finished = False
        bench.source.send(hint or bench.store.events[-1])
        bench.source.finish()
        with anyio.fail_after(10):
            await pipeline.run(anyio.Event())

    assert 1 == bench.store.faults.count("open")
    assert 2 * lanes - 1 == bench.count("imgtag_objects_total", result="answered")


@pytest.mark.parametrize("forgets", [False, True], ids=["kept", "not kept"])
async def test_a_write_without_an_event_is_looked_at(bench, monkeypatch, forgets):
    """Where the store did not keep the labels, they are written again, and in the end the reason is in the index."""
    monkeypatch.setattr("imgtag.stages.receive.CONFIRMATION_WAIT", 0.0)
    monkeypatch.setattr("imgtag.pipeline.WATCH_PERIOD", 0.01)
    bench.store = MemoryStore(BUCKET, assumes=True, forgets=forgets)
    upload = bench.store.put(f"{BUCKET}/fox.jpg", picture("red fox"))
    stop = anyio.Event()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(bench.pipeline().run, stop)
            bench.source.send(upload)
            if forgets:
                while "write_limit" not in (bench.document("fox.jpg") or {}).get("code", ""):
                    await anyio.sleep(0.01)
            else:
                while not bench.count("imgtag_objects_total", result="current"):
                    await anyio.sleep(0.01)
            stop.set()

    assert (2 if not forgets else 4) == bench.store.faults.count("open")
