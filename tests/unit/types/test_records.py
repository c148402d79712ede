"""Packed records: facts and marks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.types.facts import EARLIEST, LATEST, Facts, position
from imgtag.types.labels import Label
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.packed import pack, unpack
from imgtag.types.ref import ObjectRef

from . import strategies as some

KEY = b"0123456789abcdef"
MARK = Mark(
    model="lite0@5f2c9a1b",
    rules="a1b2c3d4",
    content=content_digest(b"picture"),
    etag='"9b2cf535f27731c974343645a3985328"',
    etag_after='"9b2cf535f27731c974343645a3985328-2"',
    owner=owner_digest("local", ObjectRef("photos", "fox.jpg")),
    at=1719846003,
    version="3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY",
)
LABELS = (Label("kit fox", 0.61), Label("red fox", 0.27))
HOSTILE = ["", ";=;", "1;=;", "1;;", "2;m=1", "1", "1;m", "1;m=%", "1;m=%zz", "1;t=" + "9" * 5000, "1;t=nan", "\ud800"]


@given(st.dictionaries(st.text("abc", min_size=1), some.texts.filter(bool)))
def test_a_record_comes_back_and_is_printable_ascii(record: dict[str, str]) -> None:
    text = pack(record)
    assert unpack(text) == record
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_records_are_read_without_an_error(text: str) -> None:
    unpack(text)
    Facts.decode(text)
    mark = Mark.decode(text)
    assert mark is None


@given(st.text())
def test_any_text_is_a_record_or_none(text: str) -> None:
    Facts.decode(f"1;{text}")
    Mark.decode(f"1;{text}")
    unpack(text)


@given(some.facts)
def test_facts_come_back(facts: Facts) -> None:
    assert Facts.decode(facts.encode()) == facts


@given(some.texts | st.floats().map(repr), some.texts | st.floats().map(repr) | st.integers().map(str))
def test_hostile_facts_are_left_out(first: str, second: str) -> None:
    facts = Facts.decode(pack({"w": first, "t": second, "g": f"{first},{second}", "m": second}))
    assert facts is not None
    assert facts.width is None or 0 <= facts.width <= 2**31
    assert facts.taken is None or EARLIEST <= facts.taken <= LATEST
    assert facts.lat is None or position(facts.lat, facts.lng or 0) != (None, None)


@pytest.mark.parametrize("value", ["9" * 400, "-1", "1e5", "1.5", "nan", "0x10", "²", " 5"])
def test_a_number_that_is_none_is_left_out(value: str) -> None:
    assert Facts.decode(pack({"w": value, "h": "300"})) == Facts(height=300)


@pytest.mark.parametrize("value", ["91,0", "0,181", "nan,0", "0,inf", "1e400,0", "5", "1,2,3", ",", "a,b"])
def test_a_place_that_is_not_on_earth_is_left_out(value: str) -> None:
    assert Facts.decode(pack({"g": value, "w": "5"})) == Facts(width=5)


def test_a_clock_that_is_wrong_is_brought_into_range() -> None:
    for modified, kept in ((-5, 0), (10**20, LATEST)):
        assert Facts.decode(Facts(modified=modified).encode()) == Facts(modified=kept)


def test_position_and_exif_can_be_switched_off() -> None:
    facts = Facts(width=1, taken=5, camera="X", lat=1.0, lng=2.0, modified=7)
    assert facts.without(gps=False, exif=True) == Facts(width=1, taken=5, camera="X", modified=7)
    assert facts.without(gps=True, exif=False) == Facts(width=1, modified=7)
    assert facts.without(gps=True, exif=True) == facts


@given(some.marks)
def test_a_mark_comes_back(mark: Mark) -> None:
    assert Mark.decode(mark.encode()) == mark


def test_owner_and_content_have_digests_of_their_own() -> None:
    ref = ObjectRef("a", "b/c")
    assert owner_digest("s", ref) != owner_digest("s", ObjectRef("a/b", "c"))
    assert owner_digest("s", ref) != owner_digest("t", ref)
    assert content_digest(b"1") != content_digest(b"2")
    assert len(content_digest(b"")) == 22
