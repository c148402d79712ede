"""What is believed of an object that carries labels, and what is read again first."""

from __future__ import annotations

import hmac
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256

import pytest

from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.stages.receive import OwnWrites
from imgtag.testing.store import MemoryStore
from imgtag.types.event import Hint, Intent
from imgtag.types.labels import Raw
from imgtag.types.mark import Mark, encode_digest
from imgtag.types.metadata import MARK, RAW, MetadataCodec
from imgtag.types.packed import pack
from imgtag.types.ref import ObjectRef
from imgtag.types.result import Result

from .conftest import BUCKET, SITE, Bench, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")
COPY = ObjectRef(BUCKET, "copy.jpg")
OLD = MetadataCodec()


async def look(bench: Bench, ref: ObjectRef = FOX, **more: object) -> Result:
    return (await bench.reconciler()(Hint(ref=ref, **more))).result


def forget(bench: Bench) -> None:
    """As after a restart, or in another sidecar."""
    bench.own_writes = OwnWrites()


async def labelled(bench: Bench) -> dict[str, str]:
    """The metadata of a fox that was labelled."""
    bench.store.put(FOX, picture("red fox"))
    assert Result.LABELLED == await look(bench)
    return dict(bench.metadata(FOX.key))


async def test_other_bytes_of_the_same_etag_are_classified(bench):
    """Two files of one MD5: a genuine mark is carried over with the upload of the second."""
    metadata = await labelled(bench)
    etag = bench.store.peek(str(FOX)).etag
    bench.store.put(FOX, picture("kit fox"), metadata=metadata, etag=etag)

    assert Result.LABELLED == await look(bench)
    assert ["kit fox"] == bench.document(FOX.key)["labels"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["the-writer", "another-sidecar"])
async def test_other_bytes_in_the_second_of_our_write_are_classified(bench, elsewhere):
    """Same ETag, same mark, same Last-Modified: the event names another request, so the bytes are read."""
    bench.store = MemoryStore(BUCKET, coarse_times=True, clock=lambda: 1_700_000_000.5)
    metadata = await labelled(bench)
    before = bench.store.peek(str(FOX))
    own = bench.store.events[-1]
    twin = bench.store.put(FOX, picture("kit fox"), metadata=metadata, etag=before.etag)
    assert before.revision == bench.store.peek(str(FOX)).revision
    if elsewhere:
        forget(bench)

    results = [(await bench.reconciler()(hint)).result for hint in (own, twin)]

    assert 1 == results.count(Result.LABELLED)
    assert ["kit fox"] == bench.document(FOX.key)["labels"]


async def test_events_of_the_upload_and_of_our_write_cost_no_second_read(bench):
    """However often they come."""
    bench.store = MemoryStore(BUCKET, coarse_times=True, clock=lambda: 1_700_000_000.5)
    await labelled(bench)
    upload, own = bench.store.events
    read = bench.count("imgtag_bytes_read_total")

    assert {Result.CURRENT} == {(await bench.reconciler()(hint)).result for hint in (own, upload, own, upload)}
    assert read == bench.count("imgtag_bytes_read_total")


async def test_another_sidecar_reads_once_what_was_written_in_the_second_of_the_event(bench):
    """It cannot tell our write from one of the same second. With versions it can."""
    bench.store = MemoryStore(BUCKET, coarse_times=True, clock=lambda: 1_700_000_000.5)
    await labelled(bench)
    upload, own = bench.store.events
    forget(bench)
    read = bench.count("imgtag_bytes_read_total")

    assert {Result.CURRENT} == {(await bench.reconciler()(hint)).result for hint in (upload, own, upload, own)}
    assert read + len(picture("red fox")) == bench.count("imgtag_bytes_read_total")


