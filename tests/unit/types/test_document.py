"""The document of an object."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import Undecodable, WriteRefused
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.labels.vocabulary import build_vocabulary
from imgtag.stages.document import DocumentOptions, build_document
from imgtag.types.document import Document, Problem, document_id
from imgtag.types.facts import EARLIEST, Facts
from imgtag.types.labels import Label
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState

from . import strategies as some
from .test_metadata import A_MARK, TYPICAL

FIELDS = [
    "id",
    "site",
    "bucket",
    "key",
    "title",
    "location",
    "prefixes",
    "words",
    "type",
    "size",
    "etag",
    "modified",
    "status",
    "code",
    "reason",
    "width",
    "height",
    "taken",
    "when",
    "when_day",
    "when_month",
    "camera",
    "_geo",
    "meta",
    "labels",
    "terms",
    "scores",
    "top_label",
    "top_confidence",
    "model",
    "rules",
    "labelled",
    "space",
    "_vectors",
]
STATE = ObjectState(
    ref=ObjectRef("wildlife", "2024/Zoo/kit fox 01.jpg"),
    etag='"9b2cf535f27731c974343645a3985328"',
    size=4812377,
    modified=1719850000.7,
    content_type="Image/JPEG; charset=x",
)
OPTIONS = DocumentOptions(metadata=("license", "absent"))


def build(entries: Entries = TYPICAL, state: ObjectState = STATE, **more: object) -> Document:
    return build_document("edge-7", state, entries, {"license": "2", "secret": "x"}, OPTIONS, **more)  # type: ignore[arg-type]


def test_a_whole_document() -> None:
    entries = replace(TYPICAL, labels=TYPICAL.labels[:2])
    assert build(entries) == {
        "id": "e273bb5f48e3b4dfc9dc2a3cec845968abd48eeb58af00b6d5d8a09cd4143738",
        "site": "edge-7",
        "bucket": "wildlife",
        "key": "2024/Zoo/kit fox 01.jpg",
        "title": "kit fox 01",
        "location": "s3://wildlife/2024/Zoo/kit fox 01.jpg",
        "prefixes": ["2024/", "2024/Zoo/"],
        "words": ["01", "2024", "fox", "kit", "zoo"],
        "type": "image/jpeg",
        "size": 4812377,
        "etag": '"9b2cf535f27731c974343645a3985328"',
        "modified": 1719846000,
        "status": "labelled",
        "width": 6000,
        "height": 4000,
        "taken": 1719842400,
        "when": 1719842400,
        "when_day": "2024-07-01",
        "when_month": "2024-07",
        "camera": "Canon EOS R5",
        "_geo": {"lat": 46.55123, "lng": 7.95012},
        "meta": {"license": "2"},
        "labels": ["kit fox", "red fox"],
        "terms": ["fox", "kit", "kit fox", "red", "red fox"],
        "scores": {"kit fox": 0.61, "red fox": 0.27},
        "top_label": "kit fox",
        "top_confidence": 0.61,
        "model": "efficientnet-lite0@5f2c9a1b",
        "rules": "a1b2c3d4",
        "labelled": 1719846003,
        "space": "efficientnet-lite0@5f2c9a1b-svd1",
        "_vectors": {"img": list(range(128))},
    }


def test_fields_stand_in_one_order_and_absent_ones_are_left_out() -> None:
    documents = [build(), build(Entries()), build(Entries(), problem=Problem(code="c", reason="r", status="failed"))]
    for document in documents:
        assert list(document) == [name for name in FIELDS if name in document]
        assert None not in document.values()
        assert ("space" in document) == (document["_vectors"]["img"] is not None)
        assert {"id", "labels", "status", "when", "when_day", "when_month"} <= document.keys()


@given(some.entries, st.floats(-1e12, 1e12), st.booleans(), st.booleans())
def test_decoded_entries_give_the_bytes_that_fresh_ones_gave(
    entries: Entries, modified: float, gps: bool, exif: bool
) -> None:
    codec = MetadataCodec(keys=(b"key",))
    facts = replace(entries.facts, modified=int(modified)) if entries.facts else None
    packed = codec.pack(replace(entries, facts=facts), {"license": "2"}, limit=2048, overhead=0)
    unpacked, user = codec.split(packed.metadata)
    options = DocumentOptions(metadata=("license",), gps=gps, exif=exif)
    state = replace(STATE, modified=modified)

    fresh = build_document("s", state, packed.entries, {"license": "2"}, options)
    later = build_document("s", replace(state, metadata=packed.metadata), unpacked, user, options)

    assert json.dumps(later) == json.dumps(fresh)


def test_when_is_the_cameras_time_else_the_first_last_modified() -> None:
    facts = Facts(taken=86_400, modified=200_000)
    assert build(Entries(facts=facts))["when"] == 86_400
    assert build(Entries(facts=replace(facts, taken=None)))["when"] == 200_000
    assert build(Entries())["when"] == 1719850000
    without = build_document("s", STATE, Entries(facts=facts), {}, DocumentOptions(exif=False))
    assert (without["when"], "taken" in without) == (200_000, False)


@pytest.mark.parametrize(
    ("taken", "day"),
    [(-460296000, "1955-06-01"), (-1, "1969-12-31"), (EARLIEST, "0001-01-01"), (-(10**15), "0001-01-01")],
)
def test_an_old_photograph_has_its_own_date(taken: int, day: str) -> None:
    document = build(Entries(facts=Facts(taken=taken)))
    assert (day, day[:7]) == (document["when_day"], document["when_month"])
    assert max(taken, EARLIEST) == document["when"]


@pytest.mark.parametrize("modified", [-1e30, -1.0, 1e30, math.inf, -math.inf, math.nan, 253_402_300_800.0])
def test_a_store_with_a_wrong_clock_gives_a_document_all_the_same(modified: float) -> None:
    document = build(Entries(), replace(STATE, modified=modified))
    assert 0 <= document["modified"] == document["when"] <= 253_402_300_799
    assert len(document["when_day"]) == 10


@pytest.mark.parametrize("modified", [-1.0, 0.0, 0.9, math.nan, -math.inf])
def test_no_object_is_older_than_1970(modified: float) -> None:
    assert build(Entries(), replace(STATE, modified=modified))["modified"] == 0


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("image/png", "image/png"), (" Image/PNG ; a=b; c=d", "image/png"), ("", None), ("; a=b", None)],
)
def test_the_type_is_without_its_parameters(content_type: str, expected: str | None) -> None:
    assert build(TYPICAL, replace(STATE, content_type=content_type)).get("type") == expected


def test_the_revision_of_the_store_is_in_the_document() -> None:
    """By which a later look sees that nobody has written since."""
    assert build(TYPICAL, replace(STATE, revision="r7"))["revision"] == "r7"


WORDS = Taxonomy(
    classes=(ClassTerms(category="animal", ancestors=("fox", "animal"), synonyms=("vulpes",)),),
    ancestors=(AncestorTerms(name="animal"), AncestorTerms(name="fox")),
)


@pytest.mark.parametrize(("model", "is_known"), [("m@1", True), ("m@2", False), (None, False)])
def test_what_a_model_knows_of_a_label_is_said_of_its_own_labels_alone(model: str | None, is_known: bool) -> None:
    """Ancestors with their sums, category and synonyms; another model may mean something else by the same name."""
    vocabulary = build_vocabulary("m@1", ("kit fox", "lamp"), ("kit fox", "lamp"), WORDS, LabelPolicy())
    mark = replace(A_MARK, model=model) if model else None
    entries = Entries(labels=(Label("kit fox", 0.6149),), mark=mark)
    document = build(entries, vocabulary=vocabulary)

    assert document["labels"] == ["kit fox"]
    assert document.get("ancestors") == (["fox", "animal"] if is_known else None)
    assert document.get("category") == ("animal" if is_known else None)
    assert ("vulpes" in document["terms"]) == is_known
    assert document["scores"] == dict.fromkeys(["animal", "fox", "kit fox"] if is_known else ["kit fox"], 0.61)


@pytest.mark.parametrize(
    ("lat", "lng"), [(math.nan, 0.0), (0.0, math.inf), (91.0, 0.0), (0.0, 181.0), (5.0, None), (None, 5.0)]
)
def test_a_place_that_is_not_on_earth_is_none(lat: float | None, lng: float | None) -> None:
    document = build(Entries(facts=Facts(lat=lat, lng=lng)))
    assert "_geo" not in document
    json.dumps(document, allow_nan=False)


def test_position_and_exif_can_be_switched_off() -> None:
    document = build_document("s", STATE, TYPICAL, {}, DocumentOptions(gps=False))
    assert "_geo" not in document
    assert document["camera"] == "Canon EOS R5"
    assert not {"_geo", "camera", "taken"} & build_document("s", STATE, TYPICAL, {}, DocumentOptions(exif=False)).keys()


def test_nothing_above_the_threshold_is_a_result() -> None:
    document = build(replace(TYPICAL, labels=()))
    assert document["status"] == "unlabelled"
    assert document["labels"] == []
    assert document["scores"] == {}
    assert not {"top_label", "top_confidence", "code", "reason"} & document.keys()


def test_a_problem_says_code_and_reason() -> None:
    failed = build(Entries(), problem=Problem.of(Undecodable("the JPEG is cut off", code="truncated"), "failed"))
    assert (failed["status"], failed["code"], failed["reason"]) == ("failed", "truncated", "the JPEG is cut off")
    locked = build(TYPICAL, problem=Problem.of(WriteRefused("locked", code="retention")))
    assert (locked["status"], locked["code"]) == ("labelled", "retention")


@pytest.mark.parametrize(
    "key", ["a", "/", "..", "a/", "//a", ".hidden", "a.b.c.jpg", "ключ/狐 🦊.png", "a\0b", "x" * 1024]
)
def test_any_key_has_a_document(key: str) -> None:
    document = build(TYPICAL, replace(STATE, ref=ObjectRef("b", key)))
    assert document["key"] == key
    assert all(key.startswith(prefix) and prefix.endswith("/") for prefix in document["prefixes"])
    json.dumps(document)


def test_ids_tell_sites_buckets_and_keys_apart() -> None:
    refs = [("s", ObjectRef("a", "b/c")), ("s", ObjectRef("a/b", "c")), ("t", ObjectRef("a", "b/c"))]
    assert len({document_id(*ref) for ref in refs}) == 3


def test_labels_of_words_are_found_by_each_of_them() -> None:
    document = build(Entries(labels=(Label("café au lait", 0.5),)))
    assert document["terms"] == ["au", "cafe", "cafe au lait", "lait"]


def test_a_picture_from_before_1970_has_its_day() -> None:
    """Its seconds are negative in `taken` and in `when`; they survive the record on the object."""
    facts = Facts.decode(Facts(taken=-460296000).encode())
    document = build(replace(TYPICAL, facts=facts))
    assert (document["taken"], document["when"]) == (-460296000, -460296000)
    assert (document["when_day"], document["when_month"]) == ("1955-06-01", "1955-06")
    early = build(replace(TYPICAL, facts=Facts(taken=EARLIEST)))
    assert early["when_day"] == "0001-01-01"
