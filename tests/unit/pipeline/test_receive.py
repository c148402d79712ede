"""What an event alone may settle: that it reports a write of ours, or was processed already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgtag.stages.receive import CONFIRMATION_WAIT, OwnWrites, Recent
from imgtag.types.event import Hint, Intent
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState

SITE = "home"
FOX = ObjectRef("photos", "fox.jpg")
CODEC = MetadataCodec(keys=(b"key",))
MARK = Mark(model="m@1", rules="r", content="c", etag="before", etag_after="after", owner=owner_digest(SITE, FOX), at=1)


def written(codec: MetadataCodec = CODEC) -> dict[str, str]:
    return dict(codec.pack(Entries(mark=MARK), {}, limit=None).metadata)


STATE = ObjectState(ref=FOX, etag="after", size=1, modified=0.0, revision="r1", version="v1", metadata=written())
OWN = Hint(ref=FOX, etag="after", sequencer="1", version="v1", metadata=written())


@pytest.fixture
def writes() -> OwnWrites:
    """With one write of ours."""
    writes = OwnWrites()
    writes.remember(STATE)
    return writes


@pytest.mark.parametrize("etag", ["after", '"after"'])
@pytest.mark.parametrize("version", ["v1", None])
def test_the_event_of_our_own_write_is_recognised_as_often_as_it_comes(
    writes: OwnWrites, etag: str, version: str | None
) -> None:
    """ETags may be quoted on either side; some stores do not name the version."""
    event = replace(OWN, etag=etag, version=version)

    assert [True, True] == [writes.reports(event, SITE, CODEC) for _ in range(2)]
    writes.remember(replace(STATE, etag='"after"'))
    assert writes.reports(event, SITE, CODEC)


@pytest.mark.parametrize(
    "hint",
    [
        replace(OWN, etag="before"),
        replace(OWN, etag=None),
        replace(OWN, version="v2"),
        replace(OWN, sequencer=None),
        replace(OWN, metadata=None),
        replace(OWN, metadata={}),
        replace(OWN, ref=ObjectRef("photos", "copy.jpg")),
        replace(OWN, ref=ObjectRef("backup", "fox.jpg")),
        replace(OWN, removed=True),
        replace(OWN, intent=Intent.RETRY),
        replace(OWN, intent=Intent.STALE),
        replace(OWN, metadata=written(MetadataCodec(keys=(b"another",)))),
        replace(OWN, metadata=written(MetadataCodec())),
        replace(OWN, metadata={**written(), "imgtag_dog": "0.90"}),
    ],
)
def test_any_other_event_is_looked_at(writes: OwnWrites, hint: Hint) -> None:
    """New content, a copy, a deletion, a request, and what somebody else wrote."""
    assert not writes.reports(hint, SITE, CODEC)
    assert writes.reports(OWN, SITE, CODEC)


def test_one_write_has_one_event(writes: OwnWrites) -> None:
    """A second event with the same ETag is somebody else's, who wrote the same bytes."""
    assert writes.reports(OWN, SITE, CODEC)
    assert not writes.reports(replace(OWN, sequencer="2"), SITE, CODEC)
    writes.remember(STATE)
    assert writes.reports(replace(OWN, sequencer="2"), SITE, CODEC)


def test_only_quotes_are_not_part_of_an_etag(writes: OwnWrites) -> None:
    """Whatever else it begins and ends with is."""
    for etag in ("XaX", " a "):
        writes.remember(replace(STATE, etag=etag))
        assert writes.reports(replace(OWN, etag=f'"{etag}"'), SITE, CODEC)
        assert not writes.reports(replace(OWN, etag="a"), SITE, CODEC)


def test_what_this_process_did_not_write_is_not_its_own() -> None:
    """However genuine its mark."""
    assert not OwnWrites().reports(OWN, SITE, CODEC)


def test_the_mark_of_another_site_or_key_and_of_a_site_without_a_key_is_not_enough(writes: OwnWrites) -> None:
    """Two sites may share a store; without a key anybody can write a mark."""
    other = ObjectRef("photos", "copy.jpg")
    writes.remember(replace(STATE, ref=other))

    assert not writes.reports(OWN, "elsewhere", CODEC)
    assert not writes.reports(replace(OWN, ref=other), SITE, CODEC)
    assert not writes.reports(OWN, SITE, MetadataCodec())


