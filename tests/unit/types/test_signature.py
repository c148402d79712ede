"""Who wrote the entries of an object."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.types.labels import Label, Raw
from imgtag.types.mark import Mark
from imgtag.types.metadata import FACTS, MARK, RAW, VEC, Entries, MetadataCodec
from imgtag.types.packed import pack
from imgtag.types.signature import Trust, encode_digest

from . import strategies as some
from .test_metadata import A_MARK, TYPICAL

KEY, OTHER = b"key", b"another key"
CODEC = MetadataCodec(keys=(KEY,))


def trust(metadata: dict[str, str], *keys: bytes, layout: str = "names") -> Trust:
    codec = MetadataCodec(keys=keys, layout=layout)
    return codec.verify(codec.split(metadata)[0], metadata)


def written(entries: Entries = TYPICAL, *keys: bytes) -> dict[str, str]:
    return dict(MetadataCodec(keys=keys or (KEY,)).pack(entries, {}, limit=None).metadata)


@given(some.entries, st.binary(min_size=1, max_size=20))
def test_entries_are_believed_by_their_key_and_no_other(entries: Entries, key: bytes) -> None:
    """Without a key every mark is believed; an unsigned mark is not what a key signed."""
    metadata = written(entries, key)
    if entries.mark is None:
        assert {Trust.NONE} == {trust(metadata, key), trust(metadata)}
        return
    assert trust(metadata, key) is Trust.ALL
    assert trust(metadata, key + b"x") is Trust.NONE
    assert trust(metadata) is Trust.ALL
    assert trust({**metadata, MARK: replace(entries.mark, signature="").encode()}, key) is Trust.UNSIGNED


@pytest.mark.parametrize("name", [FACTS, RAW, VEC])
def test_no_entry_can_be_changed_or_left_out(name: str) -> None:
    """Raw scores above all: they become labels when rules change."""
    metadata = written()
    other = {FACTS: "1;w=1", RAW: Raw(((1, 1.0),)).encode(), VEC: metadata[VEC].replace("A", "B", 1)}

    assert trust({**metadata, name: other[name]}, KEY) is Trust.NONE
    assert trust({key: value for key, value in metadata.items() if key != name}, KEY) is Trust.NONE


@pytest.mark.parametrize("name", [field.name for field in fields(Mark) if field.name not in {"at", "signature"}])
def test_a_changed_field_of_the_mark_is_noticed(name: str) -> None:
    metadata = written()
    mark = Mark.decode(metadata[MARK])
    assert mark is not None
    assert trust({**metadata, MARK: replace(mark, **{name: "x"}).encode()}, KEY) is Trust.NONE
    assert trust({**metadata, MARK: replace(mark, at=mark.at + 1).encode()}, KEY) is Trust.NONE


@pytest.mark.parametrize("change", [{"imgtag_fox": "0.99"}, {"imgtag_kit+fox": None}, {"imgtag_kit+fox": "0.62"}])
def test_changed_labels_are_noticed(change: dict[str, str | None]) -> None:
    metadata = {**written(), **change}
    assert trust({name: value for name, value in metadata.items() if value is not None}, KEY) is Trust.NONE


def test_no_two_sets_of_entries_have_the_same_signature() -> None:
    """Three labels, and one whose name holds line breaks, had one signature in the first format."""
    three = replace(TYPICAL, labels=(Label("a", 0.9), Label("b", 0.8), Label("c", 0.7)))
    one = replace(TYPICAL, labels=(Label("a=0.900000\nb=0.800000\nc", 0.7),))
    signatures = {Mark.decode(written(entries)[MARK]).signature for entries in (three, one)}
    assert 2 == len(signatures)


def first_format(entries: Entries, key: bytes) -> dict[str, str]:
    """Entries as they were signed before 0.2: mark and labels only."""
    import hmac  # noqa: PLC0415

    metadata = written(entries)
    kept, _ = CODEC.split(metadata)
    texts = [f"{label.name}={label.confidence:.6f}" for label in kept.labels]
    signed = "\n".join([pack(A_MARK.unsigned_fields()), *texts]).encode()
    signature = encode_digest(hmac.digest(key, signed, "sha256"))
    return {**metadata, MARK: replace(A_MARK, signature=signature).encode()}


def test_marks_of_the_first_format_are_still_understood() -> None:
    """As far as they went: mark and labels. A line break in a label makes them ambiguous, so they are refused."""
    metadata = first_format(TYPICAL, KEY)
    assert trust(metadata, KEY) is Trust.LABELS
    assert trust(metadata, OTHER) is Trust.NONE
    assert trust({**metadata, "imgtag_dog": "0.10"}, KEY) is Trust.NONE
    ambiguous = first_format(replace(TYPICAL, labels=(Label("a=0.900000\nb", 0.7),)), KEY)
    assert trust(ambiguous, KEY) is Trust.NONE


def test_keys_can_be_rotated() -> None:
    """The first key signs; each of them verifies; one that was taken out does not."""
    old = written(TYPICAL, KEY)
    assert trust(old, OTHER, KEY) is Trust.ALL
    assert trust(written(TYPICAL, OTHER, KEY), OTHER) is Trust.ALL
    assert trust(old, OTHER) is Trust.NONE


@pytest.mark.parametrize("signature", ["\xe9", "\ud800", "\0", "2.", "2.x", "x"])
def test_a_forged_signature_of_any_characters_is_just_wrong(signature: str) -> None:
    mark = replace(A_MARK, signature=signature)
    assert CODEC.verify(replace(TYPICAL, mark=mark), written()) is Trust.NONE
