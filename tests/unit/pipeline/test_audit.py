"""An audit: what store, labels and index disagree about is found, each key once, and a repair leaves nothing of it."""

from collections import Counter
from dataclasses import replace

import anyio
import pytest

from imgtag.errors import BucketAbsent, Unavailable, Unreadable
from imgtag.jobs import audit as module
from imgtag.jobs.audit import Audit, Finding, Spool, find_scopes
from imgtag.jobs.standing import make_judge
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.plugin import Delete, Upsert
from imgtag.plugin.store import StoreFeatures
from imgtag.plugin_guard import GuardedPart
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.ref import ObjectRef, Scope
from imgtag_s3 import SPEC as S3

from .conftest import BUCKET, SITE, picture
from .test_backfill import Gate, fill, make_backfill, make_parts, run

pytestmark = pytest.mark.anyio


class Plain(MemoryStore):
    """Its listings have no metadata, as on most servers."""

    async def list(self, scope, *, after="", with_metadata=False):
        async for listed in super().list(scope, after=after, with_metadata=False):
            yield listed


class Versioned(MemoryStore):
    """Says of some keys that a version of ours hides a newer one, until they are looked at."""

    misplaced: tuple[str, ...] = ()

    async def list_misplaced(self, scope):
        for key in self.misplaced:
            if key.startswith(scope.prefix):
                yield ObjectRef(scope.bucket, key)


@pytest.fixture
def spool(tmp_path):
    with Spool(tmp_path) as opened:
        yield opened


def make_audit(bench, **more) -> Audit:
    parts = make_parts(bench)
    parts = replace(parts, store=GuardedPart(parts.store, S3))  # as a plugin is in a real job
    fields = {"parts": parts, "judge": make_judge(parts), "gate": Gate(), "buckets": {BUCKET}}
    return Audit(**fields | more)


async def look(bench, *scopes: Scope, **more) -> tuple[Audit, list[tuple[str, str, str]]]:
    """An audit, and its findings as (kind, key, reason)."""
    found: list[Finding] = []
    audit = make_audit(bench, show=found.append, **more)
    with anyio.fail_after(60):
        await audit.compare(scopes or [Scope(BUCKET)])
    return audit, [(finding.kind, finding.ref.key, finding.reason) for finding in found]


def upload(bench, key: str, content: str = "red fox") -> None:
    bench.store.put(ObjectRef(BUCKET, key), picture(content))


async def break_agreement(bench) -> None:
    """One key of each kind of finding among ten that agree; all were labelled before."""
    fill(bench, 10)
    for key in ("changed.jpg", "gone.jpg", "lost.jpg", "relabelled.jpg", "stripped.jpg"):
        upload(bench, key)
    await run(make_backfill(bench), Scope(BUCKET))
    bench.store.delete(f"{BUCKET}/gone.jpg")
    upload(bench, "changed.jpg", "kit fox")
    upload(bench, "stripped.jpg")
    upload(bench, "new.jpg")
    upload(bench, "notes.txt")
    await bench.indexer.apply([Delete(document_id(SITE, ObjectRef(BUCKET, "lost.jpg")))])
    relabelled = bench.document("relabelled.jpg")
    await bench.indexer.apply([Upsert({**relabelled, "labels": ["cup"], "scores": {"cup": 0.9}})])


FINDINGS = [
    ("differing", "changed.jpg", "etag"),
    ("orphaned", "gone.jpg", "object_gone"),
    ("missing", "lost.jpg", "no_document"),
    ("missing", "new.jpg", "no_document"),
    ("differing", "relabelled.jpg", "labels"),
    ("differing", "stripped.jpg", "mark"),
]


@pytest.mark.parametrize("store", [MemoryStore, Plain])
@pytest.mark.parametrize("page", [1_000, 3])
async def test_each_disagreement_is_found_once(bench, store, page, monkeypatch):
    """Whether listings have metadata or not; the counts sum to the images, and what is no image is not among them."""
    monkeypatch.setattr(module, "PAGE", page)
    bench.store = store(BUCKET)
    await break_agreement(bench)

    audit, findings = await look(bench)

    assert FINDINGS == findings
    counts = audit.counts
    assert (15, 13, 2, 1, 3) == (counts.objects, counts.current, counts.missing, counts.orphaned, counts.differing)
    assert not counts.is_clean


