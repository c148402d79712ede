"""A mark as it stands on objects: what was written once is understood and believed by every later version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgtag.types.labels import Label
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.ref import ObjectRef

KEY = b"key"
LABELS = (Label("red fox", 0.59), Label("dog", 0.1))
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
SIGNATURE = "uMm_gkOgBim3jDs-kWtzRw"


def test_a_mark_is_written_as_it_always_was() -> None:
    """Other bytes would make every object that is labelled already a stranger's."""
    signed = MARK.signed(LABELS, KEY)

    assert SIGNATURE == signed.signature
    assert f"{WRITTEN};s={SIGNATURE}" == signed.encode()
    assert signed == Mark.decode(f"{WRITTEN};s={SIGNATURE}")
    assert signed.genuine(LABELS, KEY)


def test_what_goes_without_saying_is_not_written() -> None:
    """No ETag after the write where it is the same, no version where there is none, no signature without a key."""
    mark = replace(MARK, etag_after="e1", version=None).signed(LABELS, None)

    assert "1;m=table@0123;r=r1;c=ungWv48Bz-pBQUDeXa4iIw;e=e1;o=-PtC0NjSWuvt;t=1700000000" == mark.encode()
    assert mark == Mark.decode(mark.encode())


def test_digests_are_as_they_always_were() -> None:
    """Of the content 128 bits, of its owner 72: site, bucket and key."""
    assert "ungWv48Bz-pBQUDeXa4iIw" == content_digest(b"abc")
    assert "-PtC0NjSWuvt" == owner_digest("home", ObjectRef("photos", "a/b.jpg"))


@pytest.mark.parametrize(
    "mark",
    [replace(MARK, signature="\udc80"), replace(MARK, model="\udc80"), replace(MARK, signature=SIGNATURE[:-1])],
    ids=["signature", "model", "shorter"],
)
def test_a_forged_mark_is_not_genuine_whatever_is_in_it(mark: Mark) -> None:
    """Also where it holds what no text can be encoded with."""
    assert not mark.genuine(LABELS, KEY)
    assert mark.signed(LABELS, KEY).genuine(LABELS, KEY)


@pytest.mark.parametrize("changed", [LABELS[:1], LABELS[::-1], (Label("red fox", 0.6), LABELS[1]), ()])
def test_other_labels_are_not_those_that_were_signed(changed: tuple[Label, ...]) -> None:
    """Taken away, reordered, or with another confidence."""
    assert not MARK.signed(LABELS, KEY).genuine(changed, KEY)
