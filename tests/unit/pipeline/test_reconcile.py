"""The rule, object by object."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial

import pytest

from imgtag.errors import BucketAbsent, Conflict, ModelError, Unavailable, Undecodable, Unreadable
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.reconcile import Poison, Result
from imgtag.stages.index import IndexUnavailable
from imgtag.types.document import Problem
from imgtag.types.event import Hint, Intent
from imgtag.types.metadata import MARK, MetadataCodec
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, TablePool, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "a/fox.jpg")
FOXES = Taxonomy(
    classes=(
        ClassTerms(category="animal", ancestors=("fox", "animal"), synonyms=("vulpes vulpes",)),
        ClassTerms(category="animal", ancestors=("fox", "animal")),
        ClassTerms(category="street"),
        ClassTerms(),
    ),
    ancestors=(AncestorTerms(name="animal", synonyms=("beast",)), AncestorTerms(name="fox")),
)
RENAMED = LabelPolicy(rules=(LabelRule(labels=("red fox",), rename="Reynard"),))


async def look(bench, ref=FOX, **more):
    return (await bench.reconciler()(Hint(ref=ref, **more))).result


async def test_a_new_picture_is_labelled_marked_and_indexed(bench):
    """Read once, written once, indexed once."""
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    assert "0.90" == bench.metadata(FOX.key)["imgtag_red+fox"]
    assert "imgtag-mark" in bench.metadata(FOX.key)
    document = bench.document(FOX.key)
    assert ["red fox"] == document["labels"]
    assert "labelled" == document["status"]
    assert 1 == bench.store.faults.count("rewrite")


async def test_a_second_look_costs_neither_body_nor_write(bench):
    """A mark that holds settles it from headers alone."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    assert Result.CURRENT == await look(bench)
    assert 1 == bench.store.faults.count("read")
    assert 1 == bench.store.faults.count("rewrite")
    assert 1 == bench.indexer.faults.count("apply")


async def test_the_document_is_a_function_of_the_object(bench):
    """An index that is lost comes back the same from headers, without the model."""
    bench.store.put(FOX, picture("red fox"), metadata={"Owner": "me"})
    await look(bench)
    before = bench.document(FOX.key)
    bench.indexer.documents.clear()

    assert Result.REINDEXED == await look(bench)
    assert before == bench.document(FOX.key)
    assert list(before) == list(bench.document(FOX.key))
    assert 1 == len(bench.pool.asked)
    assert "table@00000000-svd1" == before["space"]
    assert 128 == len(before["_vectors"]["img"])


async def test_without_its_entry_a_document_has_no_vector(bench):
    """Nor a space: what is not with the object is not in the index either, so that it comes back the same."""
    bench.codec = MetadataCodec(keep=frozenset({"facts", "raw"}))
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    assert "imgtag-vec" not in bench.metadata(FOX.key)
    assert {"img": None} == bench.document(FOX.key)["_vectors"]
    assert "space" not in bench.document(FOX.key)


async def test_a_crash_between_write_and_index_infers_nothing_twice(bench):
    """What was written before the index failed is indexed later from the object."""
    bench.store.put(FOX, picture("red fox"))
    bench.indexer.faults.fail(Unavailable(), times=None)
    with pytest.raises(IndexUnavailable):
        await look(bench)
    bench.indexer.faults.mend()

    assert Result.REINDEXED == await look(bench)
    assert 1 == len(bench.pool.asked)
    assert 1 == bench.store.faults.count("rewrite")


async def test_an_overwritten_picture_is_labelled_anew(bench):
    """A mark does not hold for other content, even where the metadata were carried along."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.put(FOX, picture("café"), metadata=bench.metadata(FOX.key))

    assert Result.LABELLED == await look(bench)
    assert ["café"] == bench.document(FOX.key)["labels"]
    assert "imgtag_red+fox" not in bench.metadata(FOX.key)
    assert "0.90" == bench.metadata(FOX.key)["imgtag_caf%c3%a9"]


async def test_absent_means_deleted(bench):
    """The document goes with the object; a key that never had one costs no write."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.delete(FOX)

    assert Result.DELETED == await look(bench)
    assert bench.document(FOX.key) is None
    assert Result.ABSENT == await look(bench)
    assert 2 == bench.indexer.faults.count("apply")


