"""What a resync finds: how the listing of a store and the documents of an index differ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from imgtag.errors import BucketAbsent
from imgtag.pipeline import Pipeline
from imgtag.plugin import Upsert
from imgtag.plugin.store import StoreFeatures
from imgtag.stages.compare import NoImages, find_differences
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

from .conftest import BUCKET, SITE, Bench, picture

pytestmark = pytest.mark.anyio


async def differences(objects: str, documents: str, changed: str = "", prefix: str = "") -> list[Hint]:
    """Where a store has ``objects`` and an index ``documents``, one letter each; ``changed``: with an older ETag."""
    store, indexer = MemoryStore(BUCKET, features=StoreFeatures(sure_when_empty=False)), MemoryIndexer()
    for key in objects:
        store.put(ObjectRef(BUCKET, key), key.encode())
    for key in documents:
        state = store.peek(ObjectRef(BUCKET, key))
        etag = state.etag if state and key not in changed else '"old"'
        fields = {"id": document_id(SITE, ObjectRef(BUCKET, key)), "site": SITE, "bucket": BUCKET, "key": key}
        await indexer.apply([Upsert({**fields, "etag": etag, "status": "labelled"})])
    return await find(store, indexer, prefix)


async def find(store: MemoryStore, indexer: MemoryIndexer, prefix: str = "", unwanted: str = "") -> list[Hint]:
    """``unwanted``: keys of objects that need no document."""
    scope, found = Scope(BUCKET, prefix), list[Hint]()
    async for hint in find_differences(store, indexer, SITE, scope, lambda listed: listed.ref.key not in unwanted):
        found.append(hint)
    return found


@pytest.mark.parametrize(
    ("objects", "documents", "changed", "found"),
    [
        ("", "", "", ""),
        ("abc", "abc", "", ""),
        ("abc", "", "", "abc"),
        ("abc", "b", "", "ac"),
        ("abc", "abc", "ac", "ac"),
        ("c", "abcde", "", "-a -b -d -e"),
        ("ce", "abde", "e", "-a -b c -d e"),
        ("b", "yz", "", "b -y -z"),
        ("é", "zé\uffff", "", "-z -\uffff"),
    ],
)
async def test_each_key_that_differs_is_found_once(objects: str, documents: str, changed: str, found: str) -> None:
    """In the order of the keys: an object that is new or changed, and (with a minus) a document without an object."""
    expected = [
        Hint(ref=ObjectRef(BUCKET, key.removeprefix("-")), removed=key.startswith("-"))
        for key in (found.split(" ") if "-" in found else found)
    ]

    assert expected == await differences(objects, documents, changed)


class RevisionStore(MemoryStore):
    """Its listings have revisions, as those of a folder do."""

    async def list(self, scope: Scope, *, after: str = "", with_metadata: bool = False) -> AsyncIterator[Listed]:
        async for listed in super().list(scope, after=after, with_metadata=with_metadata):
            yield replace(listed, revision="new")


@pytest.mark.parametrize(("revision", "differs"), [("new", False), ("old", True), (None, False)])
async def test_an_object_of_another_revision_differs(revision: str | None, *, differs: bool) -> None:
    """The time of a file was set back, or its mode changed. Documents of earlier releases have no revision."""
    store, indexer, ref = RevisionStore(BUCKET), MemoryIndexer(), ObjectRef(BUCKET, "a")
    store.put(ref, b"a")
    fields = {"id": document_id(SITE, ref), "site": SITE, "bucket": BUCKET, "key": "a", "status": "labelled"}
    known = {"revision": revision} if revision else {}
    await indexer.apply([Upsert({**fields, **known, "etag": store.peek(ref).etag})])

    assert [Hint(ref=ref)] * differs == await find(store, indexer)


async def test_what_needs_no_document_is_passed_over() -> None:
    """Unless it has one: a look then decides about that."""
    store, indexer = MemoryStore(BUCKET), MemoryIndexer()
    for key in "abc":
        store.put(ObjectRef(BUCKET, key), b"x")
    fields = {"id": document_id(SITE, ObjectRef(BUCKET, "b")), "site": SITE, "bucket": BUCKET, "key": "b"}
    await indexer.apply([Upsert({**fields, "etag": "old", "status": "labelled"})])

    assert ["b", "c"] == [hint.ref.key for hint in await find(store, indexer, unwanted="ab")]


async def look_at_all(bench: Bench, pipeline: Pipeline) -> list[str]:
    """Compare as `poll` does, again and again; the objects that the store was asked for."""
    asked = len(bench.store.faults.calls)
    await pipeline.compare(Scope(BUCKET))
    return [str(call.about) for call in bench.store.faults.calls[asked:] if call.name == "open"]


@pytest.mark.parametrize("suffix_decides", [True, False])
async def test_a_comparison_looks_once_at_what_has_no_document(bench: Bench, suffix_decides: bool) -> None:
    """And not at all where no rule admits it, or its suffix names another kind of file and that decides."""
    bench.suffix_decides = suffix_decides
    bench.admitted = lambda ref: not ref.key.startswith("other/")
    for key in ("2024.05.01 Beach", "notes.pdf", "other/cat.jpg"):
        bench.store.put(f"{BUCKET}/{key}", b"text", content_type="application/octet-stream")
    pipeline = bench.pipeline()
    looked_at = ["2024.05.01 Beach", *["notes.pdf"] * (not suffix_decides)]
    assert [f"{BUCKET}/{key}" for key in looked_at] == await look_at_all(bench, pipeline)
    asked = len(bench.indexer.faults.calls)
    assert [] == await look_at_all(bench, pipeline)
    assert ["scan"] == [call.name for call in bench.indexer.faults.calls[asked:]]


async def test_what_was_no_image_is_looked_at_when_it_has_changed(bench: Bench) -> None:
    """Other bytes have another ETag; where only the content type is another one, the time tells."""
    times, ref = iter(range(1_700_000_000, 1_800_000_000)), ObjectRef(BUCKET, "beach")
    bench.store = MemoryStore(BUCKET, clock=lambda: next(times))
    pipeline = bench.pipeline()
    for content_type, data in (("", b"text"), ("text/plain", picture("red fox")), ("image/jpeg", picture("red fox"))):
        bench.store.put(ref, data, content_type=content_type)
        assert str(ref) in await look_at_all(bench, pipeline)
    assert ["red fox"] == bench.document("beach")["labels"]
    bench.store.put(ref, b"text", content_type="")

    assert [str(ref)] == await look_at_all(bench, pipeline)
    assert bench.document("beach") is None
    assert [] == await look_at_all(bench, pipeline)


def test_memory_of_what_is_no_image_is_bounded() -> None:
    """Beyond the bound, most of a long listing is still known when it is read again."""
    known = NoImages(100)
    states = [ObjectState(ref=ObjectRef(BUCKET, f"{number}"), etag="e", size=1, modified=1.9) for number in range(110)]
    for state in states:
        known.remember(state)
    listed = [Listed(ref=state.ref, etag="e", size=1, modified=1.0) for state in states]

    assert 100 == sum(each in known for each in listed)
    assert Listed(ref=states[-1].ref, etag="e", size=1, modified=2.0) not in known
    assert Listed(ref=states[-1].ref, etag="f", size=1, modified=1.0) not in known


async def test_only_what_is_in_scope_is_compared() -> None:
    """Neither objects nor documents with another prefix."""
    (hint,) = await differences("ab", "cd", prefix="a")

    assert ObjectRef(BUCKET, "a") == hint.ref


async def test_a_bucket_that_shows_nothing_loses_no_document() -> None:
    """It may be one of the same name on the wrong server; the error names it."""
    with pytest.raises(BucketAbsent, match="pictures is empty, and the index knows of objects in it"):
        await differences("", "a")