async def test_with_versions_another_sidecar_reads_nothing(bench):
    """The version in the document is that of our write."""
    bench.store = MemoryStore(coarse_times=True)
    bench.store.make_bucket(BUCKET, "enabled")
    await labelled(bench)
    upload, own = bench.store.events
    forget(bench)
    read = bench.count("imgtag_bytes_read_total")

    assert {Result.CURRENT} == {(await bench.reconciler()(hint)).result for hint in (upload, own, upload, own)}
    assert read == bench.count("imgtag_bytes_read_total")


async def test_other_bytes_under_a_copied_mark_are_classified(bench):
    """The same on another key: a copy is believed once its bytes were read."""
    metadata = await labelled(bench)
    etag = bench.store.peek(str(FOX)).etag
    bench.store.put(COPY, picture("kit fox"), metadata=metadata, etag=etag)

    assert Result.LABELLED == await look(bench, COPY)
    assert ["kit fox"] == bench.document(COPY.key)["labels"]


async def test_a_copy_is_read_once_and_not_classified(bench):
    """Nothing is inferred and nothing written; afterwards the index answers for it."""
    metadata = await labelled(bench)
    bench.store.put(COPY, picture("red fox"), metadata=metadata)

    assert Result.REINDEXED == await look(bench, COPY)
    assert (1, 1) == (len(bench.pool.asked), bench.count("imgtag_writes_total"))
    assert metadata == bench.metadata(COPY.key)


async def test_what_this_process_wrote_is_not_read_again(bench):
    """Nor is what the index knows of a write by another sidecar, or before a restart."""
    await labelled(bench)
    read = bench.count("imgtag_bytes_read_total")

    assert Result.CURRENT == await look(bench)
    forget(bench)
    assert Result.CURRENT == await look(bench)
    assert read == bench.count("imgtag_bytes_read_total")


async def test_with_the_index_gone_a_marked_object_is_read_once(bench):
    """No inference and no write; its new document then speaks for it."""
    await labelled(bench)
    forget(bench)
    bench.indexer.documents.clear()

    assert Result.REINDEXED == await look(bench)
    read = bench.count("imgtag_bytes_read_total")
    assert Result.CURRENT == await look(bench)
    assert (1, read) == (len(bench.pool.asked), bench.count("imgtag_bytes_read_total"))


async def test_what_this_process_wrote_is_known_without_the_index(bench):
    """What it did not write is not: an object that may not be written is read again."""
    await labelled(bench)
    bench.store.put(COPY, picture("kit fox"), readonly="legal_hold")
    await look(bench, COPY)
    bench.indexer.documents.clear()
    read = bench.store.faults.count("read")

    assert Result.REINDEXED == await look(bench)
    assert read == bench.store.faults.count("read")
    assert Result.LABELLED == await look(bench, COPY)
    assert read + 1 == bench.store.faults.count("read")
    assert not bench.own_writes.is_unchanged(bench.store.peek(COPY), Hint(ref=COPY))


async def test_the_event_of_another_write_is_not_answered(bench):
    """One write has one event: the upload of other bytes with the same mark and ETag has its own."""
    metadata = await labelled(bench)
    state, codec = bench.store.peek(str(FOX)), bench.codec
    event = Hint(ref=FOX, etag=state.etag, sequencer="7", metadata=metadata)

    assert bench.own_writes.reports(event, SITE, codec)
    assert bench.own_writes.reports(event, SITE, codec), "a doubled event is the same event"
    assert not bench.own_writes.reports(replace(event, sequencer="8"), SITE, codec)


@pytest.mark.parametrize(
    "changed",
    [
        {"etag": '"other"'},
        {"metadata": None},
        {"metadata": {}},
        {"ref": COPY},
        {"sequencer": None},
        {"removed": True},
        {"version": "another"},
        {"intent": Intent.RETRY},
    ],
)
async def test_only_an_event_that_is_certainly_ours_is_answered(bench, changed):
    """Everything that an event of our own write says is compared."""
    metadata = await labelled(bench)
    event = Hint(ref=FOX, etag=bench.store.peek(str(FOX)).etag, sequencer="7", metadata=metadata)

    assert not bench.own_writes.reports(replace(event, **changed), SITE, bench.codec)


