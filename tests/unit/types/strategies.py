"""What hypothesis makes up: labels, facts, marks, entries and the metadata of strangers."""

from __future__ import annotations

from hypothesis import strategies as st

from imgtag.types.facts import EARLIEST, LATEST, MAX_CAMERA, Facts
from imgtag.types.labels import Label, Raw, identity
from imgtag.types.mark import Mark
from imgtag.types.metadata import RESERVED, Entries
from imgtag.types.vector import LENGTH, Vector

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
identities = texts.map(identity).filter(bool)
confidences = st.integers(1, 100).map(lambda percent: percent / 100)
labels = st.lists(st.builds(Label, identities, confidences), max_size=6, unique_by=lambda label: label.name)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)

facts = st.builds(
    Facts,
    width=st.none() | st.integers(0, 2**31),
    height=st.none() | st.integers(0, 2**31),
    taken=st.none() | st.integers(EARLIEST, LATEST),
    camera=st.none() | texts.filter(lambda text: 0 < len(text) <= MAX_CAMERA and text.isprintable()),
    modified=st.none() | st.integers(0, LATEST),
) | st.builds(Facts, lat=st.floats(-90, 90), lng=st.floats(-180, 180))
marks = st.builds(
    Mark,
    model=words,
    rules=words,
    content=words,
    etag=words,
    etag_after=words,
    owner=words,
    at=st.integers(0, LATEST),
    version=st.none() | words,
    foreign=st.lists(words, max_size=2).map(tuple),
)
raws = st.lists(
    st.tuples(st.integers(0, 9_999_999), st.integers(1, 10_000).map(lambda value: value / 10_000)),
    min_size=1,
    max_size=20,
).map(Raw.best)
vectors = st.builds(
    Vector,
    projection=st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=20),
    values=st.binary(min_size=LENGTH, max_size=LENGTH).filter(any),
)
entries = st.builds(
    Entries,
    labels=labels.map(lambda some: tuple(sorted(some, key=lambda label: (-label.confidence, label.name)))),
    mark=marks,
    facts=st.none() | facts,
    raw=st.none() | raws,
    vec=st.none() | vectors,
)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=30) | identities.map(
    lambda x: f"imgtag_{x}"
)
metadata = st.dictionaries(names.filter(lambda name: name not in RESERVED), texts, max_size=5)