async def test_absent_is_not_believed_without_its_bucket(bench):
    """A wrong endpoint or a lost mount deletes nothing."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.take_away(BUCKET)

    with pytest.raises(BucketAbsent):
        await look(bench)
    assert bench.document(FOX.key) is not None


async def test_absent_from_a_bucket_without_any_object_is_believed_of_a_deletion_alone(bench):
    """Another server may have an empty bucket of the same name; what is there beside it makes it the right one."""
    bench.store.features = replace(bench.store.features, sure_when_empty=False)
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.delete(FOX)

    with pytest.raises(BucketAbsent):
        await look(bench)
    assert bench.document(FOX.key) is not None
    bench.store.put(f"{BUCKET}/other.txt", b"text", content_type="text/plain")
    assert Result.DELETED == await look(bench)

    bench.store.delete(f"{BUCKET}/other.txt")
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.delete(FOX)
    assert Result.DELETED == await look(bench, removed=True)


async def test_a_copy_is_indexed_without_inference_and_without_a_write(bench):
    """A user's copy carries labels that are right for its content."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    other = ObjectRef(BUCKET, "b.jpg")
    bench.store.copy(FOX, other)

    assert Result.REINDEXED == await look(bench, other)
    assert ["red fox"] == bench.document("b.jpg")["labels"]
    assert 1 == len(bench.pool.asked)
    assert 1 == bench.store.faults.count("rewrite")


async def test_a_store_that_changes_etags_costs_a_read_and_no_loop(bench):
    """Where the ETag differs, the checksum decides."""
    bench.store._etags = "rewrite"
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    assert Result.CURRENT == await look(bench)
    assert 1 == len(bench.pool.asked)
    assert 1 == bench.store.faults.count("rewrite")


@pytest.mark.parametrize("key", ["notes.txt", "film.mp4"])
async def test_what_is_no_image_is_left_alone(bench, key):
    """Neither read nor documented; a document that is there goes."""
    ref = ObjectRef(BUCKET, key)
    bench.store.put(ref, b"text", content_type="text/plain")

    assert Result.SKIPPED == await look(bench, ref)
    assert 0 == bench.store.faults.count("read")
    assert {} == bench.indexer.documents


async def test_without_type_and_suffix_the_first_bytes_decide(bench):
    """An object without a name that says anything is admitted by its magic."""
    bench.store.put(f"{BUCKET}/photo", picture("red fox"), content_type="binary/octet-stream")
    bench.store.put(f"{BUCKET}/data", b"something else", content_type="binary/octet-stream")

    assert Result.LABELLED == await look(bench, ObjectRef(BUCKET, "photo"))
    assert Result.SKIPPED == await look(bench, ObjectRef(BUCKET, "data"))


@pytest.mark.parametrize(
    ("key", "content_type", "data"),
    [("photo", "", b"something else"), ("photo", "", b"x" * 1001), ("photo", "text/plain", picture("red fox"))],
    ids=["bytes", "size", "type"],
)
async def test_what_is_no_image_any_more_has_no_document(bench, key, content_type, data):
    """By its first bytes, by a size that they are not read of, or by what it is called."""
    ref = ObjectRef(BUCKET, key)
    bench.store.put(ref, picture("red fox"), content_type="")
    assert Result.LABELLED == await look(bench, ref)
    bench.store.put(ref, data, content_type=content_type)

    assert Result.DELETED == await look(bench, ref)
    assert {} == bench.indexer.documents
    assert Result.SKIPPED == await look(bench, ref)


@pytest.mark.parametrize("call", ["open", "read", "rewrite"])
async def test_a_store_that_does_not_answer_is_not_ready(bench, call):
    """Whatever it was asked for; until it answers again."""
    bench.store.put(FOX, picture("red fox"))
    bench.store.faults.fail(Unavailable("no route"), on=call)
    with pytest.raises(Unavailable, match="no route"):
        await look(bench)
    assert "no route" == bench.health.ready().parts["store"]

    await look(bench)
    assert bench.health.ready().ok


