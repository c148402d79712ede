"""What tests may ask of the implementations in memory: races, failures, what was called."""

import subprocess
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Undecodable
from imgtag.plugin.image import Image
from imgtag.plugin.indexer import Delete, SearchRequest, Upsert
from imgtag.plugin.store import Rewrite
from imgtag.query import parse
from imgtag.testing.broker import MemoryBroker
from imgtag.testing.classifier import COLOURS, HOSTILE, SPEC
from imgtag.testing.conformance.corpus import ATTIC, KIT
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope

FOX = "photos/fox.jpg"
OURS = {"imgtag-mark": "1;m=a"}

pytestmark = pytest.mark.anyio


@pytest.fixture
def store():
    store = MemoryStore("photos")
    store.put(FOX, b"old", metadata={"by": "somebody"})
    return store


def rewrite(store, **change):
    return store.rewrite(Rewrite(state=store.peek(FOX), metadata=OURS, body=b"old", **change))


class TestRaces:
    async def test_copy_loses_a_newer_upload(self, store):
        """Without versions a self-copy puts the old bytes over an upload that came behind its look."""
        store.between_read_and_write(lambda: store.put(FOX, b"new"))
        await rewrite(store, strategy="copy")

        assert store.data(FOX) == b"old"

    async def test_if_match_keeps_a_newer_upload(self, store):
        """With If-Match the upload stays and the write is a Conflict."""
        store.between_read_and_write(lambda: store.put(FOX, b"new"))
        with pytest.raises(Conflict):
            await rewrite(store)

        assert store.data(FOX) == b"new"

    async def test_if_match_keeps_no_newer_metadata(self, store):
        """The same bytes uploaded again with other metadata pass If-Match."""
        store.between_read_and_write(lambda: store.put(FOX, b"old", metadata={"by": "another"}, tags={"a": "b"}))
        state = await rewrite(store)

        assert (state.metadata, state.tags) == (OURS, {})

    async def test_old_version_lands_above_the_newer(self):
        """With versions no bytes are lost, but ours may lie above an upload that it was not made from."""
        store = MemoryStore()
        store.make_bucket("photos", "enabled")
        store.put(FOX, b"old")
        store.between_read_and_write(lambda: store.put(FOX, b"new"))
        await rewrite(store, strategy="copy")

        assert [version.data for version in store.versions(FOX)] == [b"old", b"new", b"old"]

    async def test_lost_response(self, store):
        """A write whose answer is lost is written all the same."""

        def lose():
            raise Unavailable

        store.after_rewrite(lose)
        with pytest.raises(Unavailable):
            await rewrite(store)

        assert store.peek(FOX).metadata == OURS

    async def test_races_come_once(self, store):
        """A race is over when it was run; the next rewrite succeeds."""
        store.before_rewrite(lambda: store.put(FOX, b"new"))
        with pytest.raises(Conflict):
            await rewrite(store)

        assert (await rewrite(store)).metadata == OURS


class TestVersions:
    @pytest.mark.parametrize(("versioning", "left"), [("unversioned", 1), ("enabled", 3), ("suspended", 1)])
    async def test_versions_that_stay(self, versioning, left):
        """Uploads and rewrites add a version, or take the place of the null version."""
        store = MemoryStore()
        store.make_bucket("photos", versioning)
        store.put(FOX, b"older")
        store.put(FOX, b"old")
        state = await rewrite(store)

        assert len(store.versions(FOX)) == left
        assert (state.version is not None) == (versioning == "enabled")

    def test_delete_marker(self):
        """A deleted object is behind a marker, and back when that is removed, though the event says `removed`."""
        store = MemoryStore()
        store.make_bucket("photos", "enabled")
        put = store.put(FOX, b"old")
        deleted = store.delete(FOX)
        absent = store.peek(FOX)
        undeleted = store.undelete(FOX)

        assert (put.removed, deleted.removed, undeleted.removed) == (False, True, True)
        assert deleted.version == undeleted.version != put.version
        assert deleted.sequencer > put.sequencer
        assert absent is None
        assert store.data(FOX) == b"old"

    def test_deleted_version(self):
        """Without its newest version an object is again what it was before."""
        store = MemoryStore()
        store.make_bucket("photos", "enabled")
        store.put(FOX, b"old")
        hint = store.put(FOX, b"new")
        store.delete(FOX, version=hint.version)

        assert store.data(FOX) == b"old"


