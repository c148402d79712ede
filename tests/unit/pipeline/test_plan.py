"""A plan: what a backfill would do, from a look at some of it or at all, with nothing changed."""

from collections import Counter

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag.jobs.plan import CALIBRATION_IMAGES, Kind, Planner, Reservoir, Tally, wilson
from imgtag.jobs.standing import judge_by
from imgtag.plugin.indexer import Delete
from imgtag.stages.receive import OwnWrites
from imgtag.types.document import document_id
from imgtag.types.metadata import MARK
from imgtag.types.ref import Listed, ObjectRef

from .conftest import BUCKET, SITE, picture
from .test_backfill import fill, make_backfill, run

pytestmark = pytest.mark.anyio
LOCKED = Kind("not_written", "retention")
READS = {"stat", "open", "read", "list", "buckets", "forecast", "get"}


def make_planner(bench, **fields) -> Planner:
    reconcile = bench.reconciler()
    return Planner(reconcile=reconcile, indexer=bench.indexer, judge=judge_by(reconcile), slots=2, **fields)


async def make_plan(bench, everything, **fields):
    """The plan; what it asked of the store only reads."""
    asked = len(bench.store.faults.calls)
    with anyio.fail_after(60):
        plan = await make_planner(bench, **fields).plan([everything])
    assert {call.name for call in bench.store.faults.calls[asked:]} <= READS
    return plan


def counts(plan) -> dict[tuple[str, str], int]:
    return {tuple(finding.kind): finding.objects for finding in plan.findings}


async def test_a_backfill_does_what_was_planned(bench, everything):
    """Whatever decides about an object, plan and backfill agree on it; the second plan has nothing to do."""
    fill(bench, 30)
    bench.store.put(f"{BUCKET}/held.jpg", picture("red fox"), readonly="legal_hold")
    bench.store.put(f"{BUCKET}/secret.jpg", picture("red fox"), unreadable="customer_key")
    bench.store.put(f"{BUCKET}/large.jpg", picture("red fox#") + bytes(bench.max_bytes))
    bench.store.put(f"{BUCKET}/full.jpg", picture("red fox"), metadata={"story": "x" * 2_000})
    bench.store.put(f"{BUCKET}/tight.jpg", picture("red fox"), metadata={"story": "x" * 1_600})
    bench.store.put(f"{BUCKET}/notes.txt", b"text", content_type="text/plain")

    plan = await make_plan(bench, everything, sample=0)
    assert {
        ("to_label", ""): 33,
        ("last_modified", ""): 31,
        ("dropped", "vec"): 1,
        ("not_written", "legal_hold"): 1,
        ("not_written", "metadata_full"): 1,
        ("refused", "customer_key"): 1,
        ("refused", "too_large"): 1,
        ("skipped", "no_image"): 1,
    } == {kind: count for kind, count in counts(plan).items() if kind[1] not in {"facts", "raw", "labels"}}
    assert (36, 36) == (plan.objects, plan.candidates + plan.count("skipped"))

    done = (await run(make_backfill(bench), everything)).progress
    assert (plan.count("to_label"), plan.count("refused")) == (done.labelled, done.refused)
    assert Counter(legal_hold=1, metadata_full=1) == done.not_written
    assert plan.bytes_read == sum(len(data) for data in bench.pool.asked[CALIBRATION_IMAGES - 1 :][-33:])

    again = await make_plan(bench, everything, sample=0)
    assert (0, 0, 0.0) == (again.count("to_label"), again.candidates, again.seconds)


async def test_versions_are_counted(bench, everything):
    """With their bytes: the old versions stay."""
    bench.store.make_bucket(BUCKET, "enabled")
    fill(bench, 5)
    plan = await make_plan(bench, everything)
    [versions] = plan.of_kind("new_version")
    assert (5, plan.bytes) == (versions.objects, versions.bytes)
    assert 0 == plan.bytes_sent