async def test_what_no_rule_admits_has_no_document(bench):
    """Narrowed rules take the document away and leave the object alone."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    written = dict(bench.metadata(FOX.key))
    bench.admitted = lambda ref: ref != FOX

    assert Result.DELETED == await look(bench)
    assert written == bench.metadata(FOX.key)
    assert Result.SKIPPED == await look(bench)
    bench.store.put(f"{BUCKET}/other.jpg", picture("kit fox"))
    assert Result.LABELLED == await look(bench, ObjectRef(BUCKET, "other.jpg"))


async def test_a_broken_picture_is_a_document_with_the_reason(bench):
    """Nothing is written on it, and it is not tried again until somebody asks or it changes."""
    bench.store.put(FOX, picture("broken"))
    with pytest.raises(Poison, match=r"^the JPEG is damaged$") as poison:
        await look(bench)

    problem = Problem(code="undecodable", reason="the JPEG is damaged", status="failed")
    assert (FOX, problem) == (poison.value.ref, poison.value.problem)
    document = bench.document(FOX.key)
    assert ("failed", "undecodable", "the JPEG is damaged") == (
        document["status"],
        document["code"],
        document["reason"],
    )
    assert {} == bench.metadata(FOX.key)
    assert Result.CURRENT == await look(bench)
    with pytest.raises(Poison):
        await look(bench, intent=Intent.RETRY)
    bench.store.put(FOX, picture("red fox"))
    assert Result.LABELLED == await look(bench)
    assert "code" not in bench.document(FOX.key)


@pytest.mark.parametrize(
    ("more", "data", "code", "reason"),
    [
        (
            {"unreadable": "customer_key"},
            picture("red fox"),
            "customer_key",
            "its bytes cannot be read (customer_key)",
        ),
        ({}, picture("red fox").ljust(1001), "too_large", "1,001 bytes are over the limit of 1,000"),
    ],
)
async def test_what_may_not_be_read_is_refused(bench, more, data, code, reason):
    """Refused, with code and reason; over the limit not a byte is read."""
    bench.store.put(FOX, data, **more)
    with pytest.raises(Poison, match=re.escape(reason)):
        await look(bench)

    document = bench.document(FOX.key)
    assert ("refused", code, reason) == (document["status"], document["code"], document["reason"])
    assert 0 == len(bench.pool.asked)
    assert 0 == bench.store.faults.count("read")


@pytest.mark.parametrize("key", ["a.jpg", "a"])
async def test_the_largest_object_that_is_read(bench, key):
    """One of exactly as many bytes as may be, whether its name calls it an image or its first bytes do."""
    data = picture("red fox#").ljust(1000, b"x")
    bench.store.put(f"{BUCKET}/{key}", data, content_type="")

    assert Result.LABELLED == await look(bench, ObjectRef(BUCKET, key))
    assert [data] == bench.pool.asked


@pytest.mark.parametrize("obstacle", ["unreadable", "readonly"])
async def test_a_refusal_that_has_passed_is_looked_at_again(bench, everything, obstacle):
    """What lacked a permission is tried again, on the same ETag, once the store says that it may be."""
    bench.store.features = replace(bench.store.features, tells_refusals=True)
    bench.store.put(FOX, picture("red fox"), **{obstacle: "permission"})
    bench.store.put("pictures/sound.jpg", picture("red fox"))
    await look(bench, ObjectRef(BUCKET, "sound.jpg"))
    with pytest.raises(Poison) if obstacle == "unreadable" else nullcontext():
        await look(bench)
    assert Result.CURRENT == await look(bench)
    assert "permission" == bench.document(FOX.key)["code"]
    bench.store.put(FOX, picture("red fox"))
    hints = [hint async for hint in bench.pipeline().find_differences(everything)]

    assert [FOX] == [hint.ref for hint in hints]
    assert Result.LABELLED == await look(bench)
    assert "imgtag-mark" in bench.metadata(FOX.key)
    assert "code" not in bench.document(FOX.key)
    assert [] == [hint async for hint in bench.pipeline().find_differences(everything)]


async def test_a_hidden_object_stays_as_it_is_known(bench):
    """Where not even whether it exists can be known, the index keeps what it has, and nothing is tried again."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    before = bench.document(FOX.key)
    for known in (FOX, ObjectRef(BUCKET, "never seen.jpg")):
        bench.store.faults.fail(Unreadable("its folder may not be entered", code="permission"), on="open")
        assert Result.REFUSED == await look(bench, known)

    assert before == bench.document(FOX.key)
    assert 1 == len(bench.indexer.documents)


