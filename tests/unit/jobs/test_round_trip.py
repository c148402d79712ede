"""The picture that doctor sends: what is told of its way, and that nothing of it stays."""

from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from runpy import run_path

import anyio
import pytest
from PIL import Image, ImageChops

from imgtag.errors import BucketAbsent, Unavailable, Undecodable, WriteRefused
from imgtag.jobs.round_trip import RoundTrip, Targets, picture
from imgtag.plugin.service import Change
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.types.ref import ObjectRef
from imgtag.workers.pool import Inference
from unit.pipeline.conftest import BUCKET, SITE, Bench, TablePool

pytestmark = pytest.mark.anyio

REF = ObjectRef(BUCKET, "imgtag-doctor-00000000.jpg")
STEPS = ["put", "labelled", "found", "removed", "sent"]


class FoxPool(TablePool):
    """Sees a fox in whatever it is shown, or raises."""

    error: Exception | None = None

    async def classify(self, data, limits, state, digest=None):
        self.meanwhile()
        if self.error:
            raise self.error
        digest = digest or sha256(data).digest()
        return Inference(raw=Raw(((0, 0.9),)), facts=Facts(width=320, height=320), digest=digest, decode=0, infer=0)


class Post:
    """A sidecar in memory, and what a round trip that goes through it tells."""

    def __init__(self, versioning="enabled"):
        store = MemoryStore()
        store.make_bucket(BUCKET, versioning)
        source = MemorySource(features=SourceFeatures())
        self.bench = Bench(store, source, MemoryIndexer(), pool=FoxPool(), max_bytes=100_000)
        self.bench.store.notify = source.send
        self.checks = []
        self.messages = []

    def round_trip(self, patience=10.0):
        bench = self.bench
        written = bench.strategy != "none"
        targets = Targets(site=SITE, store=bench.store, source=bench.source, indexer=bench.indexer, written=written)
        return RoundTrip(REF, targets, patience=patience, report=self.checks.append, tell=self.messages.append)

    @asynccontextmanager
    async def running(self):
        """While it lasts, a sidecar works off what is delivered."""
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.bench.pipeline().run, stop)
            yield
            stop.set()

    async def send(self, patience=10.0):
        async with self.running():
            await self.round_trip(patience).run()

    @property
    def steps(self):
        return [check.check for check in self.checks]

    @property
    def failed(self):
        """The one check that failed."""
        (check,) = [check for check in self.checks if not check.ok]
        return check

    def assert_nothing_is_left(self):
        """No version of the object, and no document."""
        assert () == self.bench.store.versions(REF)
        assert {} == self.bench.indexer.documents


@pytest.fixture
def post():
    return Post()


@pytest.mark.parametrize("versioning", ["unversioned", "enabled", "suspended"])
async def test_all_steps(versioning):
    """Each with its milliseconds, the label that was found, and a total at the end."""
    post = Post(versioning)
    await post.send()

    assert STEPS == post.steps
    assert all(check.ok for check in post.checks)
    assert all(check.message.endswith(" ms") for check in post.checks[:4])
    assert post.checks[2].message.startswith("red fox (0.90), ")
    assert post.checks[4].message.startswith("red fox (0.90) after ")
    assert ["put", "labelled", "found", "removed"] == [
        part.split()[0] for part in post.checks[4].message.partition(": ")[2].split(", ")
    ]
    post.assert_nothing_is_left()


async def test_what_is_not_written_on_is_not_waited_for(post):
    """Where the rules index only, the step is left out."""
    post.bench.strategy = "none"
    await post.send()

    assert ["put", "found", "removed", "sent"] == post.steps
    assert all(check.ok for check in post.checks)
    post.assert_nothing_is_left()


async def test_nobody_works(post):
    """Without a sidecar nothing comes of a hint either, and that is what is told."""
    await post.round_trip(patience=0.1).run()

    assert ["put", "labelled", "removed"] == post.steps
    assert "no sidecar processes hints" in post.failed.message
    assert "imgtag run" in post.failed.hint
    assert [REF, REF] == [hint.ref for hint in post.bench.source.published]
    assert 1 == len(post.messages)
    post.assert_nothing_is_left()


@pytest.mark.parametrize("strategy", ["auto", "none"])
async def test_the_store_tells_nobody(post, strategy):
    """What is done as soon as it is hinted at was not notified; the removal is hinted at, too."""
    post.bench.store.notify = None
    post.bench.strategy = strategy
    await post.send(patience=0.3)

    assert ("found" if strategy == "none" else "labelled") == post.failed.check
    assert "the store did not notify the sidecar" in post.failed.message
    assert "imgtag setup" in post.failed.hint
    assert "removed" == post.steps[-1]
    post.assert_nothing_is_left()


async def test_no_sidecar_can_be_told(post):
    """Where hints are not stored, the report says why nobody received one."""
    post.bench.source.faults.fail(Unavailable("no sidecar listens", hint="Start one."), on="publish", times=None)
    await post.round_trip(patience=0.1).run()

    assert "no sidecar listens" in post.failed.message
    assert "Start one." == post.failed.hint
    post.assert_nothing_is_left()


async def test_nobody_has_ever_worked(post):
    """Where the source is not even set up nothing is published, for that would make it."""
    post.bench.source.setup = lambda *, apply: _changes(Change(what="stream imgtag-test"))
    await post.round_trip(patience=0.1).run()

    assert "missing or different: stream imgtag-test" in post.failed.message
    assert "imgtag setup" in post.failed.hint
    assert [] == post.bench.source.published
    post.assert_nothing_is_left()


async def _changes(*changes):
    return changes


