"""Taking away what the sidecar wrote, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag.jobs.strip import MAX_ATTEMPTS, MAX_CONCURRENT, Fate, Force, StripCounts, Stripped
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.bucket import Versioning
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.event import Hint
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, Scope
from strip_support import OTHER_RULE, make_stripper
from unit.pipeline.conftest import BUCKET, Bench, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")
EVERYTHING = Scope(BUCKET)


@dataclass
class Leaver:
    """A sidecar that has labelled, and somebody who is done with it."""

    bench: Bench
    folder: Path

    async def put(self, ref: ObjectRef = FOX, content: str = "red fox", **more: object) -> None:
        """Upload an image and label it."""
        self.bench.store.put(ref, picture(content), **more)
        await self.bench.reconciler()(Hint(ref=ref))

    async def strip(
        self, *scopes: Scope, rules: str = OTHER_RULE, force: Sequence[Force] = (), apply: bool = True
    ) -> tuple[StripCounts, dict[str, Stripped]]:
        """The counts, and what was reported, by key."""
        parts = (self.folder, self.bench.store, self.bench.indexer)
        stripper = await make_stripper(*parts, rules, force=frozenset(force), apply=apply)
        reported: list[Stripped] = []
        counts = await stripper.strip(scopes or [EVERYTHING], reported.append)
        assert counts.listed == len(reported)
        assert counts.refused.total() == counts.fates[Fate.REFUSED]
        return counts, {stripped.ref.key: stripped for stripped in reported}


@pytest.fixture
def leaver(bench: Bench, tmp_path: Path) -> Leaver:
    return Leaver(bench, tmp_path)


@pytest.fixture
def bench() -> Bench:
    return Bench(MemoryStore(BUCKET), MemorySource(features=SourceFeatures()), MemoryIndexer())


@pytest.mark.parametrize("versioning", ["unversioned", "enabled"])
@pytest.mark.parametrize("layout", ["names", "single"])
async def test_what_is_left_is_what_was_put(leaver: Leaver, versioning: Versioning, layout: str) -> None:
    """Everything of the object but its time, in both layouts; its document is gone; with versions it is another one."""
    leaver.bench.store.make_bucket(BUCKET, versioning)
    leaver.bench.codec = replace(leaver.bench.codec, layout=layout)
    metadata, tags = {"owner": "me", "imgtag_owner": "me"}, {"a": "b"}
    leaver.bench.store.put(FOX, picture("red fox"), metadata=metadata, tags=tags)
    before = leaver.bench.store.peek(FOX)
    await leaver.bench.reconciler()(Hint(ref=FOX))
    assert MARK in leaver.bench.metadata(FOX.key)

    counts, _ = await leaver.strip()

    after = leaver.bench.store.peek(FOX)
    assert replace(before, modified=0, version=None, revision=None) == replace(
        after, modified=0, version=None, revision=None
    )
    assert (1, 1, 1) == (counts.listed, counts.fates[Fate.STRIPPED], counts.documents)
    assert leaver.bench.document(FOX.key) is None
    assert (3 if versioning == "enabled" else 1) == len(leaver.bench.store.versions(FOX))


async def test_entries_that_a_user_added_stay(leaver: Leaver) -> None:
    """They have the form of a label, but the signature does not cover them."""
    await leaver.put()
    added = {"imgtag_rating": "0.5", "imgtag_mine": "1"}
    leaver.bench.store.put(FOX, picture("red fox"), metadata={**leaver.bench.metadata(FOX.key), **added})

    await leaver.strip()

    assert added == leaver.bench.metadata(FOX.key)


async def test_every_object_meets_one_fate(leaver: Leaver) -> None:
    """One that cannot be stripped does not hold back the others, and is named with the reason."""
    keys = ["a.jpg", "admitted.jpg", "locked.jpg", "nothing.txt", "forged.jpg", "failing.jpg", "z.jpg"]
    for key in keys:
        await leaver.put(ObjectRef(BUCKET, key))
    store = leaver.bench.store
    store.lock(f"{BUCKET}/locked.jpg", "retention")
    store.put(f"{BUCKET}/nothing.txt", b"text", content_type="text/plain")
    store.put(f"{BUCKET}/forged.jpg", picture("red fox"), metadata={MARK: "what is that?"})
    rewrite = store.rewrite

    async def fail(change):
        if change.state.ref.key == "failing.jpg":
            raise Unavailable("the disk fails")
        return await rewrite(change)

    store.rewrite = fail
    counts, stripped = await leaver.strip(rules=f'[[rules]]\nbucket = "{BUCKET}"\ninclude = ["admitted.*"]\n')

    assert keys == sorted(stripped, key=keys.index)
    fates = {"a.jpg": "stripped", "z.jpg": "stripped", "nothing.txt": "untouched", "failing.jpg": "failed"}
    assert {key: fates.get(key, "refused") for key in keys} == {key: one.fate.value for key, one in stripped.items()}
    assert {"admitted": 1, "retention": 1, "unproven": 1} == dict(counts.refused)
    assert "rules[0]" in stripped["admitted.jpg"].reason
    assert 'strategy = "none"' in stripped["admitted.jpg"].hint
    assert "the disk fails" == stripped["failing.jpg"].reason
    assert 3 == counts.documents
    kept = {key for key in keys if leaver.bench.document(key)}
    assert {"admitted.jpg", "locked.jpg", "forged.jpg", "failing.jpg"} == kept


async def test_nothing_is_changed_by_a_dry_run(leaver: Leaver) -> None:
    """It answers what a run then does."""
    await leaver.put()
    await leaver.put(ObjectRef(BUCKET, "locked.jpg"))
    leaver.bench.store.lock(f"{BUCKET}/locked.jpg", "legal_hold")
    before = leaver.bench.metadata(FOX.key)

    planned = await leaver.strip(apply=False)

    assert before == leaver.bench.metadata(FOX.key)
    assert leaver.bench.document(FOX.key) is not None
    assert planned == await leaver.strip()


async def test_outages_are_outlasted(leaver: Leaver) -> None:
    """Of the store while it lists and while it writes, and of the index; the listing goes on where it was."""
    keys = [f"{number}.jpg" for number in range(5)]
    for key in keys:
        await leaver.put(ObjectRef(BUCKET, key))
    store, outage = leaver.bench.store, Unavailable("it does not answer")
    store.faults.fail(outage, on="rewrite", times=MAX_ATTEMPTS - 1)
    leaver.bench.indexer.faults.fail(outage, on="apply")
    starts, listing = [], store.list

    async def interrupted(scope, *, after="", with_metadata=False):
        starts.append(after)
        async for listed in listing(scope, after=after):
            yield listed
            if listed.ref.key == "2.jpg":
                raise outage

    store.list = interrupted
    counts, _ = await leaver.strip()

    assert (5, 5) == (counts.fates[Fate.STRIPPED], counts.documents)
    assert ["", "2.jpg"] == starts


async def test_an_outage_that_lasts_is_an_error(leaver: Leaver) -> None:
    """What is not listed is not stripped, and that is said; other scopes are."""
    await leaver.put()
    gone, _ = await leaver.strip(Scope("nowhere"), EVERYTHING)
    leaver.bench.store.faults.fail(Unavailable("it does not answer"), on="list", times=None)
    down, _ = await leaver.strip()

    assert (["bucket_absent"], 1) == ([error.code for error in gone.unlisted], gone.listed)
    assert (["it does not answer"], 0) == ([error.message for error in down.unlisted], down.listed)


async def test_what_a_user_uploads_meanwhile_stays(leaver: Leaver) -> None:
    """The write is conditional: the upload is looked at again, and has nothing of ours."""
    await leaver.put()
    leaver.bench.store.before_rewrite(lambda: leaver.bench.store.put(FOX, picture("new"), metadata={"a": "b"}))

    counts, _ = await leaver.strip()

    assert picture("new") == leaver.bench.store.data(FOX)
    assert {"a": "b"} == leaver.bench.metadata(FOX.key)
    assert 1 == counts.fates[Fate.UNTOUCHED]


async def test_where_a_rule_only_indexes_the_document_stays(leaver: Leaver) -> None:
    """The labels go from the object; the running sidecar has nothing to do."""
    await leaver.put()
    rule = f'[[rules]]\nbucket = "{BUCKET}"\nwriteback = {{ strategy = "none" }}\n'

    counts, _ = await leaver.strip(rules=rule)

    assert (1, 0) == (counts.fates[Fate.STRIPPED], counts.documents)
    assert {} == leaver.bench.metadata(FOX.key)
    assert leaver.bench.document(FOX.key) is not None


async def test_refusals_can_be_overruled(leaver: Leaver) -> None:
    """What a rule admits; and what no key signed, unless nothing on the object is surely in our form."""
    await leaver.put()
    users = ObjectRef(BUCKET, "users.jpg")
    leaver.bench.store.put(users, picture("red fox"), metadata={"imgtag_rating": "0.5"})
    unsigned = ObjectRef(BUCKET, "unsigned.jpg")
    leaver.bench.codec = replace(leaver.bench.codec, keys=())
    await leaver.put(unsigned)
    rule = f'[[rules]]\nbucket = "{BUCKET}"\n'

    admitted, _ = await leaver.strip(rules=rule, force=["admitted"])
    unproven, _ = await leaver.strip(force=["unproven"])

    assert {"unproven": 1} == dict(admitted.refused)
    assert (1, 1) == (admitted.fates[Fate.STRIPPED], admitted.fates[Fate.UNTOUCHED])
    assert (1, 2) == (unproven.fates[Fate.STRIPPED], unproven.fates[Fate.UNTOUCHED])
    assert {} == leaver.bench.metadata(FOX.key) == leaver.bench.metadata(unsigned.key)
    assert {"imgtag_rating": "0.5"} == leaver.bench.metadata(users.key)


async def test_tags(leaver: Leaver) -> None:
    """Those with the labels of the document go; without a document nothing tells ours from a user's."""
    leaver.bench.strategy = "tags"
    alone = ObjectRef(BUCKET, "alone.jpg")
    mine = {"imgtag_mine": "0.7", "imgtag_": "x", "project": "a"}
    await leaver.put(tags=mine)
    await leaver.put(alone)
    labelled = leaver.bench.store.peek(FOX).tags
    leaver.bench.store.tag(FOX, {**labelled, **mine})
    leaver.bench.indexer.documents.pop(leaver.bench.document(alone.key)["id"])

    counts, stripped = await leaver.strip()

    assert "imgtag_red+fox" in labelled
    assert mine == leaver.bench.store.peek(FOX).tags
    assert (1, {"unproven": 1}) == (counts.fates[Fate.STRIPPED], dict(counts.refused))
    assert "neither a mark nor a document" in stripped["alone.jpg"].reason


