"""Our own messages come back as they were."""

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import EventError
from imgtag.plugin.hint_messages import decode, encode
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

TEXTS = st.text(max_size=50)
BUCKETS = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1, max_size=50)
REFS = st.builds(ObjectRef, BUCKETS, st.text(min_size=1, max_size=50))
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


@given(HINTS | st.builds(Scope, BUCKETS, TEXTS))
def test_there_and_back(hint):
    """A hint or a resync is read as it was written."""
    assert hint == decode(encode(hint))


def test_any_mapping():
    """Metadata may be any mapping."""
    hint = Hint(ref=ObjectRef("b", "k"), metadata=MappingProxyType({"a": "b"}))

    assert decode(encode(hint)).metadata == {"a": "b"}


def test_newer_fields():
    """What a newer sidecar adds is passed over."""
    hint = decode(b'{"hint": {"ref": {"bucket": "b", "key": "k", "new": 1}, "intent": "normal", "new": 2}, "new": 3}')

    assert hint == Hint(ref=ObjectRef("b", "k"))


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


@pytest.mark.parametrize(
    "data",
    [
        b'{"hint":{"ref":{"bucket":"pics","key":"\\ud800"},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"\\ud800","key":"k"},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"a/b","key":"k"},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"","key":"k"},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"b","key":""},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"b","key":"' + b"k" * 1025 + b'"},"intent":"normal"}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","etag":"\\ud800"}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","version":"\\udfff"}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","metadata":{"a":"\\ud800"}}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","metadata":{"\\ud800":"a"}}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","at":1e999}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","at":' + b"9" * 400 + b"}}",
        b'{"resync":{"bucket":"\\ud800","prefix":""}}',
        b'{"resync":{"bucket":"b","prefix":"\\ud800"}}',
        b'{"resync":{"bucket":"b","prefix":"' + b"k" * 1025 + b'"}}',
        b'{"hint":{"ref":{"bucket":"b","key":"k"},"intent":"normal","x":"' + b"k" * (1 << 20) + b'"}}',
    ],
)
def test_a_hostile_message_of_ours_is_refused(data):
    """Each would otherwise end whatever encodes it later, after every restart."""
    with pytest.raises(EventError):
        decode(data)
