"""What a resync finds: how the listing of a store and the documents of an index differ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from imgtag.errors import BucketAbsent
from imgtag.plugin import Upsert
from imgtag.plugin.store import StoreFeatures
from imgtag.stages.compare import find_differences
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, Scope

from .conftest import BUCKET, SITE

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
    return [hint async for hint in find_differences(store, indexer, SITE, Scope(BUCKET, prefix))]


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

    assert [Hint(ref=ref)] * differs == [hint async for hint in find_differences(store, indexer, SITE, Scope(BUCKET))]


async def test_only_what_is_in_scope_is_compared() -> None:
    """Neither objects nor documents with another prefix."""
    (hint,) = await differences("ab", "cd", prefix="a")

    assert ObjectRef(BUCKET, "a") == hint.ref


async def test_a_bucket_that_shows_nothing_loses_no_document() -> None:
    """It may be one of the same name on the wrong server; the error names it."""
    with pytest.raises(BucketAbsent, match="pictures is empty, and the index knows of objects in it"):
        await differences("", "a")