async def test_few_are_in_work_at_once(leaver: Leaver) -> None:
    """However many there are: the listing waits for those that were taken from it."""
    store = leaver.bench.store
    for number in range(4 * MAX_CONCURRENT):
        store.put(f"{BUCKET}/{number:03}.jpg", picture("red fox"))
    taken, most, listing, stat = 0, 0, store.list, store.stat

    async def counted(scope, *, after="", with_metadata=False):
        nonlocal taken, most
        async for listed in listing(scope, after=after):
            taken += 1
            most = max(most, taken)
            yield listed

    async def slow(ref):
        nonlocal taken
        await anyio.sleep(0.02)
        taken -= 1
        return await stat(ref)

    store.list, store.stat = counted, slow
    counts, _ = await leaver.strip()

    assert 4 * MAX_CONCURRENT == counts.fates[Fate.UNTOUCHED]
    assert 1 < most <= MAX_CONCURRENT + 1


async def test_documents_without_objects_go_too(leaver: Leaver) -> None:
    """Within the scope, and of this site."""
    for key in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        await leaver.put(ObjectRef(BUCKET, key))
    leaver.bench.store.delete(f"{BUCKET}/a/2.jpg")

    counts, stripped = await leaver.strip(Scope(BUCKET, "a/"))

    assert (["a/1.jpg"], 2) == (list(stripped), counts.documents)
    assert leaver.bench.document("b/1.jpg") is not None
    assert MARK in leaver.bench.metadata("b/1.jpg")
