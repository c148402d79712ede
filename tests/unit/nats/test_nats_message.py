"""Our own messages come back as they were."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import EventError
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope
from imgtag_nats import letters
from imgtag_nats.message import decode, encode

TEXTS = st.text(max_size=50)
REFS = st.builds(ObjectRef, TEXTS, TEXTS)
HINTS = st.builds(
    Hint,
    ref=REFS,
    intent=st.sampled_from(Intent),
    removed=st.booleans(),
    version=st.none() | TEXTS,
    sequencer=st.none() | TEXTS,
    etag=st.none() | TEXTS,
    metadata=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    at=st.none() | st.floats(0, 4e9),
    parked=st.booleans(),
)


@given(HINTS | st.builds(Scope, TEXTS, TEXTS))
def test_there_and_back(said):
    """A hint or a resync is read as it was written."""
    assert said == decode(encode(said))


def test_any_mapping():
    """Metadata may be any mapping."""
    hint = Hint(ref=ObjectRef("b", "k"), metadata=MappingProxyType({"a": "b"}))

    assert decode(encode(hint)).metadata == {"a": "b"}


def test_newer_fields():
    """What a newer sidecar adds is passed over."""
    said = decode(b'{"hint": {"ref": {"bucket": "b", "key": "k", "new": 1}, "intent": "normal", "new": 2}, "new": 3}')

    assert said == Hint(ref=ObjectRef("b", "k"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b"\xff",
        b'{"hint": 1}',
        b'{"hint": {"ref": {"bucket": 1, "key": "k"}, "intent": "normal"}}',
        b'{"hint": {"ref": {"bucket": "b", "key": "k"}, "intent": "new"}}',
        b'{"hint": {"ref": {"bucket": "b", "key": "k"}, "intent": "normal", "metadata": {"a": 1}}}',
        b'{"resync": {"bucket": "b"}}',
        b"[" * 100_000,
    ],
)
def test_hostile(data):
    """What no sidecar has written is refused."""
    with pytest.raises(EventError):
        decode(data)


@given(
    st.builds(
        DeadLetter,
        ref=st.none() | REFS,
        code=TEXTS,
        reason=TEXTS,
        at=st.floats(0, 4e9),
        id=st.just("7"),
        payload=st.binary(max_size=50),
    )
)
def test_letters(letter):
    """A letter is read as it was written."""
    assert letter == letters.decode(letters.encode(letter), "7")


def test_long_letters_fit():
    """However long message and reason are, a letter fits into a message of NATS."""
    letter = DeadLetter(
        ref=ObjectRef("b", "k" * 1024), code="event", reason="\U0001f98a" * 10**6, at=1.0, payload=bytes(10**7)
    )

    assert len(letters.encode(letter)) < 1_000_000


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"code": 1, "reason": 2, "at": "x"}', b"\xff"])
def test_no_letters(data):
    """What somebody else wrote there is passed over."""
    assert letters.decode(data, "7") is None