async def test_a_picture_that_cannot_be_labelled(post):
    """The reason of its document is that of the check."""
    post.bench.pool.error = Undecodable("the worker has no memory", code="memory")
    await post.send()

    assert "failed: memory: the worker has no memory" == post.failed.message
    assert "dlq list" in post.failed.hint
    assert ["put", "labelled", "removed"] == post.steps
    post.assert_nothing_is_left()


async def test_nothing_may_be_written_on_it(post):
    """What is indexed without being written on is told with its code."""
    post.bench.store.faults.fail(WriteRefused("it may not be written on", code="permission"), on="rewrite", times=None)
    await post.send()

    assert "labelled, but nothing was written on it: permission: it may not be written on" == post.failed.message
    post.assert_nothing_is_left()


async def test_the_index_is_another_one(post):
    """Labelled, and not found where we look: somebody else's settings."""
    async with post.running():
        post.bench.indexer = MemoryIndexer()
        await post.round_trip(patience=0.3).run()

    assert "found" == post.failed.check
    assert "[indexer]" in post.failed.hint
    assert ["put", "labelled", "found", "removed"] == post.steps


async def test_the_index_is_down(post):
    """It is labelled all the same, and the index is what is named."""
    post.bench.indexer.faults.fail(Unavailable("the index does not answer"), times=None)
    post.bench.store.after_rewrite(post.bench.store.faults.mend)
    async with post.running():
        round_trip = post.round_trip(patience=1)
        await round_trip.run()

    assert ["put", "labelled", "found", "removed"] == post.steps
    assert {
        "found": "the index does not answer",
        "removed": f"{REF} is gone, but its document may still exist: the index does not answer",
    } == {check.check: check.message for check in post.checks if not check.ok}
    assert () == post.bench.store.versions(REF)


async def test_somebody_else_removes_it(post):
    """It is told, and waited for no longer."""
    post.bench.store.faults.when("stat", lambda: post.bench.store.delete(REF))
    await post.round_trip().run()

    assert "somebody else" in post.failed.message
    post.assert_nothing_is_left()


@pytest.mark.parametrize(
    "error",
    [WriteRefused("a default retention", code="retention", hint="--to elsewhere"), BucketAbsent("no such bucket")],
    ids=["refused", "no bucket"],
)
async def test_what_was_not_put_is_not_removed(post, error):
    """The reason is told, and nothing more is done."""
    post.bench.store.faults.fail(error, on="create")
    await post.round_trip().run()

    assert ["put"] == post.steps
    assert error.message == post.failed.message
    assert error.hint == post.failed.hint
    assert 0 == post.bench.store.faults.count("erase")


async def test_what_may_have_been_put_is_removed(post):
    """Where the answer to the upload is lost, the object may be there."""
    real = post.bench.store.create

    async def create(*arguments):
        await real(*arguments)
        raise Unavailable("the answer was lost")

    post.bench.store.create = create
    await post.send()

    assert ["put", "removed"] == post.steps
    assert "the answer was lost" == post.failed.message
    post.assert_nothing_is_left()


async def test_what_cannot_be_removed_is_named(post):
    """With the way to do it by hand."""
    post.bench.store.faults.fail(WriteRefused("denied", hint="Permit it."), on="erase", times=None)
    await post.send()

    assert ["put", "labelled", "found", "removed"] == post.steps
    assert f"cannot remove {REF}: denied" == post.failed.message
    assert f"Remove {REF} by hand, with all its versions. Permit it." == post.failed.hint


async def test_a_write_under_way_is_removed_too(post):
    """A version that comes as the others go is not left behind."""
    store = post.bench.store
    store.faults.when("erase", lambda: store.faults.when("stat", lambda: store.put(REF, b"late")))
    await post.send()

    assert STEPS == post.steps
    assert 2 == store.faults.count("erase")
    post.assert_nothing_is_left()


async def test_the_removal_is_told_to_nobody(post):
    """Told of like an upload that nobody hears of."""
    post.bench.store.faults.when("erase", lambda: setattr(post.bench.store, "notify", None))
    await post.send(patience=0.3)

    assert "removed" == post.failed.check
    assert "the store did not notify the sidecar" in post.failed.message
    post.assert_nothing_is_left()


async def test_the_sidecar_ends_meanwhile(post):
    """A document that nobody removes any more goes all the same."""
    async with post.running():
        round_trip = post.round_trip(patience=0.3)
        post.bench.store.faults.when("erase", lambda: setattr(post.bench.source, "send", lambda *_: None))
        post.bench.store.faults.when("erase", lambda: setattr(post.bench.store, "notify", None))
        await round_trip.run()

    assert "removed" == post.failed.check
    assert "no sidecar processes hints" in post.failed.message
    post.assert_nothing_is_left()


async def test_interrupted(post):
    """Whenever it is cancelled, the object goes, and a sidecar is told."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post.round_trip().run)
        while not post.bench.store.versions(REF):
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    assert ["put", "removed"] == post.steps
    assert [True] == [hint.removed for hint in post.bench.source.published]
    assert f"interrupted: removing {REF}" == post.messages[-1]
    post.assert_nothing_is_left()


def test_the_picture_is_that_of_the_script():
    """scripts/clock.py draws what the package has, but for what JPEG encoders differ in."""
    drawn = run_path(str(Path(__file__).parents[3] / "scripts" / "clock.py"))["draw"]()
    buffer = BytesIO()
    drawn.save(buffer, "JPEG", quality=90)
    with Image.open(buffer) as made, Image.open(BytesIO(picture())) as shipped:
        difference = ImageChops.difference(made, shipped)

    assert "JPEG" == shipped.format
    assert max(high for _, high in difference.getextrema()) <= 4
    assert len(picture()) < 30_000
