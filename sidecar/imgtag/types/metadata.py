"""Labels and mark as user metadata, beside the user's own entries.

Two layouts: ``names`` writes one entry a label (``imgtag_red+fox: 0.59``); ``single`` writes all
labels into one entry with a name that every proxy lets through (``imgtag-labels: red+fox=0.59``).
Both are read whatever the layout that is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from imgtag.errors import WriteRefused
from imgtag.types.facts import Facts
from imgtag.types.labels import Label, Raw, label_to_name, name_to_label, parse_confidence
from imgtag.types.mark import Mark
from imgtag.types.vector import Vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MARK, FACTS, RAW, VEC, LABELS = "imgtag-mark", "imgtag-facts", "imgtag-raw", "imgtag-vec", "imgtag-labels"
RESERVED = frozenset({MARK, FACTS, RAW, VEC, LABELS})

Layout = Literal["names", "single"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """All that the sidecar writes on an object."""

    labels: tuple[Label, ...] = ()
    mark: Mark | None = None
    facts: Facts | None = None
    raw: Raw | None = None
    vec: Vector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """New user metadata, whole, and the entries that found room in it."""

    metadata: Mapping[str, str]
    entries: Entries


@dataclass(frozen=True, kw_only=True)
class MetadataCodec:
    """Writes and reads entries. ``keep`` names the optional ones that are written; ``key`` signs marks."""

    prefix: str = "imgtag_"
    decimals: int = 2
    layout: Layout = "names"
    keep: frozenset[str] = frozenset({"facts", "raw", "vec"})
    key: bytes | None = None

    def split(self, metadata: Mapping[str, str]) -> tuple[Entries, dict[str, str]]:
        """Our entries and the user's. What we cannot read of ours is as if absent; it is never the user's."""
        others = {name: value for name, value in metadata.items() if name not in RESERVED}
        named = {name: self._label(name, value) for name, value in others.items()}
        user = {name: value for name, value in others.items() if named[name] is None}
        labels = [*filter(None, named.values()), *_listed(metadata.get(LABELS, ""))]
        entries = Entries(
            labels=_ranked({label.name: label for label in labels}.values()),
            mark=Mark.decode(metadata.get(MARK, "")),
            facts=Facts.decode(metadata.get(FACTS, "")),
            raw=Raw.decode(metadata[RAW]) if RAW in metadata else None,
            vec=Vector.decode(metadata.get(VEC, "")),
        )
        return entries, user

    def genuine(self, entries: Entries) -> bool:
        """Whether the mark is there and ours."""
        return entries.mark is not None and entries.mark.genuine(entries.labels, self.key)

    def pack(self, entries: Entries, user: Mapping[str, str], *, limit: int | None, overhead: int = 0) -> Packed:
        """What fits beside the user's entries: vec goes first, then facts, raw, the labels by priority, weakest first.

        Raises WriteRefused(code="metadata_full") where not even the mark fits.
        """
        wanted = self._beside(user, self._kept(entries))
        for candidate in [wanted, *_shorter(wanted)]:
            sealed = self._sealed(candidate)
            metadata = {**user, **self._encode(sealed)}
            if limit is None or _size(metadata, overhead) <= limit:
                return Packed(metadata=metadata, entries=sealed)
        raise WriteRefused(
            f"the object's own metadata leave no room for labels ({_size(user, overhead)} of {limit} bytes)",
            code="metadata_full",
        )

    def label_tags(self, entries: Entries) -> dict[str, str]:
        """One object tag per label, in either layout: tags are no headers, so proxies cannot lose their names."""
        return {
            self.prefix + label_to_name(label.name): f"{label.confidence:.{self.decimals}f}" for label in entries.labels
        }

    def kept(self, entries: Entries) -> Entries:
        """The entries as they would be written where there is room for all."""
        return self._sealed(self._kept(entries))

    def _kept(self, entries: Entries) -> Entries:
        """As a reader will find them, so that a document made of them now is the one that is made of them later."""
        rounded = (replace(label, confidence=round(label.confidence, self.decimals)) for label in entries.labels)
        return replace(
            entries,
            labels=_ranked(label for label in rounded if label.confidence > 0),
            facts=Facts.decode(entries.facts.encode()) if entries.facts and "facts" in self.keep else None,
            raw=Raw.decode(entries.raw.encode()) if entries.raw and "raw" in self.keep else None,
            vec=entries.vec if "vec" in self.keep else None,
        )

    def _beside(self, user: Mapping[str, str], entries: Entries) -> Entries:
        """Without the labels whose names the user has taken for something else."""
        if self.layout == "single":
            return entries
        free = (label for label in entries.labels if self.prefix + label_to_name(label.name) not in user)
        return replace(entries, labels=tuple(free))

    def _sealed(self, entries: Entries) -> Entries:
        mark = entries.mark
        return replace(entries, mark=mark.signed(entries.labels, self.key) if mark else None)

    def _encode(self, entries: Entries) -> dict[str, str]:
        optional = {
            FACTS: entries.facts.encode() if entries.facts else "",
            RAW: entries.raw.encode() if entries.raw else "",
            VEC: entries.vec.encode() if entries.vec else "",
            MARK: entries.mark.encode() if entries.mark else "",
        }
        return {**self._label_entries(entries.labels), **{name: value for name, value in optional.items() if value}}

    def _label_entries(self, labels: tuple[Label, ...]) -> dict[str, str]:
        encoded = {label_to_name(label.name): f"{label.confidence:.{self.decimals}f}" for label in labels}
        if self.layout == "names":
            return {self.prefix + name: value for name, value in encoded.items()}
        return {LABELS: ",".join(f"{name}={value}" for name, value in encoded.items())} if encoded else {}

    def _label(self, name: str, value: str) -> Label | None:
        """The label of an entry; None where the entry is none of ours."""
        confidence = parse_confidence(value)
        label = name.removeprefix(self.prefix) if name.startswith(self.prefix) else ""
        return Label(name_to_label(label), confidence) if label and confidence is not None else None


def _ranked(labels: Iterable[Label]) -> tuple[Label, ...]:
    return tuple(sorted(labels, key=lambda label: (-label.confidence, label.name)))


def _shorter(entries: Entries) -> Iterator[Entries]:
    yield replace(entries, vec=None)
    yield replace(entries, vec=None, facts=None)
    bare = replace(entries, vec=None, facts=None, raw=None)
    worth = sorted(bare.labels, key=lambda label: -label.priority)
    for count in range(len(worth), -1, -1):
        yield replace(bare, labels=_ranked(worth[:count]))


def _size(metadata: Mapping[str, str], overhead: int) -> int:
    return sum(len(name.encode()) + len(value.encode()) + overhead for name, value in metadata.items())


def _listed(text: str) -> Iterator[Label]:
    for item in filter(None, text.split(",")):
        name, _, value = item.rpartition("=")
        confidence = parse_confidence(value)
        if name and confidence is not None:
            yield Label(name_to_label(name), confidence)
