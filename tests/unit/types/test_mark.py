"""A mark as it stands on objects: what was written once is understood and believed by every later version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgtag.types.facts import LATEST
from imgtag.types.labels import Label
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.ref import ObjectRef
from imgtag.types.signature import Trust, sign, verify

KEY, OTHER_KEY = b"key", b"another"
LABELS = (Label("red fox", 0.59), Label("dog", 0.1))
ENTRIES = {"imgtag_red+fox": "0.59", "imgtag_dog": "0.10", "imgtag-raw": "1;0=0.59"}
MARK = Mark(
    model="table@0123",
    rules="r1",
    content="ungWv48Bz-pBQUDeXa4iIw",
    etag="e1",
    etag_after="e2",
    owner="-PtC0NjSWuvt",
    at=1_700_000_000,
    version="v1",
)
WRITTEN = "1;m=table@0123;r=r1;c=ungWv48Bz-pBQUDeXa4iIw;e=e1;x=e2;o=-PtC0NjSWuvt;t=1700000000;v=v1"
SIGNATURE = "2.Mj482CJnZKp323_COUqcVw"
OLD_SIGNATURE = "uMm_gkOgBim3jDs-kWtzRw"
"""Of the first format, over mark and labels alone."""


def test_a_mark_is_written_as_it_always_was() -> None:
    """Other bytes would make every object that is labelled already a stranger's."""
    signed = replace(MARK, signature=sign(MARK, ENTRIES, [KEY, OTHER_KEY]))

    assert SIGNATURE == signed.signature
    assert f"{WRITTEN};s={SIGNATURE}" == signed.encode()
    assert signed == Mark.decode(f"{WRITTEN};s={SIGNATURE}")


def test_what_goes_without_saying_is_not_written() -> None:
    """No ETag after the write where it is the same, no version where there is none, no signature without a key."""
    mark = replace(MARK, etag_after="e1", version=None, signature=sign(MARK, ENTRIES, []))

    assert "1;m=table@0123;r=r1;c=ungWv48Bz-pBQUDeXa4iIw;e=e1;o=-PtC0NjSWuvt;t=1700000000" == mark.encode()
    assert mark == Mark.decode(mark.encode())


@pytest.mark.parametrize("field", ["m=table@0123", "r=r1", "c=ungWv48Bz-pBQUDeXa4iIw", "e=e1", "o=-PtC0NjSWuvt"])
def test_a_mark_without_one_of_its_parts_is_none(field: str) -> None:
    """Absent or empty: the sidecar never writes either."""
    assert Mark.decode(WRITTEN)
    assert Mark.decode(WRITTEN.replace(f";{field}", "")) is None
    assert Mark.decode(WRITTEN.replace(field, field[:2])) is None


def test_digests_are_as_they_always_were() -> None:
    """Of the content 128 bits, of its owner 72: site, bucket and key."""
    assert "ungWv48Bz-pBQUDeXa4iIw" == content_digest(b"abc")
    assert "-PtC0NjSWuvt" == owner_digest("home", ObjectRef("photos", "a/b.jpg"))
    assert "a2lVa-XE00pX" == owner_digest("home", ObjectRef("photos", "65.jpg"))


def test_the_last_second_that_a_mark_can_name() -> None:
    """The end of the year 9999."""
    latest = replace(MARK, at=LATEST)

    assert latest == Mark.decode(latest.encode())
    assert Mark.decode(replace(MARK, at=LATEST + 1).encode()) is None


@pytest.mark.parametrize("keys", [[KEY], [OTHER_KEY, KEY]])
def test_marks_of_either_format_are_recognised(keys: list[bytes]) -> None:
    """By any of the keys; one of the first format says nothing of raw scores, facts and vector."""
    assert Trust.ALL is verify(replace(MARK, signature=SIGNATURE), LABELS, ENTRIES, keys)
    assert Trust.LABELS is verify(replace(MARK, signature=OLD_SIGNATURE), LABELS, ENTRIES, keys)


@pytest.mark.parametrize("signature", [SIGNATURE, OLD_SIGNATURE])
@pytest.mark.parametrize(
    "changed",
    [{"signature": "\udc80"}, {"signature": "2.\udc80"}, {"model": "\udc80"}, {"etag_after": "e3"}, {"at": 1}],
)
def test_a_changed_mark_is_not_believed_whatever_is_in_it(signature: str, changed: dict[str, object]) -> None:
    """Also where it holds what no text can be encoded with."""
    mark = replace(replace(MARK, signature=signature), **changed)

    assert Trust.NONE is verify(mark, LABELS, ENTRIES, [KEY])


def test_another_key_or_none_at_all() -> None:
    """Without a key every mark is believed; with one, none that it did not sign."""
    signed = replace(MARK, signature=SIGNATURE)

    assert Trust.NONE is verify(signed, LABELS, ENTRIES, [OTHER_KEY])
    assert Trust.UNSIGNED is verify(MARK, LABELS, ENTRIES, [KEY])
    assert Trust.ALL is verify(MARK, LABELS, ENTRIES, [])
    assert Trust.NONE is verify(None, LABELS, ENTRIES, [])


@pytest.mark.parametrize(
    "labels", [LABELS[:1], LABELS[::-1], (Label("red fox", 0.6), LABELS[1]), (), (LABELS[0], Label("\udc80", 0.1))]
)
def test_other_labels_are_not_those_that_were_signed(labels: tuple[Label, ...]) -> None:
    """In the first format: taken away, reordered, with another confidence, or with a name that is not UTF-8."""
    assert Trust.NONE is verify(replace(MARK, signature=OLD_SIGNATURE), labels, ENTRIES, [KEY])


@pytest.mark.parametrize(
    "entries",
    [
        {**ENTRIES, "imgtag_dog": "0.11"},
        {**ENTRIES, "imgtag_cat": "0.10"},
        {name: value for name, value in ENTRIES.items() if name != "imgtag-raw"},
        {**ENTRIES, "imgtag-raw": "\udc80"},
        {},
    ],
)
def test_other_entries_are_not_those_that_were_signed(entries: dict[str, str]) -> None:
    """Changed, added, taken away, or not UTF-8."""
    assert Trust.NONE is verify(replace(MARK, signature=SIGNATURE), LABELS, entries, [KEY])