@pytest.mark.parametrize("change", [{"etag": "other"}, {"revision": "r2"}, {"revision": None}])
def test_an_object_is_unchanged_while_it_is_as_it_was_after_our_write(
    writes: OwnWrites, change: dict[str, object]
) -> None:
    """By its ETag and its revision."""
    assert writes.is_unchanged(STATE, Hint(ref=FOX))
    assert not writes.is_unchanged(replace(STATE, **change), Hint(ref=FOX))
    assert not writes.is_unchanged(replace(STATE, ref=ObjectRef("photos", "other.jpg")), Hint(ref=FOX))


@pytest.mark.parametrize(
    ("hint", "own", "unchanged"),
    [
        (replace(OWN, request="ours"), True, True),
        (replace(OWN, request="theirs"), False, False),
        (replace(OWN, request="theirs", metadata=None), False, False),
        (replace(OWN, request="upload", metadata={}), False, True),
        (replace(OWN, request=None), True, True),
    ],
    ids=["ours", "another", "another-without-metadata", "the-upload", "a-store-without-ids"],
)
def test_a_write_is_known_by_its_request(hint: Hint, own: bool, unchanged: bool) -> None:
    """Another write may look the same in every header: same MD5, same copied mark, same second."""
    writes = OwnWrites()
    writes.remember(replace(STATE, request="ours"))

    assert own == writes.reports(hint, SITE, CODEC)
    assert unchanged == writes.is_unchanged(STATE, hint)


def test_only_the_latest_writes_are_remembered() -> None:
    """Memory is bounded; an object that is written again counts as new."""
    writes = OwnWrites(2)
    first, second, third = (replace(STATE, ref=ObjectRef("photos", f"{number}.jpg")) for number in range(3))
    for state in (first, second, first, third):
        writes.remember(state)

    assert [True, False, True] == [writes.is_unchanged(state, OWN) for state in (first, second, third)]


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


def test_a_write_is_confirmed_by_its_event_or_looked_at() -> None:
    """Where only its response told of it: by its event, by a look, or it is named once for a look."""
    now = [0.0]
    writes = OwnWrites(clock=lambda: now[0])
    keys = ("event", "look", "neither", "seen")
    states = {key: replace(STATE, ref=ObjectRef("photos", key), is_assumed=key != "seen") for key in keys}
    for state in states.values():
        writes.remember(state)
    mark = replace(MARK, owner=owner_digest(SITE, states["event"].ref))
    metadata = dict(CODEC.pack(Entries(mark=mark), {}, limit=None).metadata)
    assert writes.reports(replace(OWN, ref=states["event"].ref, metadata=metadata), SITE, CODEC)
    assert writes.is_unchanged(states["look"], Hint(ref=states["look"].ref))
    taken = []
    for now[0] in (CONFIRMATION_WAIT - 0.1, CONFIRMATION_WAIT, CONFIRMATION_WAIT + 1):
        taken.append(writes.take_unconfirmed())

    assert taken == [[], [states["neither"].ref], []]


@pytest.mark.parametrize(
    ("changes", "own"),
    [({}, True), ({"imgtag_dog": "0.99"}, False), ({"note": "a user's"}, True)],
    ids=["as-sent", "another-label", "a-user's"],
)
def test_what_the_event_shows_is_what_was_sent_or_is_verified(changes: dict[str, str], own: bool) -> None:
    """Also where only the response told of the write: a store that kept something else confirms nothing."""
    writes = OwnWrites()
    writes.remember(replace(STATE, is_assumed=True))

    assert own == writes.reports(replace(OWN, metadata={**written(), **changes}), SITE, CODEC)


def test_so_many_writes_are_looked_at_in_one_go() -> None:
    """The oldest first; what is forgotten is not looked at, so memory is bounded."""
    now = [0.0]
    writes = OwnWrites(max_keys=5, clock=lambda: now[0])
    refs = [ObjectRef("photos", f"{number}") for number in range(8)]
    for ref in refs:
        writes.remember(replace(STATE, ref=ref, is_assumed=True))
    now[0] = CONFIRMATION_WAIT

    assert [writes.take_unconfirmed(2) for _ in range(4)] == [refs[3:5], refs[5:7], refs[7:], []]