async def test_without_a_key_nothing_is_answered_from_an_event(bench):
    """Anybody can write a mark then."""
    bench.codec = OLD
    metadata = await labelled(bench)
    event = Hint(ref=FOX, etag=bench.store.peek(str(FOX)).etag, sequencer="7", metadata=metadata)

    assert not bench.own_writes.reports(event, SITE, bench.codec)


async def test_without_a_key_only_labels_of_known_models_are_indexed(bench):
    """Invented names would fill the fields of an index for good."""
    bench.codec = OLD
    metadata = await labelled(bench)
    bench.store.put(FOX, picture("red fox"), metadata={**metadata, "imgtag_invented": "0.99", "imgtag_kit+fox": "0.80"})

    assert Result.REINDEXED == await look(bench)
    assert {"red fox": 0.9, "kit fox": 0.8} == bench.document(FOX.key)["scores"]


async def test_marks_from_before_there_was_a_key_hold_where_the_index_knows_them(bench):
    """An upgrade that makes a key does not label a store again; asked for, it signs."""
    key, bench.codec = bench.codec, OLD
    await labelled(bench)
    bench.codec = key
    forget(bench)

    assert Result.CURRENT == await look(bench)
    assert 1 == bench.count("imgtag_stale_total")
    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert "s=2." in bench.metadata(FOX.key)[MARK]


async def test_an_unsigned_mark_that_the_index_does_not_know_is_forged(bench):
    """Whoever may only upload cannot have anything believed."""
    key, bench.codec = bench.codec, OLD
    metadata = await labelled(bench)
    bench.codec = key
    mark = Mark.decode(metadata[MARK])
    forged = {**metadata, MARK: replace(mark, at=mark.at + 1).encode(), "imgtag_puppy": "0.99"}
    bench.store.put(FOX, picture("red fox"), metadata=forged)

    assert Result.LABELLED == await look(bench)
    assert ["red fox"] == bench.document(FOX.key)["labels"]


async def test_forged_scores_do_not_become_labels(bench):
    """Raw scores are signed; changed rules use only what is."""
    metadata = await labelled(bench)
    bench.store.put(FOX, picture("red fox"), metadata={**metadata, RAW: Raw(((2, 1.0),)).encode()})

    await look(bench, intent=Intent.STALE)
    assert ["red fox"] == bench.document(FOX.key)["labels"]


def sum_up(bench: Bench, data: bytes) -> None:
    """From now on the store shows the SHA-256 of these bytes with each object."""
    opened = bench.store.open

    @asynccontextmanager
    async def open_with_sum(ref: ObjectRef, **more: object):
        async with opened(ref, **more) as body:
            body.state = replace(body.state, sha256=b64encode(sha256(data).digest()).decode())
            yield body

    bench.store.open = open_with_sum  # type: ignore[method-assign]


@pytest.mark.parametrize(("data", "reads"), [(picture("red fox"), 0), (picture("kit fox"), 1)])
async def test_a_checksum_of_the_store_proves_the_content(bench, data, reads):
    """Then nothing is read, though neither this process nor the index knows the object."""
    await labelled(bench)
    forget(bench)
    bench.indexer.documents.clear()
    sum_up(bench, data)
    before = bench.store.faults.count("read")

    assert Result.REINDEXED == await look(bench)
    assert reads == bench.store.faults.count("read") - before
    assert 1 == len(bench.pool.asked)


@pytest.mark.parametrize("verifies", [True, False])
async def test_a_worker_that_lies_gets_no_mark_for_other_content(bench, verifies):
    """Where the store verifies what is said of the bytes, it refuses to write; else no worker is asked."""
    bench.store.features = replace(bench.store.features, verifies_digest=verifies)
    bench.pool.said = sha256(picture("kit fox")).digest()
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    mark = Mark.decode(bench.metadata(FOX.key).get(MARK, ""))
    assert (mark and mark.content) == (None if verifies else encode_digest(sha256(picture("red fox")).digest()))
    assert bench.document(FOX.key).get("code") == ("checksum" if verifies else None)