async def test_nothing_above_the_threshold_is_a_result(bench):
    """Marked, without labels, and not looked at again."""
    bench.store.put(FOX, picture("nothing"))

    assert Result.UNLABELLED == await look(bench)
    assert "imgtag-mark" in bench.metadata(FOX.key)
    assert "unlabelled" == bench.document(FOX.key)["status"]
    assert Result.CURRENT == await look(bench)


@pytest.mark.parametrize("code", ["retention", "legal_hold", "replica"])
async def test_a_locked_object_is_indexed_and_not_written(bench, code):
    """The document says why, and stands in for the mark."""
    bench.store.put(FOX, picture("red fox"), readonly=code)

    assert Result.LABELLED == await look(bench)
    assert {} == bench.metadata(FOX.key)
    assert (["red fox"], code) == (bench.document(FOX.key)["labels"], bench.document(FOX.key)["code"])
    assert Result.CURRENT == await look(bench)
    assert 1 == len(bench.pool.asked)


async def test_index_only_writes_nothing(bench):
    """With the strategy `none` the document is the checkpoint."""
    bench.strategy = "none"
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    assert {} == bench.metadata(FOX.key)
    assert Result.CURRENT == await look(bench)
    assert 1 == len(bench.pool.asked)


@pytest.mark.parametrize("strategy", ["none", "tags"])
async def test_the_same_bytes_uploaded_again_have_their_own_document(bench, strategy):
    """Where nothing on the object proves its labels: its ETag is the same, its revision is not. Once is enough."""
    bench.strategy = strategy
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.store.put(FOX, picture("red fox"), metadata={"license": "CC0"})

    assert Result.LABELLED == await look(bench)
    assert bench.store.peek(str(FOX)).revision == bench.document(FOX.key)["revision"]
    assert Result.CURRENT == await look(bench)
    assert 2 == len(bench.pool.asked)


@pytest.mark.parametrize("layout", ["names", "single"])
@pytest.mark.parametrize("prefix", ["imgtag_", "ai_"])
async def test_labels_as_tags(bench, layout, prefix):
    """With the strategy `tags` each label is one tag, in either layout and with any prefix; metadata stay as they are.

    Also where the user's own entries fill the limit of metadata, for nothing is written there.
    """
    bench.strategy, bench.codec = "tags", MetadataCodec(layout=layout, prefix=prefix)
    own = {f"name{number}": "x" * 100 for number in range(17)}
    bench.store.put(FOX, picture("red fox"), metadata=own, tags={"mine": "1", f"{prefix}old": "0.30"})

    assert Result.LABELLED == await look(bench)
    assert {"mine": "1", f"{prefix}red+fox": "0.90"} == dict(bench.store.peek(FOX).tags)
    assert own == bench.metadata(FOX.key)
    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert "code" not in bench.document(FOX.key)
    assert Result.CURRENT == await look(bench)
    assert 1 == len(bench.pool.asked)


async def test_metadata_without_room_are_left_as_they_are(bench):
    """Where the user's own entries fill the store's limit, the picture is only indexed."""
    own = {f"name{number}": "x" * 100 for number in range(17)}
    bench.store.put(FOX, picture("red fox"), metadata=own)

    assert Result.LABELLED == await look(bench)
    assert own == bench.metadata(FOX.key)
    assert "metadata_full" == bench.document(FOX.key)["code"]


async def test_little_room_is_used_for_labels(bench):
    """With some room left, label and mark go in and the user's entries stay."""
    own = {f"name{number}": "x" * 100 for number in range(14)}
    bench.store.put(FOX, picture("red fox"), metadata=own)
    await look(bench)

    assert own.items() <= bench.metadata(FOX.key).items()
    assert "0.90" == bench.metadata(FOX.key)["imgtag_red+fox"]
    assert "code" not in bench.document(FOX.key)


