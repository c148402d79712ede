"""The entries that are made of what a model said."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.stages.classify import EntryBuilder, Vocabularies
from imgtag.types.facts import Facts
from imgtag.types.labels import Label, Raw
from imgtag.types.mark import Mark, encode_digest, owner_digest
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.types.vector import Vector
from imgtag.workers.answers import Inference

from .conftest import SITE, TablePool

FOX = ObjectRef("photos", "fox.jpg")
STATE = ObjectState(ref=FOX, etag="e1", size=1, modified=1_700_000_000.9, version="v1")
FACTS = Facts(width=3, height=2, taken=1_600_000_000, camera="X100", lat=1.0, lng=2.0)
RAW = Raw(((0, 0.9), (1, 0.05)))
INFERENCE = Inference(raw=RAW, facts=FACTS, digest=bytes(32), decode=0.1, infer=0.2, vec=bytes(range(128)))
MODEL = TablePool().info
RENAMED = LabelPolicy(rules=(LabelRule(labels=("red fox",), rename="Reynard"),))
AN_OLD_MARK = Mark(
    model="old@1", rules="r0", content="c0", etag="e0", etag_after="e00", owner="o0", at=1, version="v0", signature="s"
)


def mark_of(vocabulary, **fields):
    """What a mark made of `STATE` now says."""
    return replace(
        AN_OLD_MARK,
        rules=vocabulary.digest,
        etag="e1",
        etag_after="e1",
        owner=owner_digest(SITE, FOX),
        version="v1",
        at=int(time.time()),
        **fields,
    )


def test_entries_say_what_the_model_said_of_this_object() -> None:
    """Its labels by the policy, raw scores, facts with the object's own time, vector, and a mark of all that."""
    vocabulary = Vocabularies()(MODEL, RENAMED)
    before = mark_of(vocabulary, model=MODEL.id, content=encode_digest(bytes(32)), signature="")
    entries = EntryBuilder(site=SITE).build(STATE, INFERENCE, MODEL, vocabulary)

    assert entries.labels == (Label("reynard", 0.9),)
    assert entries.raw == RAW
    assert entries.facts == replace(FACTS, modified=1_700_000_000)
    assert entries.vec == Vector("svd1", bytes(range(128)))
    assert entries.mark is not None
    assert before.at <= entries.mark.at <= time.time()
    assert replace(entries.mark, at=before.at) == before


@pytest.mark.parametrize(
    ("model", "inference"),
    [(replace(MODEL, projection=""), INFERENCE), (MODEL, replace(INFERENCE, vec=None))],
    ids=["model without vectors", "picture without a direction"],
)
def test_without_a_vector_there_is_no_entry_for_it(model, inference) -> None:
    """Of the model, or of this picture."""
    vocabulary = Vocabularies()(model, LabelPolicy())

    assert EntryBuilder(site=SITE).build(STATE, inference, model, vocabulary).vec is None


@pytest.mark.parametrize(("gps", "exif"), [(True, True), (False, True), (True, False), (False, False)])
def test_position_and_exif_are_left_out_where_that_is_set(gps: bool, exif: bool) -> None:
    """On first labelling, and of entries that were written when it was not set yet."""
    builder, vocabulary = EntryBuilder(site=SITE, gps=gps, exif=exif), Vocabularies()(MODEL, LabelPolicy())
    whole = EntryBuilder(site=SITE).build(STATE, INFERENCE, MODEL, vocabulary)
    expected = whole.facts and whole.facts.without(gps=gps, exif=exif)

    assert builder.build(STATE, INFERENCE, MODEL, vocabulary).facts == expected
    assert builder.rebuild(STATE, whole, AN_OLD_MARK, RAW, vocabulary).facts == expected


def test_labels_are_made_again_of_kept_scores() -> None:
    """By the policy of now, with a mark of the object as it is now; model, content, facts and vector stay."""
    vocabulary = Vocabularies()(MODEL, RENAMED)
    old = replace(
        EntryBuilder(site=SITE).build(STATE, INFERENCE, MODEL, Vocabularies()(MODEL, LabelPolicy())), mark=AN_OLD_MARK
    )
    before = mark_of(vocabulary)
    entries = EntryBuilder(site=SITE).rebuild(STATE, old, AN_OLD_MARK, RAW, vocabulary)

    assert entries.mark is not None
    assert before.at <= entries.mark.at <= time.time()
    assert replace(entries, mark=None) == replace(old, labels=(Label("reynard", 0.9),), mark=None)
    assert replace(entries.mark, at=before.at) == before
    assert EntryBuilder(site=SITE).rebuild(STATE, replace(old, facts=None), AN_OLD_MARK, RAW, vocabulary).facts is None


def test_a_vocabulary_is_made_once_for_each_model_and_policy() -> None:
    """It is used for every picture."""
    vocabularies, other = Vocabularies(), replace(MODEL, name="other")

    assert vocabularies(MODEL, RENAMED) is vocabularies(MODEL, replace(RENAMED))
    assert vocabularies(MODEL, RENAMED) != vocabularies(MODEL, LabelPolicy())
    assert vocabularies(MODEL, RENAMED).model != vocabularies(other, RENAMED).model