async def test_a_checksum_proves_nothing_on_another_key(bench):
    """A mark names its object: a copy is read once."""
    metadata = await labelled(bench)
    sum_up(bench, picture("red fox"))
    bench.store.put(COPY, picture("red fox"), metadata=metadata)
    before = bench.store.faults.count("read")

    assert Result.REINDEXED == await look(bench, COPY)
    assert 1 == bench.store.faults.count("read") - before


FOXES = Taxonomy(
    classes=(ClassTerms(ancestors=("fox",)), ClassTerms(ancestors=("fox",)), ClassTerms(), ClassTerms()),
    ancestors=(AncestorTerms(name="fox"),),
)


async def sign_as_before(bench: Bench) -> None:
    """Sign the mark of the fox in the first format, which covers mark and labels alone."""
    metadata = await labelled(bench)
    entries, _ = bench.codec.split(metadata)
    texts = [f"{label.name}={label.confidence:.6f}" for label in entries.labels]
    signed = "\n".join([pack(entries.mark.unsigned_fields()), *texts]).encode()
    signature = encode_digest(hmac.digest(b"key", signed, "sha256"))
    bench.store.put(
        FOX, picture("red fox"), metadata={**metadata, MARK: replace(entries.mark, signature=signature).encode()}
    )


async def test_labels_of_the_first_format_hold_and_their_scores_do_not(bench):
    """Once the bytes were read nothing is inferred; what the labels say is in the document, and no more."""
    bench.pool.words = FOXES
    await sign_as_before(bench)
    assert {"red fox": 0.9, "fox": 0.95} == bench.document(FOX.key)["scores"]

    assert Result.REINDEXED == await look(bench)
    assert {"red fox": 0.9, "fox": 0.9} == bench.document(FOX.key)["scores"]
    assert (1, 1) == (len(bench.pool.asked), bench.count("imgtag_stale_total"))


async def test_labels_of_the_first_format_are_made_again_when_asked_for(bench):
    """By the model, because the scores are not signed; then everything is."""
    await sign_as_before(bench)

    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert "s=2." in bench.metadata(FOX.key)[MARK]
    assert 2 == len(bench.pool.asked)


async def test_a_write_of_this_process_keeps_the_scores_of_the_first_format(bench):
    """It knows that nobody has touched the object since, as the index does after a restart."""
    bench.pool.words = FOXES
    await sign_as_before(bench)
    bench.own_writes.remember(bench.store.peek(FOX))

    assert Result.REINDEXED == await look(bench)
    assert {"red fox": 0.9, "fox": 0.95} == bench.document(FOX.key)["scores"]


async def test_a_users_rating_stays_when_labels_come_and_when_they_change(bench):
    """It was there before we were, or it came afterwards; it is neither a label nor ours."""
    rating, stars = {"imgtag_rating": "0.5"}, {"imgtag_stars": "0.9"}
    bench.store.put(FOX, picture("red fox"), metadata=rating)
    await bench.work_off()
    first = bench.metadata(FOX.key)
    assert rating.items() <= first.items()
    assert ["red fox"] == bench.document(FOX.key)["labels"]

    forget(bench)
    bench.store.put(FOX, picture("kit fox"), metadata={**first, **stars})
    await bench.reconciler()(bench.store.events[-1])

    second = bench.metadata(FOX.key)
    assert (rating | stars).items() <= second.items()
    assert ["kit fox"] == bench.document(FOX.key)["labels"]
    assert "imgtag_red+fox" not in second
    assert Result.CURRENT == (await bench.reconciler()(bench.store.events[-1])).result
