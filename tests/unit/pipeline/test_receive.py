"""What an event alone may settle: our own write, and one that was done already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgtag.stages.receive import OwnWrites, Recent
from imgtag.types.event import Hint, Intent
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState

SITE = "home"
FOX = ObjectRef("photos", "fox.jpg")
CODEC = MetadataCodec(keys=(b"key",))
MARK = Mark(model="m@1", rules="r", content="c", etag="before", etag_after="after", owner=owner_digest(SITE, FOX), at=1)


def written(codec: MetadataCodec = CODEC, mark: Mark = MARK) -> dict[str, str]:
    return dict(codec.pack(Entries(mark=mark), {}, limit=None).metadata)


OWN = Hint(ref=FOX, etag="after", sequencer="1", metadata=written())


def reports(hint: Hint, site: str = SITE) -> bool:
    """Whether the event reports the write that was just made."""
    writes = OwnWrites()
    writes.remember(ObjectState(ref=FOX, etag='"after"', size=1, modified=0.0, revision="1"))
    return writes.reports(hint, site, CODEC)


@pytest.mark.parametrize("etag", ["after", '"after"'])
def test_the_event_of_our_own_write_is_recognised(etag: str) -> None:
    """By its mark and by the ETag that the write gave, quoted or not."""
    assert reports(replace(OWN, etag=etag))
    assert not OwnWrites().reports(OWN, SITE, CODEC), "nothing was written by this process"


@pytest.mark.parametrize(
    "hint",
    [
        replace(OWN, etag="before"),
        replace(OWN, etag="other"),
        replace(OWN, etag=None),
        replace(OWN, metadata=None),
        replace(OWN, metadata={}),
        replace(OWN, ref=ObjectRef("photos", "copy.jpg")),
        replace(OWN, ref=ObjectRef("backup", "fox.jpg")),
        replace(OWN, removed=True),
        replace(OWN, intent=Intent.RETRY),
        replace(OWN, intent=Intent.STALE),
        replace(OWN, metadata=written(MetadataCodec(keys=(b"another",)))),
        replace(OWN, metadata={**written(), "imgtag_dog": "0.90"}),
    ],
)
def test_any_other_event_is_looked_at(hint: Hint) -> None:
    """New content, a copy, a deletion, a request, and what somebody else wrote."""
    assert not reports(hint)


def test_another_sites_write_is_not_ours() -> None:
    """Two sites may share a store."""
    assert not reports(OWN, "elsewhere")


def test_the_memory_of_writes_is_bounded() -> None:
    """The oldest write is forgotten first; it is then looked at like any other."""
    writes = OwnWrites(max_keys=2)
    states = [ObjectState(ref=ObjectRef("b", name), etag="e", size=1, modified=0.0, revision="1") for name in "abc"]
    for state in states:
        writes.remember(state)

    assert [False, True, True] == [writes.is_unchanged(state) for state in states]
    assert not writes.is_unchanged(replace(states[2], revision="2"))
    assert not writes.is_unchanged(replace(states[2], etag="f"))


EVENT = Hint(ref=FOX, etag="e", sequencer="1", version="v")


def test_a_doubled_event_is_known_as_often_as_it_comes() -> None:
    """Once it was done."""
    recent = Recent()
    assert not recent.knows(EVENT)
    recent.remember(EVENT)

    assert [True, True] == [recent.knows(EVENT), recent.knows(replace(EVENT, metadata={"a": "b"}))]


@pytest.mark.parametrize("change", [{"etag": "f"}, {"sequencer": "2"}, {"version": "w"}, {"removed": True}])
def test_any_other_event_of_a_key_clears_it(change: dict[str, object]) -> None:
    """What was done no longer holds."""
    recent = Recent()
    recent.remember(EVENT)

    assert not recent.knows(replace(EVENT, **change))
    assert not recent.knows(EVENT)


@pytest.mark.parametrize(
    "change",
    [{"etag": None}, {"sequencer": None}, {"removed": True}, {"intent": Intent.RETRY}, {"intent": Intent.STALE}],
)
def test_what_cannot_be_told_apart_or_is_asked_for_is_not_remembered(change: dict[str, object]) -> None:
    """It is done each time that it comes."""
    recent, hint = Recent(), replace(EVENT, **change)
    recent.remember(hint)

    assert not recent.knows(hint)


def test_only_the_latest_keys_are_remembered() -> None:
    """Memory is bounded; a key that is done again counts as new."""
    recent = Recent(2)
    first, second, third = (replace(EVENT, ref=ObjectRef("photos", f"{number}.jpg")) for number in range(3))
    for hint in (first, second, first, third):
        recent.remember(hint)

    assert [True, False, True] == [recent.knows(hint) for hint in (first, second, third)]


def test_ten_thousand_keys_are_remembered() -> None:
    """So many that a second lane may lag behind the first."""
    recent = Recent()
    hints = [replace(EVENT, ref=ObjectRef("photos", f"{number}.jpg")) for number in range(10_001)]
    for hint in hints:
        recent.remember(hint)

    assert [False, True] == [recent.knows(hint) for hint in hints[:2]]
