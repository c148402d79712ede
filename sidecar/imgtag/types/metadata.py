"""Labels and mark as user metadata, beside the user's own entries.

Two layouts: ``names`` writes one entry a label (``imgtag_red+fox: 0.59``); ``single`` writes all
labels into one entry with a name that every proxy lets through (``imgtag-labels: red+fox=0.59``).
Both are read whatever the layout that is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import TYPE_CHECKING, Literal

from imgtag.errors import WriteRefused
from imgtag.types.facts import Facts
from imgtag.types.labels import Label, Raw, label_to_name, name_to_label, parse_confidence
from imgtag.types.mark import Mark
from imgtag.types.signature import Trust, sign, verify
from imgtag.types.vector import Vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MARK, FACTS, RAW, VEC, LABELS = "imgtag-mark", "imgtag-facts", "imgtag-raw", "imgtag-vec", "imgtag-labels"
RESERVED = frozenset({MARK, FACTS, RAW, VEC, LABELS})
MAX_ADDED = 3
"""Entries in the form of a label that a user may have added to those that were signed."""

Layout = Literal["names", "single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """All that the sidecar writes on an object."""

    labels: tuple[Label, ...] = ()
    mark: Mark | None = None
    facts: Facts | None = None
    raw: Raw | None = None
    vec: Vector | None = None

    def is_incomplete(self, keep: frozenset[str]) -> bool:
        """Whether an optional entry is missing that ``keep`` names."""
        return any(name in keep and getattr(self, name) is None for name in ("facts", "raw", "vec"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """New user metadata, whole, and the entries that found room in it."""

    metadata: Mapping[str, str]
    entries: Entries


@dataclass(frozen=True, kw_only=True)
class MetadataCodec:
    """Writes and reads entries. ``keep`` names the optional ones that are written.

    The first of ``keys`` signs what is written; each of them verifies. Without keys every mark is believed.
    """

    prefix: str = "imgtag_"
    decimals: int = 2
    layout: Layout = "names"
    keep: frozenset[str] = frozenset({"facts", "raw", "vec"})
    keys: tuple[bytes, ...] = ()

    def split(self, metadata: Mapping[str, str]) -> tuple[Entries, dict[str, str]]:
        """Our entries and the user's. What we cannot read of ours is as if absent; it is never the user's.

        An entry in the form of a label is the user's where the mark names it, or where nothing else shows that a
        sidecar was here: every sidecar leaves a mark.
        """
        mark = Mark.decode(metadata[MARK]) if MARK in metadata else None
        was_here, foreign = bool(RESERVED & metadata.keys()), mark.foreign if mark else ()
        labels, user = [], {}
        for name, value in metadata.items():
            if was_here and name not in foreign and (label := self._read_label(name, value)) is not None:
                labels.append(label)
            elif name not in RESERVED:
                user[name] = value
        for item in filter(None, metadata.get(LABELS, "").split(",")):
            name, _, value = item.rpartition("=")
            confidence = parse_confidence(value)
            if name and name.isascii() and confidence is not None:
                labels.append(Label(name_to_label(name), confidence))
        entries = Entries(
            labels=_rank({label.name: label for label in labels}.values()),
            mark=mark,
            facts=Facts.decode(metadata[FACTS]) if FACTS in metadata else None,
            raw=Raw.decode(metadata[RAW]) if RAW in metadata else None,
            vec=Vector.decode(metadata[VEC]) if VEC in metadata else None,
        )
        return entries, user

    def verify(self, entries: Entries, metadata: Mapping[str, str]) -> Trust:
        """How far ``entries``, which were read from ``metadata``, can be believed."""
        foreign = entries.mark.foreign if entries.mark else ()
        written = {
            name: value
            for name, value in metadata.items()
            if name != MARK
            and (name in RESERVED or (name not in foreign and self._read_label(name, value) is not None))
        }
        return verify(entries.mark, entries.labels, written, self.keys)

    def own_names(self, metadata: Mapping[str, str]) -> frozenset[str]:
        """The names of the entries that a sidecar of this site wrote, by its mark; none where no mark proves it.

        A signature tells them from entries of the same form that a user has added since, up to MAX_ADDED of them.
        Without a key, every entry of that form beside a mark counts as written by a sidecar.
        """
        if MARK not in metadata:
            return frozenset()
        labels = [name for name, value in metadata.items() if name not in RESERVED and self._read_label(name, value)]
        for count in range(min(MAX_ADDED, len(labels)) + 1):
            for added in combinations(labels, count):
                signed = {name: value for name, value in metadata.items() if name not in added}
                entries, user = self.split(signed)
                if self.verify(entries, signed) in {Trust.LABELS, Trust.ALL}:
                    return frozenset(signed.keys() - user.keys())
        return frozenset()

    def names_in_form(self, metadata: Mapping[str, str]) -> frozenset[str]:
        """The names of all entries that have the form of ours, if one is among them that nobody else would write."""
        is_ours = bool(RESERVED & metadata.keys())
        return frozenset(metadata.keys() - self.split(metadata)[1].keys()) if is_ours else frozenset()

    def pack(self, entries: Entries, user: Mapping[str, str], *, limit: int | None, overhead: int = 0) -> Packed:
        """What fits beside the user's entries: vec goes first, then boxes, facts, raw, and the labels by priority,
        weakest first.

        The mark names those of the user's entries that have the form of a label, so that they stay the user's.

        Raises WriteRefused(code="metadata_full") where not even the mark fits.
        """
        # As a reader will find them, so that a document made of them now is the one that is made of them later.
        rounded = (
            Label(label.name, round(label.confidence, self.decimals), label.priority) for label in entries.labels
        )
        labels = _rank(label for label in rounded if label.confidence > 0)
        if self.layout == "names":  # never over an entry that the user has for something else
            labels = tuple(label for label in labels if self.prefix + label_to_name(label.name) not in user)
        foreign = tuple(sorted(name for name, value in user.items() if self._read_label(name, value) is not None))
        wanted = replace(
            entries,
            labels=labels,
            mark=replace(entries.mark, foreign=foreign) if entries.mark else None,
            facts=Facts.decode(entries.facts.encode()) if entries.facts and "facts" in self.keep else None,
            raw=Raw.decode(entries.raw.encode()) if entries.raw and "raw" in self.keep else None,
            vec=entries.vec if "vec" in self.keep else None,
        )
        for candidate in chain([wanted], _shorter(wanted)):
            metadata, sealed = {**user, **self._encode(candidate)}, candidate
            if candidate.mark:
                written = {name: value for name, value in metadata.items() if name not in user}
                mark = replace(candidate.mark, signature=sign(candidate.mark, written, self.keys))
                metadata[MARK], sealed = mark.encode(), replace(candidate, mark=mark)
            if limit is None or _size(metadata, overhead) <= limit:
                return Packed(metadata=metadata, entries=sealed)
        raise WriteRefused(
            f"the object's own metadata leaves no room for labels ({_size(user, overhead)} of {limit} bytes)",
            code="metadata_full",
        )

    def label_tags(self, entries: Entries) -> dict[str, str]:
        """One object tag per label, in either layout: tags are no headers, so proxies cannot lose their names."""
        return {
            self.prefix + label_to_name(label.name): f"{label.confidence:.{self.decimals}f}" for label in entries.labels
        }

    def kept(self, entries: Entries) -> Entries:
        """The entries as they would be written on an object with room for all."""
        return self.pack(entries, {}, limit=None).entries

    def _encode(self, entries: Entries) -> dict[str, str]:
        """All entries but the mark."""
        encoded = {label_to_name(label.name): f"{label.confidence:.{self.decimals}f}" for label in entries.labels}
        if self.layout == "names":
            written = {self.prefix + name: value for name, value in encoded.items()}
        else:
            written = {LABELS: ",".join(f"{name}={value}" for name, value in encoded.items())}
        written[FACTS] = entries.facts.encode() if entries.facts else ""
        written[RAW] = entries.raw.encode() if entries.raw else ""
        written[VEC] = entries.vec.encode() if entries.vec else ""
        return {name: value for name, value in written.items() if value}

    def _read_label(self, name: str, value: str) -> Label | None:
        """The label of an entry; None where the entry is not one of ours."""
        if not name.startswith(self.prefix):
            return None
        encoded, confidence = name.removeprefix(self.prefix), parse_confidence(value)
        if confidence is None or not encoded or not encoded.isascii():
            return None
        return Label(name_to_label(encoded), confidence)


def _rank(labels: Iterable[Label]) -> tuple[Label, ...]:
    return tuple(sorted(labels, key=lambda label: (-label.confidence, label.name)))


def _shorter(entries: Entries) -> Iterator[Entries]:
    """What is given up for room, step by step."""
    yield replace(entries, vec=None)
    if entries.raw and entries.raw.detections:
        entries = replace(entries, raw=entries.raw.without_boxes())
        yield replace(entries, vec=None)
    yield replace(entries, vec=None, facts=None)
    bare = replace(entries, vec=None, facts=None, raw=None)
    by_priority = sorted(bare.labels, key=lambda label: -label.priority)
    for count in range(len(by_priority), -1, -1):
        yield replace(bare, labels=_rank(by_priority[:count]))


def _size(metadata: Mapping[str, str], overhead: int) -> int:
    # A store shows bytes that are not UTF-8 as halves of surrogate pairs; whether they can be repeated is its affair.
    texts = (text.encode(errors="surrogatepass") for entry in metadata.items() for text in entry)
    return sum(map(len, texts)) + overhead * len(metadata)
