"""What does not answer, what keeps failing, and what that costs the rest."""

from __future__ import annotations

import logging
from dataclasses import replace

import anyio
import pytest

from imgtag import pipeline as pipeline_module
from imgtag.errors import ConfigError, DocumentError, EventError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.local_queue import LocalQueue
from imgtag.pipeline import PipelineLimits
from imgtag.plugin.source import SourceFeatures
from imgtag.stages.index import IndexUnavailable
from imgtag.testing.source import MemorySource
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")
LONG = Backoff(first=3600.0, maximum=3600.0)
"""What is tried again is tried again after the test."""


def limited(bench, **limits):
    """A pipeline with other limits."""
    return replace(
        bench.pipeline(), limits=PipelineLimits(**{"concurrency": 4, "drain": 0.0, "backoff": LONG} | limits)
    )


async def run_until(pipeline, true) -> None:
    """Run until something is so, and then as long as it takes to see whether more happens."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run, anyio.Event())
            while not true():
                await anyio.sleep(0.001)
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel("seen")


async def letters(bench):
    return [letter async for letter in bench.source.dead.list()]


# The index


async def test_what_the_index_knows_is_not_guessed_while_it_is_down(bench):
    """An object that is gone may have a document: without an answer nothing is concluded, and its deletion waits."""
    bench.indexer.faults.fail(Unavailable("no route"), on="get")

    with pytest.raises(IndexUnavailable, match="no route"):
        await bench.reconciler()(Hint(ref=FOX))
    bench.admitted = lambda _: False
    bench.indexer.faults.fail(Unavailable("no route"), on="get")
    with pytest.raises(IndexUnavailable, match="no route"):
        await bench.reconciler()(Hint(ref=FOX))


async def test_a_deletion_is_made_up_for_when_the_index_is_back(bench):
    """Parked, so that labelling goes on meanwhile."""
    bench.source.features = SourceFeatures(parks=True)
    bench.store.put(FOX, picture("red fox"))
    await bench.work_off()
    assert bench.document(FOX.key) is not None
    bench.source = MemorySource(features=SourceFeatures(parks=True))
    bench.store.notify = bench.source.send
    bench.indexer.faults.fail(Unavailable(), times=2)
    bench.store.delete(FOX)
    await bench.work_off()

    assert bench.document(FOX.key) is None
    assert [True] == [hint.parked and hint.removed for hint in bench.source.published]


async def test_a_hint_that_cannot_be_parked_comes_again(bench):
    """Where publishing fails too nothing is acknowledged."""
    bench.source.features = SourceFeatures(parks=True)
    bench.indexer.faults.fail(Unavailable(), times=2)
    bench.source.faults.fail(Unavailable("no stream"), on="publish")
    bench.store.put(FOX, picture("red fox"))
    bench.store.notify = None

    await bench.work_off()

    assert 1 == len(bench.source.naked)
    assert [] == bench.source.published
    assert 1 == bench.count("imgtag_retries_total", code="unavailable")
    assert bench.document(FOX.key) is not None


async def test_what_waits_for_the_index_alone_holds_back_nothing(bench):
    """A parked hint that fails again waits by itself; other keys are labelled meanwhile."""
    bench.source.features = SourceFeatures(parks=True)
    pipeline = limited(bench, concurrency=1)
    bench.indexer.faults.fail(Unavailable(), times=None)
    bench.source.send(Hint(ref=FOX, parked=True))
    bench.store.put(f"{BUCKET}/other.jpg", picture("kit fox"))

    await run_until(pipeline, lambda: bench.source.published)

    assert [picture("kit fox")] == bench.pool.asked
    assert FOX == bench.source.naked[0][0].hints[0].ref


class QueueSource(MemorySource):
    """Keeps its hints in a queue in memory, as sources without a broker do."""

    def __init__(self) -> None:
        super().__init__(features=SourceFeatures())
        self.queue = LocalQueue()

    async def deliveries(self):
        async for delivery in self.queue:
            yield delivery


async def test_the_event_of_our_own_write_is_not_the_end_of_what_waits_for_the_index(bench):
    """In a queue of one hint for each key it takes the place of the upload, whose document is still to be indexed."""
    bench.source = QueueSource()
    bench.store.notify = bench.source.queue.put
    bench.indexer.faults.fail(Unavailable("no route"), on="apply", times=3)
    bench.store.put(FOX, picture("red fox"))

    await run_until(bench.pipeline(), lambda: bench.document(FOX.key))

    assert [picture("red fox")] == bench.pool.asked


async def test_a_document_that_the_index_refuses_is_a_dead_letter(bench):
    """It would be refused again; the letter is put again where it could not be kept."""
    bench.store.put(FOX, picture("red fox"))
    await bench.work_off()
    bench.store.notify = None
    bench.indexer.refused = dict.fromkeys(bench.indexer.documents, DocumentError("too long", code="too_long"))
    bench.indexer.documents.clear()
    bench.source = MemorySource()
    bench.source.dead.faults.fail(Unavailable("no room"), on="put")
    bench.source.send(Hint(ref=FOX))
    await bench.work_off()

    assert [(FOX, "too_long", "too long")] == [
        (letter.ref, letter.code, letter.reason) for letter in await letters(bench)
    ]
    assert (1, 1) == (len(bench.source.acked), len(bench.source.naked))


# Everything else


@pytest.mark.parametrize("error", [Unavailable("refused"), ConfigError("the key is refused")])
async def test_while_the_store_is_down_nothing_more_is_pulled(bench, error):
    """Nor while it refuses our key. Other sidecars may be able to work on it."""
    bench.store.faults.fail(error, on="open", times=None)
    for number in range(9):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))

    await run_until(limited(bench, concurrency=2), lambda: bench.source.naked)

    # Two were in work, and the next one was already next in line.
    assert 1 <= bench.store.faults.count("open") <= 3
    assert bench.source.faults.count("nak") == bench.store.faults.count("open")


async def test_a_key_that_is_done_shows_that_the_store_answers_again(bench):
    """What is pulled after it does not wait for the end of the pause."""
    bench.store.notify = None
    for number in range(4):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture(f"red fox#{number}"))
    has_failed, classify = anyio.Event(), bench.pool.classify

    async def classify_after_failure(*image):
        await has_failed.wait()
        return await classify(*image)

    bench.pool.classify = classify_after_failure
    bench.store.faults.fail(Unavailable("refused"), on="open")
    bench.source.faults.when("nak", has_failed.set)

    def send(*numbers: int) -> None:
        for number in numbers:
            bench.source.send(Hint(ref=ObjectRef(BUCKET, f"{number}.jpg")))

    send(0, 1)
    # The third would be pulled in any case, the fourth would not: it waits for the end of the pause of an hour.
    bench.source.faults.when("ack", lambda: send(2, 3))
    await run_until(limited(bench), lambda: bench.document("3.jpg"))

    assert [picture(f"red fox#{number}") for number in (1, 2, 3)] == bench.pool.asked


async def test_a_key_that_waits_keeps_no_slot_from_the_others(bench, everything):
    """A resync goes on although one of its keys is tried again and again."""
    bench.store.notify = None
    bench.store.put(f"{BUCKET}/1.jpg", picture("unknown label"))
    bench.store.put(f"{BUCKET}/2.jpg", picture("red fox"))
    bench.source.send(resync=everything)

    # One of the two slots is taken by whoever waits for the next delivery.
    await run_until(limited(bench, concurrency=2), lambda: bench.document("2.jpg"))

    assert [picture("unknown label"), picture("red fox")] == bench.pool.asked
    assert [] == bench.source.acked


async def run_through_growing_pauses(bench):
    """Run until all is done, after four tries in vain; check the pauses between them."""
    with anyio.fail_after(10):
        await limited(bench, backoff=Backoff(first=0.008, maximum=0.03), drain=5).run(anyio.Event())

    pauses = [delay for _, delay in bench.source.naked]
    assert 4 == len(pauses)
    for pause, full in zip(pauses, (0.008, 0.016, 0.03, 0.03), strict=True):
        assert full / 2 <= pause <= full


async def test_pauses_grow_with_every_try(bench):
    """Each about twice as long as the one before it, up to the longest."""
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.source.send(Hint(ref=FOX))
    bench.source.finish()
    bench.store.faults.fail(Unavailable("refused"), on="open", times=4)
    await run_through_growing_pauses(bench)
    assert bench.document(FOX.key) is not None


async def test_nothing_is_given_up_without_a_dead_letter(bench):
    """A message that is no notification stays where it is until its letter is kept."""
    bench.source.send(problem=EventError("no JSON", payload=b"{"))
    bench.source.dead.faults.fail(Unavailable("no room"), on="put", times=2)

    await bench.work_off()

    assert [b"{"] == [letter.payload for letter in await letters(bench)]
    assert (2, 1) == (len(bench.source.naked), len(bench.source.acked))
    assert 2 == bench.count("imgtag_retries_total", code="unavailable")


async def test_a_bug_is_forgotten_when_the_key_is_done(bench):
    """Three in a row set it aside, not three in a week."""
    bench.store.notify = None
    pipeline = bench.pipeline()
    classify, outcomes = (
        bench.pool.classify,
        [RuntimeError(), RuntimeError(), None, RuntimeError(), RuntimeError(), None],
    )

    async def flaky(*image):
        if error := outcomes.pop(0):
            raise error
        return await classify(*image)

    bench.pool.classify = flaky
    for name in ("red fox", "kit fox"):
        bench.store.put(FOX, picture(name))
        bench.source.broker.finished = False
        bench.source.send(Hint(ref=FOX))
        bench.source.finish()
        with anyio.fail_after(10):
            await pipeline.run(anyio.Event())

    assert [] == outcomes
    assert [] == await letters(bench)
    assert ["kit fox"] == bench.document(FOX.key)["labels"]


async def test_a_bug_is_told_with_its_key_and_its_traceback(bench, caplog):
    """So that it can be mended; the letter says what it was."""
    bench.store.put(FOX, picture("unknown label"))

    await bench.work_off()

    (letter,) = await letters(bench)
    assert "ValueError: tuple.index(x): x not in tuple" == letter.reason
    records = [record for record in caplog.records if record.message == "unexpected_error"]
    assert [(BUCKET, "fox.jpg", logging.ERROR)] * 3 == [
        (record.bucket, record.key, record.levelno) for record in records
    ]
    assert all(record.exc_info[0] is ValueError for record in records)


async def test_a_shared_key_is_looked_at_until_a_look_changes_nothing(bench):
    """Another sidecar may have indexed something older meanwhile."""
    bench.source.features = SourceFeatures(shared=True)
    bench.store.put(FOX, picture("red fox"))
    bench.store.notify = None

    def hide() -> None:
        bench.store.put(FOX, picture("kit fox"))
        bench.source.broker.given += 1  # to that sidecar

    bench.indexer.faults.when("apply.applied", hide)
    await bench.work_off()

    assert ["kit fox"] == bench.document(FOX.key)["labels"]
    assert 3 == bench.store.faults.count("open")
    assert 1 == len(bench.source.acked)


async def test_a_shared_key_that_never_rests_is_looked_at_four_times(bench):
    """Then it is done: whoever changes it sends events of its own."""
    bench.source.features = SourceFeatures(shared=True)
    bench.store.put(FOX, picture("red fox"))
    bench.store.notify = None

    def hide() -> None:
        bench.store.put(FOX, picture("kit fox"))
        bench.source.broker.given += 1  # to another sidecar

    bench.indexer.faults.when("apply.applied", hide, times=None)
    await bench.work_off()

    assert 4 == bench.store.faults.count("open")
    assert 1 == len(bench.source.acked)


async def test_a_shared_key_of_a_sidecar_that_is_alone_is_looked_at_once(bench):
    """Nobody else was given anything, so nobody can have indexed anything."""
    bench.source.features = SourceFeatures(shared=True)
    bench.store.put(FOX, picture("red fox"))
    bench.store.notify = None
    bench.source.finish()
    await run_until(bench.pipeline(), lambda: bench.source.acked)

    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert 1 == bench.store.faults.count("open")


async def test_a_resync_looks_again_at_a_shared_key(bench, everything):
    """It lasts long, and the delivery that it came with says nothing of the moment when a key is indexed."""
    bench.source.features = SourceFeatures(shared=True)
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.source.send(resync=everything)
    await bench.work_off()

    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert 2 == bench.store.faults.count("open")


async def test_a_retry_and_a_relabelling_are_never_answered_from_memory(bench):
    """Somebody asked for them."""
    bench.store.put(FOX, picture("red fox"))
    bench.source.send(Hint(ref=FOX, etag="e", sequencer="1", intent=Intent.STALE))
    bench.source.send(Hint(ref=FOX, etag="e", sequencer="1", intent=Intent.STALE))

    await bench.work_off()

    assert 3 == bench.store.faults.count("open")


async def test_a_resync_lists_no_further_than_it_can_keep_in_mind(bench, everything, monkeypatch):
    """Keys that wait for another try are bounded, so memory does not depend on how many differ."""
    monkeypatch.setattr(pipeline_module, "MAX_RESYNC_PENDING", 2)
    listed = []

    async def find_differences(scope):
        for number in range(50):
            listed.append(number)
            yield Hint(ref=ObjectRef(BUCKET, f"{number}.jpg"))

    bench.store.notify = None
    for number in range(50):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("unknown label"))
    bench.source.send(resync=everything)
    pipeline = replace(limited(bench), find_differences=find_differences)
    await run_until(pipeline, lambda: len(bench.pool.asked) == 2)

    # The third one is at hand until one of the two is done.
    assert [0, 1, 2] == listed
    assert 2 == len(bench.pool.asked)


async def test_a_resync_of_more_keys_than_may_wait_is_done(bench, everything, monkeypatch):
    """Each key makes room when it is done."""
    monkeypatch.setattr(pipeline_module, "MAX_RESYNC_PENDING", 2)
    bench.store.notify = None
    for number in range(9):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
    bench.source.send(resync=everything)
    await bench.work_off()

    assert 9 == len(bench.indexer.documents)
    assert 1 == len(bench.source.acked)


async def test_while_the_store_is_down_no_further_keys_of_a_resync_are_tried(bench, everything):
    """They wait like everything else."""
    bench.store.notify = None
    for number in range(9):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
    bench.store.faults.fail(Unavailable("refused"), on="open", times=None)
    bench.source.send(resync=everything)
    await run_until(limited(bench, concurrency=2), lambda: bench.store.faults.count("open") == 9)

    # All of them were waiting for a slot when the first one failed; none comes again.
    assert 9 == bench.store.faults.count("open")


@pytest.fixture
def refused(bench):
    """Keys that the store does not open."""
    keys, open_object = {FOX}, bench.store.open

    def refuse(ref, *arguments, **options):
        if ref in keys:
            raise Unavailable("no read quorum")
        return open_object(ref, *arguments, **options)

    bench.store.open = refuse
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    return keys


@pytest.mark.parametrize("shared", [False, True])
async def test_a_key_that_always_fails_does_not_hold_up_the_next_resync(bench, everything, refused, shared):
    """It is a hint of its own by then, which is done when that is possible."""
    bench.source.features = SourceFeatures(shared=shared)
    pipeline = bench.pipeline()
    bench.source.send(resync=everything)
    await run_until(pipeline, lambda: bench.source.acked)
    assert [Hint(ref=FOX)] == bench.source.published
    assert bench.source.acked[0].resync == everything

    refused.clear()
    await run_until(pipeline, lambda: bench.document(FOX.key))
    assert [Hint(ref=FOX)] == [hint for delivery in bench.source.acked for hint in delivery.hints]


async def test_a_key_is_given_back_by_one_resync_alone(bench, everything, refused):
    """Where no other sidecar can get its hint: otherwise hints of it would gather."""
    pipeline = bench.pipeline()
    for number in (1, 2, 3):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("kit fox"))
        bench.source.send(resync=everything)
        await run_until(pipeline, lambda number=number: len(bench.source.acked) == number)
        assert bench.document(f"{number}.jpg") is not None
    assert [Hint(ref=FOX)] == bench.source.published

    refused.clear()
    await run_until(pipeline, lambda: bench.document(FOX.key))
    refused.add(FOX)
    bench.store.put(FOX, picture("café"))
    bench.source.send(resync=everything)
    await run_until(pipeline, lambda: len(bench.source.published) == 2)


async def test_a_key_that_the_source_does_not_take_stays_with_its_resync(bench, everything, refused):
    """It is not lost."""
    bench.source.faults.fail(Unavailable("no stream"), on="publish", times=None)
    pipeline = bench.pipeline()
    bench.source.send(resync=everything)
    await run_until(pipeline, lambda: bench.source.faults.count("publish") == 2)
    assert [] == bench.source.acked

    refused.clear()
    await run_until(pipeline, lambda: bench.source.acked)
    assert bench.document(FOX.key) is not None


async def test_a_resync_that_cannot_be_listed_holds_back_everything(bench, everything):
    """The store does not answer: events are not tried meanwhile either."""
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.store.faults.fail(Unavailable("refused"), on="list", times=None)
    bench.source.send(resync=everything)
    pipeline = limited(bench, concurrency=1)
    await run_until(pipeline, lambda: bench.source.naked)
    bench.source.send(Hint(ref=FOX))
    await run_until(pipeline, lambda: True)

    assert 0 == bench.store.faults.count("open")


async def test_a_key_that_was_set_aside_has_its_three_tries_again(bench):
    """When somebody asks for it once more."""
    bench.store.notify = None
    bench.store.put(FOX, picture("unknown label"))
    pipeline = bench.pipeline()
    for _ in range(2):
        bench.source.broker.finished = False
        bench.source.send(Hint(ref=FOX))
        bench.source.finish()
        with anyio.fail_after(10):
            await pipeline.run(anyio.Event())

    assert 6 == len(bench.pool.asked)


async def test_a_key_is_not_tried_again_before_its_pause_is_over(bench, everything):
    """In a resync as elsewhere."""
    bench.store.notify = None
    bench.store.put(FOX, picture("unknown label"))
    bench.source.send(resync=everything)
    await run_until(limited(bench), lambda: bench.pool.asked)

    assert 1 == len(bench.pool.asked)


async def test_keys_that_a_resync_finds_while_the_store_is_down_wait(bench, everything):
    """Though none of them has failed itself."""
    bench.store.notify = None
    bench.store.faults.fail(Unavailable("refused"), on="open", times=None)
    found = []

    async def find_differences(scope):
        for name in ("first", "second"):
            found.append(name)
            yield Hint(ref=ObjectRef(BUCKET, f"{name}.jpg"))
            while not bench.store.faults.count("open"):
                await anyio.sleep(0.001)
            await anyio.sleep(0.001)

    bench.source.send(resync=everything)
    pipeline = replace(limited(bench), find_differences=find_differences)
    await run_until(pipeline, lambda: len(found) == 2)

    assert 1 == bench.store.faults.count("open")


async def test_a_listing_that_fails_in_several_tasks_at_once_is_tried_again(bench, everything):
    """A store may list its buckets or folders side by side: then its errors come in groups, and in groups of groups."""

    async def find_differences(scope):
        raise ExceptionGroup("listing", [ExceptionGroup("folder", [Unavailable("refused"), Unavailable("no route")])])
        yield

    pipeline = replace(bench.pipeline(), find_differences=find_differences)
    with pytest.raises(Unavailable, match="refused"):
        await pipeline.compare(everything)


@pytest.mark.parametrize("error", [Unavailable("no route"), ConfigError("the key is rejected")])
async def test_a_resync_that_a_server_refuses_is_tried_again(bench, everything, error):
    """Nor does a key that is taken away while the listing runs end the pipeline."""
    listings = []

    async def find_differences(scope):
        listings.append(scope)
        if len(listings) == 1:
            raise error
        return
        yield

    bench.source.send(resync=everything)
    await run_until(replace(bench.pipeline(), find_differences=find_differences), lambda: len(listings) == 2)

    assert [everything, everything] == listings


@pytest.mark.parametrize("intent", [Intent.NORMAL, Intent.RETRY])
async def test_pauses_before_a_letter_is_put_again_grow_too(bench, intent):
    """As those before any other try, whether the image is tried again with it or not."""
    bench.store.notify = None
    bench.store.put(FOX, picture("broken"))
    bench.source.send(Hint(ref=FOX, intent=intent))
    bench.source.finish()
    bench.source.dead.faults.fail(Unavailable("no room"), on="put", times=4)
    await run_through_growing_pauses(bench)


PARKED = Hint(ref=FOX, parked=True)
ELSEWHERE = Hint(ref=ObjectRef("gone", "fox.jpg"))
RESTLESS = Hint(ref=FOX)


@pytest.mark.parametrize("hint", [PARKED, ELSEWHERE, RESTLESS], ids=["parked", "bucket", "restless"])
async def test_what_concerns_one_key_or_one_bucket_holds_back_no_other(bench, hint):
    """A hint that waits only for the index, a bucket that is not there, an object that keeps changing."""
    bench.source.features = SourceFeatures(parks=True)
    if hint is PARKED:
        bench.indexer.faults.fail(Unavailable(), times=None)
    if hint is RESTLESS:
        bench.store.notify = None
        bench.store.put(FOX, picture("red fox"))
        bench.store.before_rewrite(lambda: bench.store.put(FOX, picture("red fox")), times=3)
    pipeline = limited(bench)
    bench.source.send(hint)
    await run_until(pipeline, lambda: bench.source.naked)
    bench.source.send(Hint(ref=ObjectRef(BUCKET, "other.jpg")))
    bench.store.notify = None
    bench.store.put(f"{BUCKET}/other.jpg", picture("kit fox"))
    await run_until(pipeline, lambda: picture("kit fox") in bench.pool.asked)

    assert [hint] == [delivery.hints[0] for delivery, _ in bench.source.naked if delivery.hints[0].ref == hint.ref]


async def test_a_retry_tells_its_pause(bench, caplog):
    """In seconds, to a tenth."""
    bench.store.notify = None
    bench.store.faults.fail(Unavailable("refused"), on="open", times=None)
    bench.source.send(Hint(ref=FOX))
    await run_until(limited(bench, backoff=Backoff(first=0.6, maximum=0.6)), lambda: bench.source.naked)

    told = [record.delay for record in caplog.records if record.message == "retry_scheduled"]
    assert [round(delay, 1) for _, delay in bench.source.naked] == told
