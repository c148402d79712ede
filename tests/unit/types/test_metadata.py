"""Entries as user metadata, beside the user's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import WriteRefused
from imgtag.types.facts import Facts
from imgtag.types.labels import Label, Raw, label_to_name
from imgtag.types.mark import Mark
from imgtag.types.metadata import FACTS, LABELS, MARK, MAX_ADDED, RAW, RESERVED, VEC, Entries, Layout, MetadataCodec
from imgtag.types.signature import Trust
from imgtag.types.vector import Vector

from . import strategies as some
from .test_labels import TOKEN
from .test_records import KEY
from .test_records import MARK as A_MARK

LAYOUTS: tuple[Layout, ...] = ("names", "single")
layouts = st.sampled_from(LAYOUTS)
TYPICAL = Entries(
    labels=(
        Label("kit fox", 0.61),
        Label("red fox", 0.27),
        Label("grey fox", 0.11),
        Label("coyote", 0.10),
        Label("white wolf", 0.10),
    ),
    mark=replace(A_MARK, model="efficientnet-lite0@5f2c9a1b"),
    facts=Facts(
        width=6000, height=4000, taken=1719842400, camera="Canon EOS R5", lat=46.55123, lng=7.95012, modified=1719846000
    ),
    raw=Raw.best((277 + place, 0.6 / (place + 1) ** 1.5) for place in range(20)),
    vec=Vector("svd1", bytes(range(128))),
)


def size(metadata: dict[str, str], overhead: int = 0) -> int:
    return sum(len(name.encode()) + len(value.encode()) + overhead for name, value in metadata.items())


@given(some.entries, layouts, st.none() | st.binary(min_size=1))
def test_entries_come_back(entries: Entries, layout: Layout, key: bytes | None) -> None:
    codec = MetadataCodec(layout=layout, keys=(key,) if key else ())
    packed = codec.pack(entries, {}, limit=None)

    unpacked, user = codec.split(packed.metadata)

    assert unpacked == packed.entries == codec.kept(entries)
    assert replace(unpacked, mark=entries.mark) == entries
    assert user == {}
    assert codec.verify(unpacked, packed.metadata) is Trust.ALL


ADDED = st.dictionaries(
    some.identities.map(lambda text: f"imgtag_{label_to_name(text)}"), st.just("0.5"), max_size=MAX_ADDED
)


@given(some.entries, some.metadata, layouts, st.lists(st.binary(min_size=1), min_size=1, max_size=2), ADDED)
def test_our_own_names(
    entries: Entries, metadata: dict[str, str], layout: Layout, keys: list[bytes], added: dict[str, str]
) -> None:
    """They are what was packed, also where a user has added entries of the same form since; nothing without a key."""
    _, user = MetadataCodec().split(metadata)
    packed = MetadataCodec(layout=layout, keys=(keys[0],)).pack(entries, user, limit=None).metadata
    added = {name: value for name, value in added.items() if name not in packed}

    names = MetadataCodec(keys=(b"another", *keys)).own_names({**packed, **added})

    assert packed.keys() - user.keys() == names
    assert frozenset() == MetadataCodec(keys=(b"another",)).own_names(packed)
    assert packed.keys() - user.keys() == MetadataCodec().own_names(packed)


@given(some.entries, layouts)
def test_names_and_values_are_what_headers_can_carry(entries: Entries, layout: Layout) -> None:
    metadata = MetadataCodec(layout=layout, keys=(KEY,)).pack(entries, {}, limit=None).metadata
    for name, value in metadata.items():
        assert set(name) <= TOKEN
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip() != ""


@given(some.entries, some.metadata, layouts, st.integers(0, 3000), st.integers(0, 40))
def test_the_budget_is_kept_and_the_user_loses_nothing(
    entries: Entries, metadata: dict[str, str], layout: Layout, limit: int, overhead: int
) -> None:
    codec = MetadataCodec(layout=layout, keys=(KEY,))
    _, user = codec.split(metadata)
    try:
        packed = codec.pack(entries, user, limit=limit, overhead=overhead)
    except WriteRefused:
        assert (
            size(user, overhead) + size(codec.pack(Entries(mark=entries.mark), {}, limit=None).metadata) > limit - 200
        )
        return
    unpacked, left = codec.split(packed.metadata)

    assert size(dict(packed.metadata), overhead) <= limit
    assert left == user
    assert unpacked == packed.entries
    assert codec.verify(unpacked, packed.metadata) is Trust.ALL


def test_vec_goes_first_then_facts_then_raw_then_the_weakest_labels() -> None:
    codec = MetadataCodec()
    whole = size(dict(codec.pack(TYPICAL, {}, limit=None).metadata))
    seen: list[frozenset[str]] = []
    labels = 5
    for limit in range(whole, 0, -1):
        try:
            packed = codec.pack(TYPICAL, {}, limit=limit)
        except WriteRefused:
            break
        kept = frozenset(packed.metadata) & RESERVED
        if not seen or seen[-1] != kept:
            seen.append(kept)
        assert len(packed.entries.labels) == 5 or kept == {MARK}, "labels go last"
        assert packed.entries.labels == TYPICAL.labels[: len(packed.entries.labels)], "the weakest go first"
        labels = min(labels, len(packed.entries.labels))

    assert seen == [{VEC, FACTS, RAW, MARK}, {FACTS, RAW, MARK}, {RAW, MARK}, {MARK}]
    assert labels == 0


def test_labels_of_higher_priority_go_last() -> None:
    labels = (Label("dog", 0.8, -1000), Label("beagle", 0.4), Label("pug", 0.3, 5))
    entries = replace(TYPICAL, labels=labels, vec=None, facts=None, raw=None)
    size = 0
    kept = set()
    while len(kept) < len(labels) + 1:
        size += 10
        with suppress(WriteRefused):
            kept.add(tuple(label.name for label in MetadataCodec().pack(entries, {}, limit=size).entries.labels))

    assert kept == {(), ("pug",), ("beagle", "pug"), ("dog", "beagle", "pug")}


def test_no_room_at_all_is_refused_with_the_numbers() -> None:
    with pytest.raises(WriteRefused, match=r"2047 of 2048 bytes") as caught:
        MetadataCodec().pack(TYPICAL, {"note": "x" * 2043}, limit=2048)
    assert caught.value.code == "metadata_full"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_users_entry_that_has_a_labels_name_stays(layout: Layout) -> None:
    user = {"imgtag_kit+fox": "my favourite", "imgtag_": "0.5", "imgtag_note": "0.00", "license": "2"}
    codec = MetadataCodec(layout=layout, keys=(KEY,))
    assert codec.split(user) == (Entries(), user)

    packed = codec.pack(TYPICAL, user, limit=None)
    unpacked, left = codec.split(packed.metadata)

    assert left == user
    assert unpacked == packed.entries
    assert codec.verify(unpacked, packed.metadata) is Trust.ALL
    assert (Label("kit fox", 0.61) in unpacked.labels) == (layout == "single")


@given(some.entries, ADDED, layouts, st.sampled_from([(), (KEY,)]))
def test_a_users_entry_in_the_form_of_a_label_stays_the_users(
    entries: Entries, user: dict[str, str], layout: Layout, keys: tuple[bytes, ...]
) -> None:
    """Before we were here it is no label, and afterwards the mark says whose it is."""
    codec = MetadataCodec(layout=layout, keys=keys)
    assert codec.split(user) == (Entries(), user)

    packed = codec.pack(entries, user, limit=None)
    unpacked, left = codec.split(packed.metadata)

    assert left == user
    assert unpacked == packed.entries
    assert not keys or codec.verify(unpacked, packed.metadata) is Trust.ALL
    assert packed.metadata.keys() - user.keys() == codec.own_names(packed.metadata)
    assert packed.metadata.keys() - user.keys() == codec.names_in_form(packed.metadata)


def test_a_mark_that_calls_our_labels_the_users_is_no_mark_of_ours() -> None:
    """Its signature covers that, too."""
    codec = MetadataCodec(keys=(KEY,))
    packed = codec.pack(TYPICAL, {}, limit=None)
    assert packed.entries.mark is not None
    forged = {**packed.metadata, MARK: replace(packed.entries.mark, foreign=("imgtag_kit+fox",)).encode()}

    assert codec.verify(codec.split(forged)[0], forged) is Trust.NONE


def test_a_number_under_a_name_without_the_prefix_is_the_users() -> None:
    user = {"quality": "0.50", "x-imgtag_fox": "0.50"}

    assert MetadataCodec().split(user) == (Entries(), user)


def test_an_equals_sign_that_a_proxy_decoded_belongs_to_the_label() -> None:
    assert MetadataCodec().split({LABELS: "e=mc2=0.50"})[0].labels == (Label("e=mc2", 0.5),)


def test_labels_as_tags_have_the_names_and_values_of_entries() -> None:
    codec = MetadataCodec(prefix="ai.", decimals=3)

    assert codec.label_tags(TYPICAL) == {
        "ai.kit+fox": "0.610",
        "ai.red+fox": "0.270",
        "ai.grey+fox": "0.110",
        "ai.coyote": "0.100",
        "ai.white+wolf": "0.100",
    }


def test_both_layouts_are_read_whatever_is_written() -> None:
    for layout, other in (LAYOUTS, LAYOUTS[::-1]):
        written = MetadataCodec(layout=layout).pack(TYPICAL, {}, limit=None).metadata
        assert MetadataCodec(layout=other).split(written)[0].labels == TYPICAL.labels


def test_the_layouts_look_like_this() -> None:
    entries = Entries(labels=(Label("red fox", 0.5949), Label("100% wool", 0.25)))
    assert MetadataCodec().pack(entries, {}, limit=None).metadata == {
        "imgtag_red+fox": "0.59",
        "imgtag_100%25+wool": "0.25",
    }
    single = MetadataCodec(layout="single").pack(entries, {}, limit=None).metadata
    assert single == {LABELS: "red+fox=0.59,100%25+wool=0.25"}


def test_zero_is_never_written() -> None:
    entries = Entries(labels=(Label("fox", 0.6), Label("dog", 0.004)))
    assert MetadataCodec().pack(entries, {}, limit=None).metadata == {"imgtag_fox": "0.60"}
    assert "imgtag_dog" in MetadataCodec(decimals=3).pack(entries, {}, limit=None).metadata


def test_what_is_switched_off_is_not_written() -> None:
    packed = MetadataCodec(keep=frozenset()).pack(TYPICAL, {}, limit=None)
    assert set(packed.metadata) & RESERVED == {MARK}
    assert packed.entries == Entries(labels=TYPICAL.labels, mark=packed.entries.mark)


def test_a_typical_object_takes_less_than_a_kilobyte() -> None:
    metadata = dict(MetadataCodec(keys=(KEY,)).pack(TYPICAL, {}, limit=None).metadata)
    assert size(metadata) < 1000


@pytest.mark.parametrize("name", sorted(RESERVED))
@pytest.mark.parametrize(
    "value",
    [
        "",
        ";=;",
        "1;=;",
        "nan",
        "1" + "0" * 400,
        "9" * 5000,
        "%",
        "====",
        "é",
        "\ud800",
        "2;m=1;r=1;c=1;e=1;o=1;t=1",
        "=,=,",
    ],
)
def test_hostile_values_are_as_if_absent(name: str, value: str) -> None:
    codec = MetadataCodec(keys=(KEY,))
    entries, user = codec.split({name: value, "license": "2"})
    assert user == {"license": "2"}
    assert codec.verify(entries, {name: value}) in {Trust.NONE, Trust.UNSIGNED}
    codec.pack(entries, user, limit=None)


@given(st.dictionaries(st.sampled_from(sorted(RESERVED)) | some.names, st.text()))
def test_whatever_stands_there_is_read(metadata: dict[str, str]) -> None:
    codec = MetadataCodec(keys=(KEY,))
    entries, user = codec.split(metadata)
    assert codec.verify(entries, metadata) in Trust
    assert codec.split(codec.pack(entries, user, limit=None).metadata) == (codec.kept(entries), user)


@given(st.integers(min_value=0), st.integers(32, 126).map(chr))
def test_a_changed_byte_of_mark_or_labels_is_noticed(place: int, char: str) -> None:
    codec = MetadataCodec(keys=(KEY,), layout="single")
    packed = codec.pack(TYPICAL, {}, limit=None)
    for name in (MARK, LABELS):
        value = packed.metadata[name]
        at = place % len(value)
        changed = {**packed.metadata, name: value[:at] + char + value[at + 1 :]}
        entries, _ = codec.split(changed)
        assert entries == packed.entries or codec.verify(entries, changed) is not Trust.ALL


def test_a_mark_copied_to_other_labels_is_noticed() -> None:
    codec = MetadataCodec(keys=(KEY,))
    metadata = dict(codec.pack(TYPICAL, {}, limit=None).metadata)
    metadata[f"imgtag_{label_to_name('puppy')}"] = "0.99"
    entries, _ = codec.split(metadata)
    assert codec.verify(entries, metadata) is Trust.NONE
    assert MetadataCodec().verify(entries, metadata) is Trust.ALL, "without a key every mark is believed"
    assert MetadataCodec().verify(Entries(mark=None), {}) is Trust.NONE


def test_a_mark_of_the_year_ten_thousand_is_none() -> None:
    assert Mark.decode(replace(A_MARK, at=253_402_300_800).encode()) is None
