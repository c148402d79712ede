"""The vocabulary of a model whose labels are not known in advance: each image brings its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.labels.definitions import define_labels
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.labels.vocabulary import DocumentLabels, Vocabulary
from imgtag.types.labels import Raw, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imgtag.labels.policy import LabelPolicy
    from imgtag.types.detections import Detection
    from imgtag.types.labels import Label
    from imgtag.types.metadata import Entries

_CACHED = 256
"""Images whose vocabularies are kept: an image's labels, its document and its answer are asked for in short order."""


@dataclass(frozen=True, kw_only=True)
class OpenVocabulary(Vocabulary):
    """Understands each image by the detections that were kept of it; `labels` and `ancestors` are empty.

    What another detection of the image is a kind of is an ancestor there, not a label. Detections do not exclude one
    another, so an ancestor is as sure as the surest of what is below it, or as the model says itself.
    """

    def of(self, raw: Raw) -> Vocabulary:
        """See `Vocabulary.of`."""
        return self._vocabulary_of(raw.detections)

    def select_labels(self, raw: Raw, *, decimals: int | None = None) -> tuple[Label, ...]:
        """See `Vocabulary.select_labels`."""
        return self.of(raw).select_labels(raw, decimals=decimals)

    def ancestors_of(self, raw: Raw, *, decimals: int = 2) -> tuple[Label, ...]:
        """See `Vocabulary.ancestors_of`."""
        return self.of(raw).ancestors_of(raw, decimals=decimals)

    def labels_to_write(self, raw: Raw) -> tuple[Label, ...]:
        """See `Vocabulary.labels_to_write`."""
        return self.of(raw).labels_to_write(raw)

    def document_labels(self, entries: Entries) -> DocumentLabels:
        """See `Vocabulary.document_labels`. Where the detections were not kept, there are no ancestors."""
        return self.of(entries.raw or Raw(())).document_labels(entries)

    @cached_property
    def _vocabulary_of(self) -> Callable[[tuple[Detection, ...]], Vocabulary]:
        @lru_cache(maxsize=_CACHED)
        def vocabulary_of(detections: tuple[Detection, ...]) -> Vocabulary:
            labels = [identity(detection.name) for detection in detections]
            display = [detection.name for detection in detections]
            of_labels, of_ancestors = define_labels(labels, display, _taxonomy(detections), self.policy)
            return Vocabulary(
                model=self.model,
                digest=self.digest,
                policy=self.policy,
                labels=of_labels,
                ancestors=of_ancestors,
                exclusive=False,
            )

        return vocabulary_of


def open_vocabulary(model: str, policy: LabelPolicy) -> OpenVocabulary:
    """The vocabulary of such a model under a policy."""
    return OpenVocabulary(model=model, digest=sha256(f"{policy.digest} open".encode()).hexdigest()[:8], policy=policy)


def _taxonomy(detections: Sequence[Detection]) -> Taxonomy:
    """What the detections of one image are kinds of, as they say themselves."""
    numbers = {identity(detection.name): number for number, detection in enumerate(detections)}
    lines = [
        # Nothing is a kind of itself.
        tuple(dict.fromkeys(name for name in map(identity, detection.parents) if name != identity(detection.name)))
        for detection in detections
    ]
    classes = (
        ClassTerms(
            category=detection.category and identity(detection.category),
            ancestors=line,
            synonyms=tuple(map(identity, detection.synonyms)),
        )
        for detection, line in zip(detections, lines, strict=True)
    )
    names = dict.fromkeys(name for line in lines for name in line)
    ancestors = (
        AncestorTerms(
            name=name,
            synonyms=tuple(map(identity, detections[numbers[name]].synonyms)) if name in numbers else (),
            classes=(numbers[name],) if name in numbers else (),
        )
        for name in names
    )
    return Taxonomy(classes=tuple(classes), ancestors=tuple(ancestors))