async def test_what_only_the_index_lacks_is_told_apart(bench, everything):
    """Marked objects are indexed again; without a document their bytes are read, which proves the marks."""
    fill(bench, 5)
    await run(make_backfill(bench), everything)
    await bench.indexer.apply([Delete(document_id(SITE, ObjectRef(BUCKET, f"{number:05}.jpg"))) for number in range(2)])
    bench.own_writes = OwnWrites()  # the plan is another process
    plan = await make_plan(bench, everything)
    assert {("reindex", ""): 2, ("skipped", "current"): 3} == counts(plan)
    assert 0 < plan.bytes_read < plan.bytes


async def test_a_sample_stands_for_all(bench, everything):
    """Of 400 objects a quarter is locked: 100 of them looked at say so, within bounds that hold the truth."""
    bench.store.notify = lambda _: None
    for number in range(400):
        lock = "retention" if number % 4 == 0 else None
        bench.store.put(ObjectRef(BUCKET, f"{number:05}.jpg"), picture(f"red fox#{number}"), readonly=lock)
    plan = await make_plan(bench, everything, sample=100, seed=5)
    [locked] = plan.of_kind("not_written")
    assert (400, 100, 5) == (plan.objects, plan.sampled, plan.seed)
    assert 25 < locked.low <= 100 <= locked.high < 200
    assert 400 == plan.count("to_label")
    looked = [call for call in bench.store.faults.calls if call.name == "stat"]
    assert 100 == len(looked)


async def test_a_store_without_forecasts(bench, everything, monkeypatch):
    """What its states say is planned for; the rest counts as written."""
    monkeypatch.delattr(type(bench.store), "forecast")
    fill(bench, 3)
    bench.store.put(f"{BUCKET}/held.jpg", picture("red fox"), readonly="legal_hold")
    plan = await make_plan(bench, everything)
    assert {("to_label", ""): 4, ("last_modified", ""): 3, ("not_written", "legal_hold"): 1} == counts(plan)


async def test_without_an_index_nothing_counts_as_indexed(bench, everything):
    """Marks show what is labelled, and the plan says that the index was not asked."""
    fill(bench, 3)
    await run(make_backfill(bench), everything)
    bench.indexer.faults.when("get", lambda: (_ for _ in ()).throw(Unavailable("down")), times=None)
    plan = await make_plan(bench, everything, outage="the index is down")
    assert {("reindex", ""): 3, ("unknown", "index"): 0} == counts(plan)
    assert MARK in bench.metadata("00000.jpg")


async def test_broken_images_are_found_among_those_that_are_classified(bench, everything):
    """As a share of what would be read."""
    fill(bench, 3)
    bench.store.put(f"{BUCKET}/broken.jpg", picture("broken"))
    plan = await make_plan(bench, everything)
    assert 1 == counts(plan)["failed", "undecodable"]


def test_wilson():
    """The values of the textbook; certain bounds where nothing was tried."""
    assert [(0.0, 0.278), (0.237, 0.763), (0.722, 1.0)] == [
        tuple(round(bound, 3) for bound in wilson(count, 10)) for count in (0, 5, 10)
    ]
    assert (0.0, 1.0) == wilson(0, 0)


def test_a_reservoir_is_fair():
    """Each of ten is among the three that stay about as often; the same seed keeps the same."""

    def draw(seed: int) -> list[int]:
        reservoir = Reservoir(3, seed)
        for number in range(10):
            reservoir.add(number)
        return reservoir.drawn()

    times = Counter(number for seed in range(2_000) for number in draw(seed))
    assert draw(5) == draw(5)
    assert 10 == len(times)
    assert all(500 < count < 700 for count in times.values())


def test_bounds_hold_the_truth_19_times_of_20():
    """Samples of 100 out of 1,000 objects, of which 30 are locked."""
    objects = [Listed(ref=ObjectRef(BUCKET, str(number)), etag="e", size=1, modified=0.0) for number in range(1_000)]
    held = 0
    for seed in range(400):
        reservoir, tally = Reservoir(100, seed), Tally()
        for number in range(1_000):
            reservoir.add(number)
        for number in reservoir.kept:
            tally.add(objects[number], {LOCKED: ""} if number < 30 else {})
        finding = tally.finding(LOCKED, 1_000, 1_000)
        held += finding.low <= 30 <= finding.high
    assert 0.93 <= held / 400 <= 1.0