@pytest.mark.parametrize("store", [MemoryStore, Plain])
async def test_a_repair_leaves_nothing(bench, store, spool, everything):
    """Every key is worked off and compared again, and nothing that agreed is touched."""
    bench.store = store(BUCKET)
    await break_agreement(bench)
    asked, writes = len(bench.pool.asked), bench.count("imgtag_writes_total")

    audit, _ = await look(bench, spool=spool)
    assert (asked, writes) == (len(bench.pool.asked), bench.count("imgtag_writes_total"))
    await audit.repair()

    assert audit.counts.is_clean
    assert (15, 15, 6) == (audit.counts.objects, audit.counts.current, audit.repaired)
    assert (3, 3) == (len(bench.pool.asked) - asked, bench.count("imgtag_writes_total") - writes)
    again, findings = await look(bench)
    assert ([], audit.counts) == (findings, again.counts)


async def test_where_listings_have_metadata_what_agrees_costs_no_request(bench):
    """Elsewhere each labelled object costs one look, which --quick leaves out."""
    fill(bench, 5)
    await run(make_backfill(bench), Scope(BUCKET))

    async def count(store: type[MemoryStore], **more) -> Counter:
        bench.store.__class__, calls = store, Counter(call.name for call in bench.store.faults.calls)
        _, findings = await look(bench, **more)
        assert [] == findings
        return Counter(call.name for call in bench.store.faults.calls) - calls

    assert {"list": 1} == await count(MemoryStore)
    assert {"list": 1, "stat": 5} == await count(Plain)
    assert {"list": 1} == await count(Plain, quick=True)


async def test_what_is_stale_stays_so(bench, spool):
    """It is counted, is no finding, and a repair does not label it again; neither does one of its lost document."""
    fill(bench, 3)
    await run(make_backfill(bench), Scope(BUCKET))
    bench.policy = LabelPolicy(rules=(LabelRule(labels=("red fox",), rename="reynard"),))
    await bench.indexer.apply([Delete(document_id(SITE, ObjectRef(BUCKET, "00000.jpg")))])

    audit, findings = await look(bench, spool=spool)
    assert ([("missing", "00000.jpg", "no_document")], 2) == (findings, audit.counts.stale)
    await audit.repair()
    assert (True, 3) == (audit.counts.is_clean, audit.counts.stale)
    assert "imgtag_red+fox" in bench.metadata("00000.jpg")


async def test_what_cannot_be_labelled_is_no_finding(bench, spool):
    """A broken image is missing until it was tried, then it is failed; one without labels is unlabelled."""
    bench.store.notify = lambda _: None
    upload(bench, "broken.jpg", "broken")
    upload(bench, "empty.jpg", "nothing")
    audit, findings = await look(bench, spool=spool)
    assert ["missing", "missing"] == [kind for kind, _, _ in findings]
    await audit.repair()
    assert (True, 1, 1) == (audit.counts.is_clean, audit.counts.failed, audit.counts.unlabelled)


async def test_first_bytes_decide_what_nothing_else_tells(bench):
    """A key without a suffix is missing where it is an image, and no object of the audit where it is none."""
    bench.store.notify = lambda _: None
    for key, data in {"image": picture("red fox"), "text": b"text", "large": b"text" * 1_000}.items():
        bench.store.put(ObjectRef(BUCKET, key), data, content_type="")
    audit, findings = await look(bench)
    assert ([("missing", "image", "no_document")], 1) == (findings, audit.counts.objects)


async def test_what_nobody_may_look_at_is_refused(bench):
    """Not even whether it exists can be known, so it is not missing."""
    fill(bench, 1)
    bench.store.faults.fail(Unreadable(code="permission"), on="stat", times=None)
    audit, findings = await look(bench)
    assert ([], 1) == (findings, audit.counts.refused)


