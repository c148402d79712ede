"""A backfill: what is there already is labelled by the same rule as what comes, and nothing is done twice."""

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio import to_thread

from imgtag.engine import JobParts
from imgtag.errors import ModelError, Unavailable
from imgtag.jobs import backfill as module
from imgtag.jobs.backfill import Backfill, ListedScope, Selection
from imgtag.jobs.checkpoint import CheckpointFile
from imgtag.jobs.standing import Standing, make_judge
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.types.event import Intent
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, SITE, picture

pytestmark = pytest.mark.anyio
RENAMED = LabelPolicy(rules=(LabelRule(labels=("red fox",), rename="reynard"),))


class Gate:
    """Lets everything in, and notes sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @asynccontextmanager
    async def admit(self, size: int = 0):
        self.sizes.append(size)
        yield


def make_parts(bench) -> JobParts:
    pipeline = bench.pipeline()
    pipeline.is_job = True
    return JobParts(
        source=bench.source,
        store=bench.store,
        indexer=bench.indexer,
        site=SITE,
        pipeline=pipeline,
        policy_of=bench.policy_of,
        metrics=bench.metrics,
    )


def make_backfill(bench, **more) -> Backfill:
    parts = make_parts(bench)
    fields = {"parts": parts, "judge": make_judge(parts), "selection": Selection(), "gate": Gate()}
    return Backfill(**fields | more)


async def run(backfill: Backfill, scope, file: CheckpointFile | None = None, position: str = "") -> Backfill:
    with anyio.fail_after(60):
        await backfill.run([ListedScope(backfill.parts.store, scope)], file, position)
    return backfill


def select(*standings: Standing) -> Selection:
    return Selection(standings=frozenset(standings))


def fill(bench, count: int) -> None:
    """Objects of which no event tells."""
    bench.store.notify = lambda _: None
    for number in range(count):
        bench.store.put(ObjectRef(BUCKET, f"{number:05}.jpg"), picture(f"red fox#{number}"))


async def test_everything_is_labelled_once(bench, everything):
    """The second run reads no body and writes nothing."""
    fill(bench, 30)
    bench.store.put(ObjectRef(BUCKET, "broken.jpg"), picture("broken"))
    bench.store.put(ObjectRef(BUCKET, "notes.txt"), b"text")

    first = (await run(make_backfill(bench), everything)).progress
    assert (32, 30, 1, 0, 1) == (first.listed, first.labelled, first.skipped, first.refused, first.failed)
    assert {"imgtag_red+fox": "0.90"}.items() <= bench.metadata("00007.jpg").items()
    asked, writes = len(bench.pool.asked), bench.count("imgtag_writes_total")
    assert (31, 30) == (asked, writes)

    calls = Counter(call.name for call in bench.store.faults.calls)
    second = (await run(make_backfill(bench), everything)).progress
    assert (32, 0, 32) == (second.listed, second.labelled, second.skipped)
    assert {"current": 30, "failed": 1, "no_image": 1} == second.skipped_as
    assert (asked, writes) == (len(bench.pool.asked), bench.count("imgtag_writes_total"))
    assert {"list": 1} == Counter(call.name for call in bench.store.faults.calls) - calls


async def test_a_changed_object_is_labelled_again(bench, everything):
    """So is one that lost its labels, which the listing shows."""
    fill(bench, 3)
    await run(make_backfill(bench), everything)
    bench.store.put(ObjectRef(BUCKET, "00000.jpg"), picture("kit fox"))
    bench.store.put(ObjectRef(BUCKET, "00001.jpg"), picture("red fox#1"))

    again = await run(make_backfill(bench), everything)
    assert (2, 1) == (again.progress.labelled, again.progress.skipped)
    assert "imgtag_kit+fox" in bench.metadata("00000.jpg")


async def test_stale_labels_follow_from_kept_scores(bench, everything):
    """No body is read and nothing is classified."""
    fill(bench, 3)
    await run(make_backfill(bench), everything)
    bench.policy = RENAMED
    read = bench.count("imgtag_bytes_read_total")

    assert 3 == (await run(make_backfill(bench), everything)).progress.skipped_as["stale"]
    again = await run(make_backfill(bench, selection=select(Standing.STALE)), everything)
    assert 3 == again.progress.labelled
    assert (3, read) == (len(bench.pool.asked), bench.count("imgtag_bytes_read_total"))
    assert "imgtag_reynard" in bench.metadata("00000.jpg")


async def test_what_is_incomplete_is_classified_again(bench, everything):
    """Where an embedding was not kept, and is to be now."""
    kept, bench.codec = bench.codec, replace(bench.codec, keep=frozenset({"facts", "raw"}))
    fill(bench, 2)
    await run(make_backfill(bench), everything)
    bench.codec = kept

    again = await run(make_backfill(bench, selection=select(Standing.INCOMPLETE)), everything)
    assert (2, 4) == (again.progress.labelled, len(bench.pool.asked))
    assert "imgtag-vec" in bench.metadata("00000.jpg")
    assert 2 == (await run(make_backfill(bench), everything)).progress.skipped_as["current"]


async def test_what_failed_is_tried_again_when_asked(bench, everything):
    """Not otherwise: a broken image stays broken."""
    bench.store.notify = lambda _: None
    bench.store.put(ObjectRef(BUCKET, "a.jpg"), picture("broken"))
    await run(make_backfill(bench), everything)
    again = await run(make_backfill(bench, selection=select(Standing.FAILED)), everything)
    assert (1, 2) == (again.progress.failed, len(bench.pool.asked))


async def test_a_dry_run_touches_nothing(bench, everything):
    """It says what would be labelled, and how many bytes that are."""
    fill(bench, 3)
    progress = (await run(make_backfill(bench, dry_run=True), everything)).progress
    assert (3, 3, 3 * len(picture("red fox#0"))) == (progress.listed, progress.labelled, progress.bytes)
    assert ([], {}) == (bench.pool.asked, bench.indexer.documents)


async def test_a_killed_run_goes_on_after_the_last_page(bench, everything, tmp_path, monkeypatch):
    """The counts go on too, and at most a page is looked at again."""
    monkeypatch.setattr(module, "PAGE", 10)
    monkeypatch.setattr(module, "SAVE_PERIOD", 0.01)
    fill(bench, 60)
    file = CheckpointFile(tmp_path, {"lists": ["pictures/"]})
    first = make_backfill(bench)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run, [ListedScope(first.parts.store, everything)], file)
        while len(bench.pool.asked) < 35:
            await anyio.sleep(0.001)
        tasks.cancel_scope.cancel("killed")
    saved = await to_thread.run_sync(file.load)
    done = saved["progress"]["listed"]
    assert 25 <= done < 60

    second = make_backfill(bench)
    second.progress = type(second.progress).from_dict(saved["progress"])
    await run(second, everything, file, saved["position"])
    assert 60 == second.progress.listed
    assert 60 == len(bench.indexer.documents)
    assert 60 == bench.count("imgtag_writes_total")
    assert await to_thread.run_sync(file.load) is None


async def test_while_the_index_is_away_it_waits(bench, everything):
    """Nothing is left to a sidecar that may not run; the order of a page is kept."""
    fill(bench, 5)
    bench.indexer.faults.fail(Unavailable("away"), on="apply", times=3)
    progress = (await run(make_backfill(bench), everything)).progress
    assert (5, 0) == (progress.listed, progress.failed)
    assert 5 == len(bench.indexer.documents)
    assert [] == [hint for hint in bench.source.published if hint.parked]


async def test_what_waiting_cannot_mend_ends_it(bench, everything):
    """A model that is gone is said at once, and the checkpoint stays."""
    fill(bench, 3)
    backfill = make_backfill(bench)

    async def refuse(hint, *, is_new=False):
        raise ModelError("gone")

    backfill.parts.pipeline.reconcile = refuse
    with pytest.raises(BaseExceptionGroup) as caught:
        await run(backfill, everything)
    assert caught.group_contains(ModelError)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(min_size=13), 1),
        (Selection(max_size=11), 1),
        (Selection(modified_after=1e12), 0),
        (Selection(modified_before=1e12), 3),
        (Selection(rule=4), 0),
    ],
)
async def test_objects_are_chosen_by_size_time_and_rule(bench, everything, selection, expected):
    """The others are counted as not selected."""
    bench.store.notify = lambda _: None
    for key, content in {"a.jpg": "red fox", "b.jpg": "red fox#1", "c.jpg": "red fox#22"}.items():
        bench.store.put(ObjectRef(BUCKET, key), picture(content))
    progress = (await run(make_backfill(bench, selection=selection), everything)).progress
    assert (expected, 3 - expected) == (progress.labelled, progress.skipped)


async def test_every_object_passes_the_gate_with_its_size(bench, everything):
    """Only those that are worked on."""
    fill(bench, 2)
    backfill = await run(make_backfill(bench), everything)
    assert [len(picture("red fox#0"))] * 2 == backfill.gate.sizes
    again = await run(make_backfill(bench), everything)
    assert [] == again.gate.sizes


def test_intents_cover_what_can_be_selected():
    """Each standing that a selection can name has a way to look at it."""
    assert {Intent.NORMAL, Intent.RETRY, Intent.STALE, Intent.INCOMPLETE} == set(module._INTENTS.values())


async def test_a_stop_waits_for_what_is_in_work_alone(bench, everything, tmp_path):
    """Not for what the gate has yet to admit, which may open hours later; the next run goes on there."""

    class ClosingGate(Gate):
        @asynccontextmanager
        async def admit(self, size: int = 0):
            if len(self.sizes) == 3:
                await anyio.sleep_forever()
            async with super().admit(size):
                yield

    fill(bench, 10)
    file = CheckpointFile(tmp_path, {})
    stopped = make_backfill(bench, gate=ClosingGate())

    async def stop():
        while len(bench.indexer.documents) < 3:
            await anyio.sleep(0.01)
        stopped.stop.set()

    async with anyio.create_task_group() as beside:
        beside.start_soon(stop)
        await run(stopped, everything, file)
    assert (3, 3) == (stopped.progress.listed, stopped.progress.labelled)

    going_on = make_backfill(bench)
    await run(going_on, everything, file, (await to_thread.run_sync(file.load))["position"])
    assert 7 == going_on.progress.labelled
