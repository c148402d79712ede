"""What an admin sees of the work: durations, log events, heartbeats, dead letters."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import anyio
import pytest

from imgtag import pipeline as pipeline_module
from imgtag.errors import ConfigError, EventError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.ops.health import Health
from imgtag.ops.traces import Traces
from imgtag.pipeline import PipelineLimits
from imgtag.reconcile import Poison
from imgtag.stages.document import DocumentOptions
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, TablePool, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")


def events(caplog, name):
    return [record for record in caplog.records if record.message == name]


async def letters(bench):
    return [letter async for letter in bench.source.dead.list()]


async def test_every_stage_is_measured_once(bench):
    """By its own name, also what the worker says of itself."""
    bench.shadow = TablePool(name="newer")
    classify = bench.pool.classify

    async def timed(*image):
        return replace(await classify(*image), decode=2.0, infer=3.0, waited=4.0)

    bench.pool.classify = timed
    bench.store.put(FOX, picture("red fox"))
    await bench.reconciler()(Hint(ref=FOX))
    bench.store.delete(FOX)
    await bench.reconciler()(Hint(ref=FOX, removed=True))

    count = bench.metrics.registry.get_sample_value
    stages = ["inspect", "fetch", "classify", "wait", "decode", "infer", "annotate", "index", "shadow"]
    assert [2, 1, 1, 1, 1, 1, 1, 2, 1] == [count("imgtag_stage_seconds_count", {"stage": stage}) for stage in stages]
    assert [4, 2, 3] == [count("imgtag_stage_seconds_sum", {"stage": stage}) for stage in ("wait", "decode", "infer")]
    families = [family for family in bench.metrics.registry.collect() if family.name == "imgtag_stage_seconds"]
    assert set(stages) == {sample.labels["stage"] for family in families for sample in family.samples}
    assert len(picture("red fox")) == bench.count("imgtag_bytes_read_total")


async def test_each_object_has_a_span_that_names_it(bench):
    """With bucket, key, and why it is looked at."""
    spans = []

    class NotedTraces(Traces):
        def span(self, name, **attributes):
            spans.append((name, attributes))
            return super().span(name, **attributes)

    bench.metrics.traces = NotedTraces()
    bench.source.send(Hint(ref=FOX, intent=Intent.RETRY))
    await bench.work_off()

    assert [("object", {"bucket": BUCKET, "key": "fox.jpg", "intent": "retry"}), ("inspect", {})] == spans


async def test_both_models_get_the_limits_of_the_policy_and_the_uploader(bench):
    """So that no picture takes more than its rule allows, and no uploader more than its turn."""
    bench.shadow, given = TablePool(name="newer"), []
    for pool in (bench.pool, bench.shadow):

        async def classify(data, limits, state, digest=None, pool=pool):
            given.append((limits, state.ref.uploader))
            return await TablePool.classify(pool, data, limits, state, digest)

        pool.classify = classify
    ref = ObjectRef(BUCKET, "ann/fox.jpg")
    bench.store.put(ref, picture("red fox"))
    await bench.reconciler()(Hint(ref=ref))

    assert [(bench.policy_of(ref).limits, f"{BUCKET}/ann")] * 2 == given


async def test_each_object_reserves_its_bytes_for_its_uploader(bench):
    """As many as it has, or as may be read of it; they are free again when it is done."""
    reserved = []

    class Noted(ByteBudget):
        @asynccontextmanager
        async def reserve(self, count, owner=""):
            reserved.append((count, owner))
            async with super().reserve(count, owner):
                yield
            reserved.append("given back")

    reconciler = replace(bench.reconciler(), budget=Noted(10_000))
    for key, data in {"ann/fox.jpg": picture("red fox"), "large.jpg": picture("red fox").ljust(5000)}.items():
        bench.store.put(ObjectRef(BUCKET, key), data)
        with suppress(Poison):
            await reconciler(Hint(ref=ObjectRef(BUCKET, key)))

    assert [(len(picture("red fox")), f"{BUCKET}/ann"), "given back", (1000, f"{BUCKET}/")] == reserved


async def test_what_waits_for_the_index_holds_no_memory(bench):
    """Its bytes are written by then."""
    budget, holders = ByteBudget(10_000), []
    bench.indexer.faults.when("apply", lambda: holders.append(budget.holders))
    bench.store.faults.when("rewrite", lambda: holders.append(budget.holders))
    bench.store.put(FOX, picture("red fox"))
    await replace(bench.reconciler(), budget=budget)(Hint(ref=FOX))
    assert [1, 0] == holders


async def test_the_users_metadata_that_are_asked_for_are_in_the_document(bench):
    """On first labelling, from headers alone, and where the picture cannot be labelled."""
    reconciler = replace(bench.reconciler(), document_options=DocumentOptions(metadata=("license",)))
    bad = ObjectRef(BUCKET, "bad.jpg")
    bench.store.put(FOX, picture("red fox"), metadata={"license": "2", "owner": "me"})
    bench.store.put(bad, picture("broken"), metadata={"license": "3"})

    await reconciler(Hint(ref=FOX))
    assert {"license": "2"} == bench.document(FOX.key)["meta"]
    bench.indexer.documents.clear()
    await reconciler(Hint(ref=FOX))
    assert {"license": "2"} == bench.document(FOX.key)["meta"]
    with pytest.raises(Poison, match="the JPEG is damaged"):
        await reconciler(Hint(ref=bad))
    assert {"license": "3"} == bench.document(bad.key)["meta"]


async def test_a_retry_is_told_with_what_to_do(bench, caplog):
    """Each try by its number; what an admin has to mend is an error, what passes by itself a warning."""
    for error in (Unavailable("refused", hint="Start it."), ConfigError("no key", code="denied")):
        bench.store.faults.fail(error, on="open")
    bench.store.put(FOX, picture("red fox"))
    bench.store.notify = None
    await bench.work_off()

    first, second = events(caplog, "retry_scheduled")
    assert (f"{BUCKET}/fox.jpg", "unavailable", "refused", "Start it.", 1) == (
        first.target,
        first.code,
        first.reason,
        first.hint,
        first.attempt,
    )
    assert ("denied", "no key", 2) == (second.code, second.reason, second.attempt)
    assert [logging.WARNING, logging.ERROR] == [first.levelno, second.levelno]
    assert [0.0, 0.0] == [first.delay, second.delay]


async def test_a_resync_tells_its_scope_its_keys_and_its_tries(bench, everything, caplog):
    """Also what it waits for."""
    caplog.set_level("INFO")
    bench.store.notify = None
    for number in range(3):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
    bench.store.faults.fail(Unavailable("refused"), on="list")
    bench.source.send(resync=everything)
    await bench.work_off()

    assert [str(everything)] * 2 == [record.scope for record in events(caplog, "resync_started")]
    assert [(str(everything), 1)] == [(record.target, record.attempt) for record in events(caplog, "retry_scheduled")]
    assert [(str(everything), 3)] == [(record.scope, record.keys) for record in events(caplog, "resync_finished")]


async def test_the_keys_of_a_resync_count_their_own_tries(bench, everything, caplog):
    """From one."""
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.store.faults.fail(Unavailable("refused"), on="open", times=3)
    bench.source.send(resync=everything)
    await bench.work_off()

    assert [1, 2, 3] == [record.attempt for record in events(caplog, "retry_scheduled")]
    assert {f"{BUCKET}/fox.jpg"} == {record.target for record in events(caplog, "retry_scheduled")}


async def test_a_dead_letter_has_its_time_and_is_counted_and_told(bench, caplog):
    """Once it is kept."""
    bench.store.put(FOX, picture("unknown label"))
    bench.source.send(problem=EventError("no JSON", payload=b"{"))
    before = time.time()
    await bench.work_off()

    kept = await letters(bench)
    assert {"internal", "event"} == {letter.code for letter in kept}
    assert all(before <= letter.at <= time.time() for letter in kept)
    assert [1, 1] == [bench.count("imgtag_dead_letters_total", code=code) for code in ("internal", "event")]
    logged = {(record.object, record.code) for record in events(caplog, "dead_letter")}
    assert {(f"{BUCKET}/fox.jpg", "internal"), ("None", "event")} == logged


async def test_letters_that_are_dropped_for_want_of_room_are_counted(bench):
    """By a source that counts them."""
    dead = bench.source.dead
    dead.dropped = 100  # before this sidecar took over
    dead.faults.when("put", lambda: setattr(dead, "dropped", dead.dropped + 2), times=None)
    for payload in (b"{", b"["):
        bench.source.send(problem=EventError("no JSON", payload=payload))
    await bench.work_off()

    assert 4 == bench.count("imgtag_dead_letters_dropped_total")


@pytest.mark.parametrize("error", [Unavailable("no room"), RuntimeError("a bug")])
async def test_a_letter_that_cannot_be_kept_is_tried_again_after_a_pause(bench, error, caplog):
    """The first one a short pause, whatever went wrong; until then nothing counts as given up."""
    bench.source.send(problem=EventError("no JSON", payload=b"{"))
    bench.source.dead.faults.fail(error, on="put")
    limits = PipelineLimits(concurrency=1, drain=5, backoff=Backoff(first=0.01, maximum=1))
    bench.source.finish()
    with anyio.fail_after(10):
        await replace(bench.pipeline(), limits=limits).run(anyio.Event())

    ((_, delay),) = bench.source.naked
    assert 0.005 <= delay <= 0.01
    assert [b"{"] == [letter.payload for letter in await letters(bench)]
    assert 1 == bench.count("imgtag_dead_letters_total", code="event")


@pytest.mark.parametrize("error", [Unavailable("no room"), RuntimeError("a bug")])
async def test_the_letter_of_a_bug_is_kept_in_the_end(bench, error, caplog):
    """The key has its three tries again before; what is tried again is told by its name."""
    bench.store.put(FOX, picture("unknown label"))
    bench.source.dead.faults.fail(error, on="put")
    await bench.work_off()

    assert ["internal"] == [letter.code for letter in await letters(bench)]
    assert 6 == len(bench.pool.asked)
    retries = [record.target for record in events(caplog, "retry_scheduled")]
    assert [f"{BUCKET}/fox.jpg"] * isinstance(error, Unavailable) == retries


async def test_work_that_gets_on_is_alive_and_work_that_hangs_is_not(bench):
    """Each object that is done, and each retry, is a heartbeat: five minutes without one are too long."""
    now, seen = [0.0], []
    bench.health = Health(clock=lambda: now[0])
    bench.concurrency = 1
    classify = bench.pool.classify

    async def slow(*image):
        now[0] += 200
        seen.append(bench.health.live().ok)
        if len(seen) == 2:
            raise Unavailable("for a while")
        if len(seen) == 5:
            now[0] += 200
            seen.append(bench.health.live().ok)
        return await classify(*image)

    bench.pool.classify = slow
    for number in range(4):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
    await bench.work_off()

    assert [True, True, True, True, True, False] == seen[:6]


@pytest.fixture
def watchful(monkeypatch):
    """The queue is looked at all the time."""
    monkeypatch.setattr(pipeline_module, "WATCH_PERIOD", 0.001)


class Held:
    """A model that takes until ``go``."""

    def __init__(self, bench):
        self.go = anyio.Event()
        classify = bench.pool.classify

        async def classify_later(*image):
            await self.go.wait()
            return await classify(*image)

        bench.pool.classify = classify_later


async def until(true):
    with anyio.fail_after(5):
        while not true():
            await anyio.sleep(0.001)


@pytest.mark.usefixtures("watchful")
async def test_the_queue_is_what_was_taken_and_is_not_done(bench):
    """In work or in line; it is empty when all is done."""
    model, stop = Held(bench), anyio.Event()
    bench.store.notify = None
    for number in range(3):
        bench.store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
        bench.source.send(Hint(ref=ObjectRef(BUCKET, f"{number}.jpg")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, stop)
        await until(lambda: bench.count("imgtag_queue") == 3)
        model.go.set()
        await until(lambda: bench.count("imgtag_queue") == 0)
        stop.set()


@pytest.mark.usefixtures("watchful")
async def test_who_has_nothing_to_do_is_alive(bench):
    """However long; who has work and does nothing is not."""
    now = [0.0]
    bench.health = Health(clock=lambda: now[0])
    model, stop = Held(bench), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.pipeline().run, stop)
        await anyio.wait_all_tasks_blocked()
        now[0] += 1000
        await until(lambda: bench.health.live().ok)
        bench.store.put(FOX, picture("red fox"))
        await until(lambda: bench.count("imgtag_queue") == 1)
        now[0] += 1000
        await anyio.sleep(0.02)
        assert not bench.health.live().ok
        model.go.set()
        await until(lambda: bench.health.live().ok)
        stop.set()


async def test_what_is_refused_is_not_counted_as_failed(bench):
    """It was not tried; its letter says why."""
    bench.store.put(FOX, picture("red fox").ljust(bench.max_bytes + 1))
    await bench.work_off()

    (letter,) = await letters(bench)
    assert ("too_large", bench.document(FOX.key)["reason"]) == (letter.code, letter.reason)
    assert [1, 0] == [bench.count("imgtag_objects_total", result=result) for result in ("refused", "failed")]


async def test_the_time_since_an_upload_is_measured_where_it_was_labelled(bench):
    """Not where nothing was to be done, which an old event can come to, nor where no event tells when."""
    now = time.time()
    for number, (name, at) in enumerate((("red fox", now - 100), ("nothing", now + 100), ("kit fox", None))):
        ref = ObjectRef(BUCKET, f"{number}.jpg")
        bench.store.notify = None
        bench.store.put(ref, picture(name))
        for _ in range(2):
            bench.source.send(Hint(ref=ref, at=at))
    bench.source.send(Hint(ref=ObjectRef(BUCKET, "absent.jpg"), at=now - 1000))
    await bench.work_off()

    assert 2 == bench.count("imgtag_latency_seconds_count")
    assert 100 <= bench.count("imgtag_latency_seconds_sum") < 160


async def test_an_event_from_the_future_took_no_time(bench):
    """The clocks of store and sidecar may differ."""
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.source.send(Hint(ref=FOX, at=time.time() + 100))
    await bench.work_off()

    assert (1, 0.0) == (bench.count("imgtag_latency_seconds_count"), bench.count("imgtag_latency_seconds_sum"))


async def test_each_object_that_is_processed_is_an_event(bench, caplog):
    """With what became of it; one that changed nothing only where debug messages are logged."""
    caplog.set_level("DEBUG")
    bench.store.notify = None
    bench.store.put(FOX, picture("red fox"))
    bench.store.put(f"{BUCKET}/locked.jpg", picture("kit fox"), readonly="retention")
    for key in ("fox.jpg", "fox.jpg", "locked.jpg"):
        bench.source.send(Hint(ref=ObjectRef(BUCKET, key)))
    await bench.work_off()

    done = [(event.levelno, event.bucket, event.key, event.result) for event in events(caplog, "object_processed")]
    (refused,) = events(caplog, "labels_not_written")
    assert [(logging.INFO, "labelled"), (logging.DEBUG, "current")] == [(level, result) for level, _, _, result in done]
    assert {(BUCKET, "fox.jpg")} == {(bucket, key) for _, bucket, key, _ in done}
    assert (BUCKET, "locked.jpg", "labelled", "retention") == (
        refused.bucket,
        refused.key,
        refused.result,
        refused.code,
    )
    assert "writing on it is forbidden (retention)" == refused.reason
