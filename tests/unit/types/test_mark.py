"""A mark as it stands on objects: what was written once is understood and believed by every later version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgtag.types.labels import Label
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.ref import ObjectRef
from imgtag.types.signature import Trust, sign, verify

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


WROTE = {"imgtag_red+fox": "0.59", "imgtag_dog": "0.10", "imgtag-raw": "277:5900"}
CURRENT = "2.qDwgOX8AfRwwKQxpZPKg0g"


def test_a_mark_is_written_as_it_always_was() -> None:
    """Other bytes would make every object that is labelled already a stranger's."""
    signed = replace(MARK, signature=sign(MARK, WROTE, [KEY]))

    assert CURRENT == signed.signature
    assert f"{WRITTEN};s={CURRENT}" == signed.encode()
    assert signed == Mark.decode(f"{WRITTEN};s={CURRENT}")
    assert Trust.ALL is verify(signed, LABELS, WROTE, [KEY])


def test_a_mark_of_the_first_format_is_understood() -> None:
    """As it stands on objects that earlier versions labelled."""
    mark = Mark.decode(f"{WRITTEN};s={SIGNATURE}")
    assert mark is not None
    assert Trust.LABELS is verify(mark, LABELS, WROTE, [KEY])


def test_what_goes_without_saying_is_not_written() -> None:
    """No ETag after the write where it is the same, no version where there is none, no signature without a key."""
    mark = replace(MARK, etag_after="e1", version=None, signature=sign(MARK, WROTE, []))

    assert "1;m=table@0123;r=r1;c=ungWv48Bz-pBQUDeXa4iIw;e=e1;o=-PtC0NjSWuvt;t=1700000000" == mark.encode()
    assert mark == Mark.decode(mark.encode())


def test_digests_are_as_they_always_were() -> None:
    """Of the content 128 bits, of its owner 72: site, bucket and key."""
    assert "ungWv48Bz-pBQUDeXa4iIw" == content_digest(b"abc")
    assert "-PtC0NjSWuvt" == owner_digest("home", ObjectRef("photos", "a/b.jpg"))


@pytest.mark.parametrize("signature", ["\udc80", SIGNATURE[:-1], "", "2."])
@pytest.mark.parametrize("model", [MARK.model, "\udc80"])
def test_a_forged_mark_is_not_genuine_whatever_is_in_it(signature: str, model: str) -> None:
    """Also where it holds what no text can be encoded with."""
    forged = replace(MARK, model=model, signature=signature)
    assert verify(forged, LABELS, WROTE, [KEY]) in {Trust.NONE, Trust.UNSIGNED}
    assert Trust.ALL is verify(replace(forged, signature=sign(forged, WROTE, [KEY])), LABELS, WROTE, [KEY])


@pytest.mark.parametrize("changed", [LABELS[:1], LABELS[::-1], (Label("red fox", 0.6), LABELS[1]), ()])
def test_other_labels_are_not_those_that_were_signed(changed: tuple[Label, ...]) -> None:
    """Taken away, reordered, or with another confidence, in the first format."""
    mark = replace(MARK, signature=SIGNATURE)
    assert Trust.NONE is verify(mark, changed, WROTE, [KEY])
