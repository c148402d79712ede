"""A rebuilt index is the live one, document for document, whatever changes meanwhile and wherever the job is killed."""

import time
from collections import Counter
from dataclasses import replace

import anyio
import pytest

from imgtag.errors import BucketAbsent, ConfigError, DocumentError, Unavailable
from imgtag.jobs import reindex as module
from imgtag.jobs.checkpoint import CheckpointFile
from imgtag.jobs.reindex import Reindex, hold_lock
from imgtag.plugin.indexer import Delete, Upsert
from imgtag.testing.conformance.corpus import document
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.types.document import document_id
from imgtag.types.event import Hint, Intent
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.result import Result

from .conftest import BUCKET, SITE, picture
from .test_backfill import Gate, fill, make_backfill, make_parts, run

pytestmark = pytest.mark.anyio
READS = {"stat", "list", "buckets"}


@pytest.fixture
def file(tmp_path):
    return CheckpointFile(tmp_path / "reindex", {})


def make_reindex(bench, file, **more) -> Reindex:
    # A process of its own remembers no write of the sidecar's.
    fields = {"parts": make_parts(replace(bench)), "gate": Gate(), "buckets": [BUCKET], "has_rules": True, "file": file}
    return Reindex(**fields | more)


async def rebuild(bench, file, *, restart: bool = False, **more) -> tuple[Reindex, list[tuple[str, str, str]]]:
    """All of it; what it found as (fate, key, reason)."""
    found = []
    job = make_reindex(bench, file, show=found.append, **more)
    with anyio.fail_after(60):
        await job.prepare(restart=restart)
        if not job.is_swapped:
            await job.build()
            await job.catch_up()
            await job.swap()
        await job.settle()
        await job.finish(keep_old=False)
    progress = job.progress
    assert progress.listed == sum(getattr(progress, fate) for fate in module.Fate)
    assert not await bench.indexer.has_spare()
    return job, [(finding.fate, finding.ref.key, finding.reason) for finding in found]


async def label(bench, everything) -> dict:
    """Label all that is there; the documents."""
    await run(make_backfill(bench), everything)
    return dict(bench.indexer.documents)


def upload(bench, key: str, content: str = "red fox", **more) -> None:
    bench.store.put(ObjectRef(BUCKET, key), picture(content), **more)


async def work_as_a_sidecar(bench, *hints: Hint) -> None:
    """Work hints off as a running sidecar does, in a process of its own."""
    pipeline = bench.pipeline(MemorySource())
    for hint in hints:
        await pipeline.process_until_done(hint)


async def assert_is_true(bench) -> None:
    """A look at any object, and at any document, changes nothing."""
    assert [] == [hint async for hint in bench.pipeline().find_differences(Scope(BUCKET))]
    keys = [listed.ref.key async for listed in bench.store.list(Scope(BUCKET))]
    for key in keys:
        outcome = await bench.pipeline().reconcile(Hint(ref=ObjectRef(BUCKET, key)))
        assert outcome.result in {Result.CURRENT, Result.SKIPPED}, key


async def test_the_same_documents(bench, everything, file, monkeypatch):
    """Labelled, unlabelled, locked, refused and failed: no body is read and nothing is written on an object."""
    monkeypatch.setattr(module, "PAGE", 7)
    fill(bench, 30)
    upload(bench, "none.jpg", "nothing")
    upload(bench, "broken.jpg", "broken")
    upload(bench, "held.jpg", readonly="legal_hold")
    upload(bench, "secret.jpg", unreadable="customer_key")
    bench.store.put(f"{BUCKET}/notes.txt", b"text", content_type="text/plain")
    before, first = await label(bench, everything), await bench.indexer.index_id()
    asked = len(bench.store.faults.calls)

    job, found = await rebuild(bench, file)
    assert before == bench.indexer.documents
    assert first != await bench.indexer.index_id()
    progress = job.progress
    assert ([], 35, 31, 3, 0, 1) == (
        found,
        progress.listed,
        progress.indexed,
        progress.taken_over,
        progress.missing,
        progress.skipped,
    )
    assert (0, 0, 34, 0) == (progress.changed, progress.caught_up, progress.documents, progress.lost)
    assert {call.name for call in bench.store.faults.calls[asked:]} <= READS
    assert not file.path.exists()