async def test_an_overwrite_in_the_middle_starts_over(bench):
    """Labels of the older content never go on the newer one."""
    bench.store.put(FOX, picture("red fox"))
    bench.store.before_rewrite(lambda: bench.store.put(FOX, picture("café")))

    assert Result.LABELLED == await look(bench)
    assert ["café"] == bench.document(FOX.key)["labels"]
    assert picture("café") == bench.store.data(FOX)
    assert 1 == bench.count("imgtag_conflicts_total")


async def test_tags_and_metadata_set_in_the_middle_are_kept(bench):
    """What a user sets between our look and our write starts the write over."""
    bench.store.put(FOX, picture("red fox"))
    bench.store.before_rewrite(lambda: bench.store.tag(FOX, {"keep": "yes"}))

    assert Result.LABELLED == await look(bench)
    assert {"keep": "yes"} == bench.store.peek(FOX).tags


async def test_a_delete_in_the_middle_brings_nothing_back(bench):
    """A deleted object stays deleted, and has no document."""
    bench.store.put(FOX, picture("red fox"))
    bench.store.before_rewrite(lambda: bench.store.delete(FOX))

    assert Result.ABSENT == await look(bench)
    assert bench.store.peek(FOX) is None
    assert {} == bench.indexer.documents


async def test_a_lost_answer_is_not_a_second_write(bench):
    """After a response that never came, the look at the object finds the write done."""
    bench.store.put(FOX, picture("red fox"))

    def lose():
        raise Unavailable("connection reset")

    bench.store.after_rewrite(lose)
    with pytest.raises(Unavailable):
        await look(bench)

    assert Result.REINDEXED == await look(bench)
    assert 1 == bench.store.faults.count("rewrite")
    assert 1 == len(bench.pool.asked)


async def test_an_object_that_never_rests_waits(bench):
    """Conflicts without end are given back to be tried later."""
    bench.store.put(FOX, picture("red fox"))
    bench.store.before_rewrite(lambda: bench.store.put(FOX, picture("red fox")), times=None)

    with pytest.raises(Conflict, match=r"pictures/a/fox\.jpg keeps changing") as conflict:
        await look(bench)
    assert "It is retried once it has come to rest." == conflict.value.hint
    assert (3, 3) == (bench.store.faults.count("open"), bench.count("imgtag_conflicts_total"))


@pytest.mark.parametrize(
    ("more", "name", "problem"),
    [
        ({}, "broken", Problem(code="undecodable", reason="the JPEG is damaged", status="failed")),
        (
            {"unreadable": "customer_key"},
            "red fox",
            Problem(code="customer_key", reason="its bytes cannot be read (customer_key)", status="refused"),
        ),
        ({"readonly": "retention"}, "red fox", None),
        ({}, "red fox", None),
    ],
)
async def test_a_later_look_says_what_failed_before(bench, more, name, problem):
    """So that its letter can be put if it was lost; what is only not written did not fail."""
    bench.store.put(FOX, picture(name), **more)
    with suppress(Poison):
        await look(bench)

    outcome = await bench.reconciler()(Hint(ref=FOX))
    assert (Result.CURRENT, problem) == (outcome.result, outcome.failed_before)


async def test_no_connection_is_held_while_a_picture_is_classified(bench):
    """A slow model would use up those of the store."""
    is_open, opened, states = [], bench.store.open, []

    @asynccontextmanager
    async def noted(ref, **more):
        async with opened(ref, **more) as body:
            is_open.append(ref)
            yield body
            is_open.remove(ref)

    bench.store.open = noted
    bench.pool.meanwhile = lambda: states.append(list(is_open))
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    assert [[]] == states


async def test_the_index_is_not_asked_about_a_new_upload(bench):
    """It can know nothing of it. Anything else may be known there: what is looked at again, marked, or gone."""
    hint = bench.store.put(FOX, picture("red fox"))
    asked = []
    for options in ({"is_new": True}, {"is_new": True}, {"is_new": False}):
        await bench.reconciler()(hint, **options)
        asked.append(bench.indexer.faults.count("get"))
    bench.store.delete(FOX)
    await bench.reconciler()(hint, is_new=True)

    assert [0, 1, 2, 3] == [*asked, bench.indexer.faults.count("get")]
    assert [picture("red fox")] == bench.pool.asked