class TestHints:
    async def test_events_of_all_writes(self, store):
        """What a user does and what the sidecar writes is told alike, with ETag, metadata and sequencer."""
        heard = []
        store.notify = heard.append
        state = await rewrite(store)
        tagged = store.tag(FOX, {"a": "b"})

        assert [hint.metadata for hint in heard] == [OURS, OURS]
        assert {hint.etag for hint in heard} == {state.etag.strip('"')}
        assert tagged.sequencer == heard[0].sequencer
        assert store.events[-2:] == heard

    def test_copy_carries_the_mark(self, store):
        """A user's copy has the metadata and the ETag of its source."""
        hint = store.copy(FOX, "photos/copy.jpg")

        assert hint.metadata == {"by": "somebody"}
        assert store.peek("photos/copy.jpg").etag == store.peek(FOX).etag

    async def test_etags_of_rewrites(self):
        """A store may give another ETag at every rewrite."""
        store = MemoryStore("photos", etags="rewrite")
        store.put(FOX, b"old")
        etags = {store.peek(FOX).etag, (await rewrite(store)).etag, (await rewrite(store)).etag}

        assert len(etags) == 3


class TestFaults:
    async def test_next_calls_fail(self, store):
        """As many calls fail as were asked for, those of one name or all; every call is written down."""
        store.faults.fail(Unavailable(), on="stat", times=2)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await store.stat(ObjectRef.parse(FOX))
        await store.stat(ObjectRef.parse(FOX))

        assert store.faults.count("stat") == 3
        assert store.faults.calls[0].about == ObjectRef.parse(FOX)

    async def test_outage(self):
        """An outage lasts until it is mended."""
        indexer = MemoryIndexer()
        indexer.faults.fail(Unavailable(), times=None)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await indexer.apply([Upsert(KIT)])
        indexer.faults.mend()
        await indexer.apply([Upsert(KIT)])

        assert indexer.faults.count("apply") == 4
        assert (await indexer.search(SearchRequest(query=parse("fox")))).total == 1

    async def test_refused_document(self):
        """Single documents fail with the error that was planned for them."""
        indexer = MemoryIndexer()
        indexer.refused[KIT["id"]] = Undecodable()
        outcomes = await indexer.apply([Upsert(KIT), Upsert(ATTIC), Delete(KIT["id"])])

        assert [type(outcome.error) for outcome in outcomes] == [Undecodable, type(None), type(None)]

    async def test_bucket_goes_within_a_listing(self, store):
        """A bucket that disappears while it is listed does not end the listing as if it were complete."""
        store.put("photos/other.jpg", b"old")
        listing = store.list(Scope("photos"))
        await anext(listing)
        store.take_away("photos")
        with pytest.raises(BucketAbsent):
            await anext(listing)


class TestDeliveries:
    async def test_doubled_and_reordered(self):
        """Each message comes as often as asked for, in any order; the source ends when all are acknowledged."""
        source = MemorySource(MemoryBroker(copies=2, shuffle=Random(1)))
        hints = [Hint(ref=ObjectRef("photos", f"{number}.jpg")) for number in range(5)]
        for hint in hints:
            source.send(hint)
        source.finish()
        got = []
        async for delivery in source.deliveries():
            got += delivery.hints
            await delivery.ack()

        assert sorted(got, key=str) == sorted(hints * 2, key=str)
        assert got != [hint for hint in hints for _ in range(2)]
        assert len(source.acked) == 10

    async def test_answers_are_recorded(self):
        """Which deliveries were acknowledged, put off and extended can be looked at."""
        source = MemorySource()
        source.send(Hint(ref=ObjectRef.parse(FOX)))
        source.finish()
        async for delivery in source.deliveries():
            await delivery.extend()
            await (delivery.nak(0.01) if delivery.attempt == 1 else delivery.ack())

        assert [(delivery.attempt, delay) for delivery, delay in source.naked] == [(1, 0.01)]
        assert [delivery.attempt for delivery in source.acked] == [2]
        assert len(source.extended) == 2

    async def test_store_notifies_source(self):
        """A source may hear all that happens in a store."""
        source = MemorySource()
        store = MemoryStore("photos", notify=source.send)
        hint = store.put(FOX, b"old")
        delivery = await anext(source.deliveries())

        assert delivery.hints == (hint,)


class TestClassifiers:
    @pytest.mark.parametrize("colour", COLOURS)
    def test_colours(self, colour):
        """A plain picture has the label of its colour."""
        assert label(SPEC, colour) == colour

    @pytest.mark.parametrize("colour", ["black", "white", "grey", "dark red"])
    def test_hostile_is_harmless_else(self, colour):
        """What misbehaves at some colours classifies the others."""
        assert label(HOSTILE, colour) == colour

    def test_release(self):
        """Another release is another model."""
        first, second = (SPEC.load()(SPEC.settings(release=release)).info for release in "12")

        assert first.id != second.id
        assert replace(first, digest="") == replace(second, digest="")


@pytest.mark.parametrize("module", ["store", "source", "indexer", "classifier"])
def test_pytest_is_not_needed(module):
    """The implementations are used without pytest; only the suites import it."""
    code = f"import sys, imgtag.testing.{module}; sys.exit('pytest' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def label(spec, colour):
    classifier = spec.load()(spec.settings())
    (scores,) = classifier.classify([Image.from_array(np.full((50, 70, 3), COLOURS[colour], np.uint8))])
    return classifier.info.labels[int(np.argmax(scores.probabilities))]