async def test_documents_of_another_form(bench, everything, file):
    """What older releases, other label rules or other settings made differently is as it is made now."""
    fill(bench, 5)
    before = await label(bench, everything)
    old = {id_: {**document, "title": "old", "invented": 1} for id_, document in before.items()}
    bench.indexer.documents.update(old)

    job, _ = await rebuild(bench, file)
    assert before == bench.indexer.documents
    assert 5 == job.progress.changed


@pytest.mark.parametrize("strategy", ["none", "tags"])
async def test_the_document_is_the_checkpoint(bench, everything, file, strategy):
    """Where nothing is on the object, its document is taken over."""
    bench.strategy = strategy
    fill(bench, 5)
    before = await label(bench, everything)

    job, found = await rebuild(bench, file)
    assert (before, [], 5) == (bench.indexer.documents, found, job.progress.taken_over)


async def test_what_neither_side_knows_is_missing(bench, everything, file):
    """It is named with its reason; a document of another content is not taken over."""
    fill(bench, 3)
    upload(bench, "broken.jpg", "broken")
    await label(bench, everything)
    upload(bench, "00000.jpg", "kit fox")
    upload(bench, "broken.jpg", "broken#2")
    upload(bench, "new.jpg")
    await bench.indexer.apply([Delete(document_id(SITE, ObjectRef(BUCKET, "00001.jpg")))])

    job, found = await rebuild(bench, file)
    assert [
        ("missing", "00000.jpg", "not_labelled"),
        ("missing", "00001.jpg", "unproven"),
        ("missing", "broken.jpg", "not_labelled"),
        ("missing", "new.jpg", "not_labelled"),
    ] == found
    assert (1, 4, 2) == (job.progress.indexed, job.progress.missing, job.progress.lost)
    assert ["00002.jpg"] == [document["key"] for document in bench.indexer.documents.values()]


async def test_a_lost_index_without_a_mark_key(bench, everything, file):
    """Where marks are not signed, they alone are enough."""
    bench.codec = MetadataCodec()
    fill(bench, 5)
    before = await label(bench, everything)
    bench.indexer.documents.clear()

    job, found = await rebuild(bench, file)
    assert (before, [], 5) == (bench.indexer.documents, found, job.progress.indexed)


MOMENTS = {
    "while it is built": ("store", "stat"),
    "before the comparison": ("indexer", "search"),
    "during the comparison": ("indexer", "scan"),
    "before the swap": ("indexer", "swap"),
    "right after the swap": ("indexer", "swap.swapped"),
}