async def test_an_upload_that_was_overwritten_is_not_new(bench):
    """The event tells of other content than what is there, and that may have failed before."""
    hint = bench.store.put(FOX, picture("red fox"))
    bench.store.put(FOX, picture("broken"))
    with pytest.raises(Poison):
        await look(bench)
    outcome = await bench.reconciler()(hint, is_new=True)

    assert outcome.failed_before is not None
    assert [picture("broken")] == bench.pool.asked


@pytest.mark.parametrize(
    ("change", "ahead"),
    [
        ({}, 10),
        ({"size": None}, 0),
        ({"size": 2_000}, 1_000),
        ({"metadata": None}, 0),
        ({"metadata": {MARK: "1"}}, 0),
        ({"ref": ObjectRef(BUCKET, "notes.txt")}, 0),
    ],
    ids=["upload", "no size", "over the limit of a picture", "no metadata", "marked", "no picture"],
)
async def test_what_is_read_ahead(bench, change, ahead):
    """The bytes of a picture that is probably not labelled; the store is told how many there is memory for."""
    bench.store.put(FOX, picture("red fox"))
    hint = replace(Hint(ref=FOX, sequencer="1", etag="e", size=10, metadata={}), **change)
    opened, told = bench.store.open, []

    def noted(ref, **more):
        told.append(more["read_ahead"])
        return opened(ref, **more)

    bench.store.open = noted
    await bench.reconciler()(hint, is_new=True)
    await bench.reconciler()(hint)

    assert [ahead, 0] == told


async def test_writes_that_are_undone_again_and_again_end(bench):
    """At most three writes for the same content; then it is only indexed, with a code."""
    for _ in range(3):
        bench.store.put(FOX, picture("red fox"))
        assert Result.LABELLED == await look(bench)
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    assert {} == bench.metadata(FOX.key)
    assert "write_limit" == bench.document(FOX.key)["code"]
    assert 1 == bench.count("imgtag_writes_refused_total", code="write_limit")
    assert Result.CURRENT == await look(bench)