async def test_documents_that_no_rule_admits_are_orphaned(bench, spool):
    """Also those of a bucket that no rule names any more, which is found from the index."""
    fill(bench, 2)
    bench.store.make_bucket("old")
    bench.store.put("old/a.jpg", picture("red fox"))
    await run(make_backfill(bench), Scope(BUCKET))
    await run(make_backfill(bench), Scope("old"))
    bench.admitted = lambda ref: ref.bucket == BUCKET and ref.key != "00000.jpg"

    scopes = await find_scopes(make_parts(bench), [BUCKET], has_rules=True)
    audit, findings = await look(bench, *scopes, spool=spool)
    assert [("orphaned", "00000.jpg", "no_rule"), ("orphaned", "a.jpg", "no_rule")] == findings
    assert audit.deletes_many
    await audit.repair()
    assert {"00001.jpg"} == {document["key"] for document in bench.indexer.documents.values()}


@pytest.mark.parametrize(("orphans", "many"), [(1, False), (2, True)])
async def test_more_than_a_twentieth_is_many(bench, orphans, many):
    """Of the documents in scope, not of the findings."""
    fill(bench, 20)
    await run(make_backfill(bench), Scope(BUCKET))
    for number in range(orphans):
        bench.store.delete(f"{BUCKET}/{number:05}.jpg")
    audit, _ = await look(bench)
    assert many is audit.deletes_many


async def test_a_wrong_server_orphans_nothing(bench):
    """A bucket that is gone, or that shows nothing beside a filled index, ends the audit."""
    bench.store.features = StoreFeatures(sure_when_empty=False)
    fill(bench, 1)
    await run(make_backfill(bench), Scope(BUCKET))
    bench.store.take_away(BUCKET)
    with pytest.raises(BucketAbsent):
        await look(bench)
    bench.store.make_bucket(BUCKET)
    with pytest.raises(BucketAbsent):
        await look(bench)


async def test_what_changes_meanwhile_is_no_finding(bench):
    """Listing and index are read at different moments: another look decides."""
    fill(bench, 2)
    await run(make_backfill(bench), Scope(BUCKET))
    upload(bench, "late.jpg")

    async def label() -> None:
        await run(make_backfill(bench), Scope(BUCKET))

    bench.store.faults.when("stat", label)
    _, findings = await look(bench)
    assert [] == findings


async def test_servers_that_do_not_answer_are_waited_for(bench):
    """Each look is repeated; an index that stops in the middle of its documents ends the audit."""
    await break_agreement(bench)
    bench.store.faults.fail(Unavailable("away"), on="stat")
    bench.store.faults.fail(Unavailable("away"), on="list")
    bench.indexer.faults.fail(Unavailable("away"), on="get")
    assert FINDINGS == (await look(bench))[1]
    bench.indexer.faults.fail(Unavailable("away"), on="scan")
    with pytest.raises(Unavailable):
        await look(bench)


async def test_a_version_that_hides_a_newer_one_is_found(bench, spool):
    """It differs whatever its document says, and the look of a repair withdraws it."""
    bench.store = Versioned(BUCKET)
    fill(bench, 3)
    await run(make_backfill(bench), Scope(BUCKET))
    bench.store.misplaced = ("00000.jp", "00001.jpg", "00001.jpg.later")

    audit, findings = await look(bench, spool=spool)
    assert ([("differing", "00001.jpg", "hides_newer")], 3) == (findings, audit.counts.current)
    await audit.repair()
    assert 1 == audit.counts.differing
    bench.store.faults.when("open", lambda: setattr(bench.store, "misplaced", ()))
    await audit.repair()
    assert audit.counts.is_clean


async def test_scopes_within_others_are_looked_at_once(bench):
    """Nothing is counted twice; a part alone is compared with the documents of that part."""
    await break_agreement(bench)
    audit, findings = await look(bench, Scope(BUCKET, "l"), Scope(BUCKET), Scope(BUCKET))
    assert (FINDINGS, 15) == (findings, audit.counts.objects)
    audit, findings = await look(bench, Scope(BUCKET, "l"))
    assert ([("missing", "lost.jpg", "no_document")], 1, 0) == (findings, audit.counts.objects, audit.documents)


async def test_labels_from_before_there_was_a_key_are_stale(bench):
    """They are believed for their document, so they do not differ."""
    bench.codec = replace(bench.codec, keys=())
    fill(bench, 1)
    await run(make_backfill(bench), Scope(BUCKET))
    bench.codec = replace(bench.codec, keys=(b"key",))
    audit, findings = await look(bench)
    assert ([], 1) == (findings, audit.counts.stale)