@pytest.mark.parametrize("strategy", ["auto", "none"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_changes_meanwhile(bench, everything, file, moment, strategy):
    """An upload, another content, an edit and a deletion, worked off by a sidecar at any moment, are in the index."""
    bench.strategy = strategy
    fill(bench, 8)
    await label(bench, everything)
    part, call = MOMENTS[moment]

    async def change() -> None:
        upload(bench, "new.jpg")
        upload(bench, "00003.jpg", "kit fox")
        edited = ObjectRef(BUCKET, "00004.jpg")
        bench.store.copy(edited, edited, {**bench.metadata("00004.jpg"), "owner": "somebody"})
        bench.store.delete(ObjectRef(BUCKET, "00005.jpg"))
        refs = [ObjectRef(BUCKET, key) for key in ("new.jpg", "00003.jpg", "00004.jpg", "00005.jpg")]
        await work_as_a_sidecar(bench, *(Hint(ref=ref) for ref in refs))

    getattr(bench, part).faults.when(call, change)
    await rebuild(bench, file)
    assert 8 == len(bench.indexer.documents)
    assert "kit fox" in bench.document("00003.jpg")["labels"]
    asked = len(bench.pool.asked)
    await assert_is_true(bench)
    assert asked == len(bench.pool.asked), "a look labelled what was labelled before"


@pytest.mark.parametrize("strategy", ["auto", "none"])
@pytest.mark.parametrize("moment", MOMENTS)
async def test_the_same_content_is_labelled_again_meanwhile(bench, everything, file, monkeypatch, moment, strategy):
    """Only the time of labelling tells which of its two documents is newer; that one is in the index."""
    bench.strategy = strategy
    fill(bench, 4)
    await label(bench, everything)
    (part, call), later = MOMENTS[moment], time.time() + 60

    async def change() -> None:
        bench.pool.name = "newer"
        monkeypatch.setattr(time, "time", lambda: later)
        await work_as_a_sidecar(bench, Hint(ref=ObjectRef(BUCKET, "00003.jpg"), intent=Intent.STALE))

    getattr(bench, part).faults.when(call, change)
    await rebuild(bench, file)
    assert bench.document("00003.jpg")["model"].startswith("newer@")
    await assert_is_true(bench)


async def test_a_newer_document_wins(bench, everything, file):
    """A sidecar indexes a newer content just before ours is put after the swap: a hint has it looked at again."""
    fill(bench, 3)
    await label(bench, everything)
    ref = ObjectRef(BUCKET, "00001.jpg")

    async def change(content: str) -> None:
        upload(bench, ref.key, content)
        await work_as_a_sidecar(bench, Hint(ref=ref))

    def arm() -> None:
        bench.indexer.faults.when("apply", lambda: change("café"))

    bench.indexer.faults.when("swap", lambda: change("kit fox"))
    bench.indexer.faults.when("swap.swapped", arm)
    await rebuild(bench, file)

    await bench.work_off()
    assert ["café"] == bench.document(ref.key)["labels"]
    await assert_is_true(bench)


async def test_passes_end(bench, everything, file, monkeypatch):
    """Where every comparison finds many changes, the swap comes all the same, and then what is left."""
    monkeypatch.setattr(module, "FEW", 0)
    fill(bench, 4)
    await label(bench, everything)

    async def change() -> None:
        upload(bench, "00001.jpg", f"kit fox#{len(bench.pool.asked)}")
        await work_as_a_sidecar(bench, Hint(ref=ObjectRef(BUCKET, "00001.jpg")))

    bench.indexer.faults.when("scan", change, times=None)
    job, _ = await rebuild(bench, file)
    assert job.progress.caught_up >= module.MAX_PASSES
    bench.indexer.faults.mend()
    await assert_is_true(bench)


class Killed(BaseException):
    """Stands for kill -9."""


STAGES = {
    "in the build": ("stat", 20),
    "between build and comparison": ("open_spare", 2),
    "before the swap": ("swap", 1),
    "right after the swap": ("swap.swapped", 1),
    "before the old one is dropped": ("drop_spare", 1),
    "after the old one is dropped": ("drop_spare.dropped", 1),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_killed(bench, everything, file, monkeypatch, stage):
    """The next run goes on, and the index is right; what was looked at before is not looked at again."""
    monkeypatch.setattr(module, "PAGE", 5)
    monkeypatch.setattr(module, "MAX_PAGES", 1)
    monkeypatch.setattr(module, "SAVE_PERIOD", 0.0)
    fill(bench, 30)
    before = await label(bench, everything)
    call, left = STAGES[stage]
    faults = (bench.store if call == "stat" else bench.indexer).faults

    def kill() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    faults.when(call, kill, times=None)
    with pytest.raises(BaseException) as raised:
        await rebuild(bench, file)
    assert "Killed" in repr(raised.value)
    faults.mend()
    looked = bench.store.faults.count("stat")
    job, found = await rebuild(bench, file)

    assert (before, []) == (bench.indexer.documents, found)
    assert (30, 30) == (job.progress.listed, job.progress.indexed)
    assert bench.store.faults.count("stat") - looked < 30
    await assert_is_true(bench)


async def test_a_swap_whose_answer_was_lost(bench, everything, file):
    """The next run sees by the ids that it was done."""
    fill(bench, 3)
    before = await label(bench, everything)

    def lose() -> None:
        raise Unavailable("no answer")

    bench.indexer.faults.when("swap.swapped", lose)
    with pytest.raises(Unavailable):
        await rebuild(bench, file)
    new = await bench.indexer.index_id()
    await rebuild(bench, file)
    assert (before, new) == (bench.indexer.documents, await bench.indexer.index_id())


async def test_killed_while_the_spare_is_created(bench, everything, file):
    """What the checkpoint announced, and whose id it does not have, is made again."""
    fill(bench, 3)
    before = await label(bench, everything)
    job = make_reindex(bench, file)
    await job.prepare(restart=False)
    async with bench.indexer.open_spare() as spare:
        await spare.apply([Upsert(document("half.jpg", {"owl": 0.5}))])

    await rebuild(bench, file)
    assert before == bench.indexer.documents


async def test_a_spare_of_somebody_else(bench, everything, file):
    """It is neither filled nor deleted without --restart."""
    fill(bench, 3)
    before = await label(bench, everything)
    async with bench.indexer.open_spare() as spare:
        await spare.apply([Upsert(document("stranger.jpg", {"owl": 0.5}))])
    with pytest.raises(ConfigError, match="there is already"):
        await rebuild(bench, file)

    await rebuild(bench, file, restart=True)
    assert before == bench.indexer.documents


async def test_a_bucket_that_is_gone(bench, everything, file):
    """An outage makes no empty index: nothing is swapped."""
    fill(bench, 3)
    before, first = await label(bench, everything), await bench.indexer.index_id()
    bench.store.take_away(BUCKET)
    job = make_reindex(bench, file)
    await job.prepare(restart=False)
    with pytest.raises(BaseExceptionGroup) as raised:
        await job.build()

    assert raised.group_contains(BucketAbsent, match="pictures")
    assert (before, first) == (bench.indexer.documents, await bench.indexer.index_id())


async def test_many_losses_are_seen_before_the_swap(bench, everything, file):
    """More than 5 % of the documents without a successor need a question."""
    fill(bench, 40)
    await label(bench, everything)
    for lost in range(3):
        bench.store.delete(ObjectRef(BUCKET, f"{lost:05}.jpg"))
        job = make_reindex(bench, file)
        await job.prepare(restart=True)
        await job.build()
        await job.catch_up()
        assert (40, lost + 1, lost == 2) == (job.progress.documents, job.progress.lost, job.loses_many)


async def test_dry_run(bench, everything, file):
    """It says what would be, and neither a spare nor a checkpoint is made."""
    fill(bench, 4)
    before = await label(bench, everything)
    bench.store.delete(ObjectRef(BUCKET, "00000.jpg"))
    bench.indexer.documents[document_id(SITE, ObjectRef(BUCKET, "00001.jpg"))] = {
        **bench.document("00001.jpg"),
        "title": "old",
    }
    job = make_reindex(bench, file, dry_run=True)
    await job.build()

    progress = job.progress
    assert (3, 3, 1, 4, 1) == (progress.listed, progress.indexed, progress.changed, progress.documents, progress.lost)
    assert not await bench.indexer.has_spare()
    assert not file.path.exists()
    assert len(before) == len(bench.indexer.documents)


async def test_documents_of_other_sites(bench, everything, file, monkeypatch):
    """They are copied as they are, also what their sidecars change until the swap."""
    fill(bench, 3)
    await label(bench, everything)
    others = [document(f"{number}.jpg", {"owl": 0.5}, site="away") for number in range(5)]
    await bench.indexer.apply([Upsert(each) for each in others])
    newer = document("0.jpg", {"owl": 0.5}, site="away", size=7)

    async def change() -> None:
        await bench.indexer.apply([Upsert(newer), Delete(others[1]["id"])])

    monkeypatch.setattr(module, "FEW", 0)
    bench.indexer.faults.when("scan", change)
    await rebuild(bench, file)
    assert [newer, *others[2:]] == [each async for each in bench.indexer.scan("away", Scope("wildlife"))]
    assert 3 == await bench.indexer.count(SITE, Scope(BUCKET))


async def test_without_the_capability(bench, file):
    """A stranger's indexer without it is said so at once."""

    class Plain(MemoryIndexer):
        def __getattribute__(self, name):
            if name == "open_spare":
                raise AttributeError(name)
            return super().__getattribute__(name)

    bench.indexer = Plain()
    with pytest.raises(ConfigError, match="cannot build a new index"):
        make_reindex(bench, file)


def test_one_at_a_time(tmp_path):
    """A second one of the same state folder does not begin."""
    with hold_lock(tmp_path / "reindex"), pytest.raises(ConfigError, match="at work"), hold_lock(tmp_path / "reindex"):
        pass
    with hold_lock(tmp_path / "reindex"):
        pass


async def test_a_document_that_is_rejected(bench, everything, file, monkeypatch):
    """It is counted and named; the others are there."""
    fill(bench, 3)
    await label(bench, everything)
    id_ = document_id(SITE, ObjectRef(BUCKET, "00001.jpg"))
    stored = MemoryIndexer._stored

    def reject(indexer, change):
        if change.id == id_:
            raise DocumentError("too long")
        return stored(indexer, change)

    monkeypatch.setattr(MemoryIndexer, "_stored", reject)
    job, found = await rebuild(bench, file)
    assert [("failed", "00001.jpg", "too long")] == found
    assert Counter(indexed=2, failed=1) == Counter(indexed=job.progress.indexed, failed=job.progress.failed)