async def test_another_models_labels_stay_until_asked(bench):
    """A mark of another model holds and is counted; the intent `stale` labels anew."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.pool.name = "newer"

    assert Result.CURRENT == await look(bench)
    assert 1 == bench.count("imgtag_stale_total")
    assert 1 == len(bench.pool.asked)
    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert bench.document(FOX.key)["model"].startswith("newer@")
    assert Result.CURRENT == await look(bench, intent=Intent.STALE)


async def test_a_forged_mark_is_not_believed(bench):
    """With a key, labels that somebody else wrote are replaced by ours."""
    bench.codec = MetadataCodec(keys=(b"another",))
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.codec = MetadataCodec(keys=(b"secret",))

    assert Result.LABELLED == await look(bench)
    assert Result.CURRENT == await look(bench)

    changed = {**bench.metadata(FOX.key), "imgtag_red+fox": "1.00"}
    bench.store.put(FOX, picture("red fox"), metadata=changed)
    assert Result.LABELLED == await look(bench)
    assert "0.90" == bench.metadata(FOX.key)["imgtag_red+fox"]


async def test_both_layouts_are_read(bench):
    """What one layout wrote is known when the other one is set."""
    bench.codec = MetadataCodec(layout="single")
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    before = bench.document(FOX.key)
    assert "red+fox=0.90" == bench.metadata(FOX.key)["imgtag-labels"]
    bench.codec = replace(bench.codec, layout="names")

    assert Result.CURRENT == await look(bench)
    assert before == bench.document(FOX.key)


async def test_what_is_above_the_labels_is_in_the_document(bench):
    """Ancestors with the sum of what is below them, category, and other names to be found by."""
    bench.pool.words = FOXES
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    document = bench.document(FOX.key)
    assert (["red fox"], ["fox", "animal"], "animal") == (
        document["labels"],
        document["ancestors"],
        document["category"],
    )
    assert {"red fox": 0.9, "fox": 0.95, "animal": 0.95} == document["scores"]
    assert ["animal", "beast", "fox", "red", "red fox", "vulpes", "vulpes vulpes"] == document["terms"]
    assert "imgtag_fox" not in bench.metadata(FOX.key)


@pytest.mark.parametrize("keep", [{"facts", "raw", "vec"}, {"raw"}, {"facts"}], ids=["all", "raw", "facts"])
@pytest.mark.parametrize("threshold", [0.1, 0.95], ids=["sure", "unsure"])
async def test_the_document_with_ancestors_is_a_function_of_the_object(bench, keep, threshold):
    """Byte for byte, on first labelling as from headers alone, whatever is kept of the scores."""
    bench.pool.words = FOXES
    bench.codec = MetadataCodec(keep=frozenset(keep))
    bench.policy = LabelPolicy(threshold=threshold)
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    before = json.dumps(bench.document(FOX.key))
    bench.indexer.documents.clear()

    assert Result.REINDEXED == await look(bench)
    assert before == json.dumps(bench.document(FOX.key))
    assert "fox" in bench.document(FOX.key)["ancestors"]


async def test_an_ancestor_alone_is_a_label_on_the_object_only(bench):
    """Where no label is sure it is written, and found; it is no label of the document."""
    bench.pool.words = FOXES
    bench.policy = LabelPolicy(threshold=0.95)
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    assert "0.95" == bench.metadata(FOX.key)["imgtag_fox"]
    document = bench.document(FOX.key)
    assert ("labelled", [], ["fox", "animal"]) == (document["status"], document["labels"], document["ancestors"])


async def test_another_models_labels_stand_as_they_are(bench):
    """Without their model nothing is known of them but the entries."""
    bench.pool.words = FOXES
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.pool.name = "newer"

    assert Result.REINDEXED == await look(bench)
    document = bench.document(FOX.key)
    assert ["red fox"] == document["labels"]
    assert not {"ancestors", "category"} & document.keys()
    assert ["fox", "red", "red fox"] == document["terms"]


async def test_changed_rules_make_a_mark_stale(bench, caplog):
    """It holds and is counted; asked for, labels are made anew of what was kept, without the model."""
    bench.store.put(FOX, picture("red fox"), metadata={"owner": "me"})
    await look(bench)
    bench.policy = RENAMED

    assert Result.CURRENT == await look(bench)
    assert 1 == bench.count("imgtag_stale_total")
    caplog.set_level("INFO")
    assert Result.RELABELLED == await look(bench, intent=Intent.STALE)
    (event,) = [record for record in caplog.records if record.message == "object_relabelled"]
    assert (BUCKET, FOX.key) == (event.bucket, event.key)
    assert 1 == len(bench.pool.asked)
    assert {"owner": "me", "imgtag_reynard": "0.90"}.items() <= bench.metadata(FOX.key).items()
    assert "imgtag_red+fox" not in bench.metadata(FOX.key)
    assert ["reynard"] == bench.document(FOX.key)["labels"]
    assert {"reynard", "red fox"} <= set(bench.document(FOX.key)["terms"])
    assert Result.CURRENT == await look(bench, intent=Intent.STALE)
    assert Result.CURRENT == await look(bench)


async def test_relabelled_is_what_labelled_would_be(bench):
    """By the same rules the object says the same, however it came by them."""
    bench.pool.words = FOXES
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.policy = RENAMED
    await look(bench, intent=Intent.STALE)
    relabelled = bench.document(FOX.key)
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    changing = {"etag", "modified", "revision", "when", "labelled"}
    assert {name: value for name, value in relabelled.items() if name not in changing} == {
        name: value for name, value in bench.document(FOX.key).items() if name not in changing
    }


async def test_stale_labels_are_renewed_where_etags_change(bench):
    """The checksum tells that the mark is of this content; without scores that were kept the model is asked."""
    bench.store._etags = "rewrite"
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.policy = RENAMED

    assert Result.CURRENT == await look(bench)
    assert Result.RELABELLED == await look(bench, intent=Intent.STALE)
    assert ["reynard"] == bench.document(FOX.key)["labels"]
    assert 1 == len(bench.pool.asked)
    bench.pool.name = "newer"
    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert 2 == len(bench.pool.asked)


async def test_a_stale_copy_is_renewed_as_its_own(bench):
    """Its mark then names the copy; the original stays as it was."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    before = dict(bench.metadata(FOX.key))
    other = ObjectRef(BUCKET, "b.jpg")
    bench.store.copy(FOX, other)
    bench.policy = RENAMED

    assert Result.RELABELLED == await look(bench, other, intent=Intent.STALE)
    assert "0.90" == bench.metadata("b.jpg")["imgtag_reynard"]
    assert before == bench.metadata(FOX.key)


async def test_without_kept_scores_stale_labels_are_inferred(bench):
    """Where raw was not written the model looks again."""
    bench.codec = MetadataCodec(keep=frozenset({"facts"}))
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    bench.policy = RENAMED

    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert 2 == len(bench.pool.asked)
    assert ["reynard"] == bench.document(FOX.key)["labels"]


async def test_an_older_models_labels_are_understood_where_it_is_known(bench):
    """Ancestors and other names stay with what it labelled, though another one labels now."""
    bench.pool.words = FOXES
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    before = bench.document(FOX.key)
    bench.pool.others = [bench.pool.info]
    bench.pool.name, bench.pool.words = "newer", Taxonomy()

    assert Result.CURRENT == await look(bench)
    assert before == bench.document(FOX.key)
    bench.indexer.documents.clear()
    assert Result.REINDEXED == await look(bench)
    assert before == bench.document(FOX.key)


async def test_a_shadow_model_only_reports(bench):
    """What it would have changed is counted; object and document are as without it."""
    bench.store.put(FOX, picture("red fox"))
    await look(bench)
    alone = (bench.metadata(FOX.key)["imgtag_red+fox"], bench.document(FOX.key)["scores"])
    bench.shadow = TablePool(name="newer", labels=("kit fox", "red fox", "wolf"))
    bench.shadow.words = FOXES
    bench.store.put(FOX, picture("red fox#2"))

    assert Result.LABELLED == await look(bench)
    assert alone == (bench.metadata(FOX.key)["imgtag_red+fox"], bench.document(FOX.key)["scores"])
    assert [picture("red fox#2")] == bench.shadow.asked
    model = bench.shadow.info.id
    assert 1 == bench.count("imgtag_shadow_pictures_total", model=model, result="same")
    assert 1 == bench.count("imgtag_shadow_labels_total", model=model, result="kept")
    assert 0 == bench.count("imgtag_shadow_labels_total", model=model, result="gained")


async def test_what_a_shadow_model_would_say_instead_is_counted(bench):
    """Another best label, one lost and one gained."""
    bench.shadow = TablePool(name="newer", labels=("wolf", "kit fox"))
    bench.shadow.labels = ("coyote", "wolf")
    bench.shadow.classify = partial(TablePool.classify, TablePool(labels=("red fox", "wolf")))
    bench.store.put(FOX, picture("red fox"))

    await look(bench)

    model = bench.shadow.info.id
    assert 1 == bench.count("imgtag_shadow_pictures_total", model=model, result="other")
    assert 1 == bench.count("imgtag_shadow_labels_total", model=model, result="lost")
    assert 1 == bench.count("imgtag_shadow_labels_total", model=model, result="gained")


@pytest.mark.parametrize("error", [Undecodable("it broke"), Unavailable("it is gone"), ModelError("it is none")])
async def test_a_shadow_model_that_fails_harms_nothing(bench, error):
    """The picture is labelled, and the failure is counted."""

    async def fail(*_):
        raise error

    bench.shadow = TablePool(name="newer")
    bench.shadow.classify = fail
    bench.store.put(FOX, picture("red fox"))

    assert Result.LABELLED == await look(bench)
    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert 1 == bench.count("imgtag_shadow_pictures_total", model=bench.shadow.info.id, result="failed")


async def test_a_shadow_model_sees_new_pictures_only(bench):
    """A second look infers nothing, not even for the shadow."""
    bench.shadow = TablePool(name="newer")
    bench.store.put(FOX, picture("red fox"))
    await look(bench)

    await look(bench)

    assert 1 == len(bench.shadow.asked)
