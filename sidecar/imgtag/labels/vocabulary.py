"""The vocabulary of a model under a policy: its labels and their ancestors, after the rules."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.labels.definitions import LabelDefinition, define_labels
from imgtag.labels.policy import LabelPolicy
from imgtag.types.folding import fold, words
from imgtag.types.labels import Label, identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from imgtag.labels.taxonomy import Taxonomy
    from imgtag.types.detections import Box
    from imgtag.types.labels import Raw
    from imgtag.types.metadata import Entries

MIN_SURE = 0.5
"""Beside a label of at least this confidence, its ancestors are not written on the object."""
_ANCESTOR_PRIORITY = -1000
"""Lower than that of any label: where an object's metadata is short of room, ancestors go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLabels:
    """The part of a document that describes what an image shows; labels and ancestors by confidence."""

    labels: tuple[Label, ...]
    ancestors: tuple[Label, ...]
    category: str | None
    terms: frozenset[str]
    boxes: tuple[tuple[str, Box], ...] = ()
    """Where labels and ancestors are on the image, where the model says so."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Labels and ancestors by name. ``model`` is the id of the model; an empty vocabulary leaves labels as they are.

    ``digest`` changes with the policy and with the ancestors of the classes. Where classes exclude one another
    (``exclusive``), what several of them make of one name adds up; elsewhere the surest of them counts.
    """

    model: str = ""
    digest: str = ""
    policy: LabelPolicy = field(default_factory=LabelPolicy)
    labels: Mapping[str, LabelDefinition] = field(default_factory=dict)
    ancestors: Mapping[str, LabelDefinition] = field(default_factory=dict)
    exclusive: bool = True
    _terms: dict[str, frozenset[str]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def select_labels(self, raw: Raw, *, decimals: int | None = None) -> tuple[Label, ...]:
        """The labels of ``raw``, best first, without those whose confidence rounds to zero."""
        places = self.policy.decimals if decimals is None else decimals
        totals = self._totals(raw, self._labels_by_class)
        sums = [(name, total) for name, total in totals if total >= self.labels[name].threshold]
        selected = sorted(sums, key=lambda item: (-self.labels[item[0]].priority, -item[1]))[: self.policy.top_k]
        by_confidence = sorted(selected, key=lambda item: -item[1])
        labels = (Label(name, round(total, places), self.labels[name].priority) for name, total in by_confidence)
        return tuple(label for label in labels if label.confidence > 0)

    def of(self, raw: Raw) -> Vocabulary:  # noqa: ARG002
        """The labels and ancestors by which these scores are understood."""
        return self

    def ancestors_of(self, raw: Raw, *, decimals: int = 2) -> tuple[Label, ...]:
        """The ancestors of ``raw``, best first; of two with equal confidence the more specific first."""
        sums = self._sum_ancestors(raw)
        return self._ranked(Label(name, round(total, decimals), _ANCESTOR_PRIORITY) for name, total in sums)

    def labels_to_write(self, raw: Raw) -> tuple[Label, ...]:
        """What is written on the object: the labels, and the most specific ancestor that has no sure label below it.

        A sure ancestor takes precedence over a more specific one that is not sure.
        """
        labels = self.select_labels(raw)
        covered = {
            name for label in labels if label.confidence >= MIN_SURE for name in self.labels[label.name].ancestors
        }
        ancestors = [
            label for label in self.ancestors_of(raw, decimals=self.policy.decimals) if label.name not in covered
        ]
        ancestors.sort(key=lambda label: (label.confidence < MIN_SURE, self._breadth(label.name)))
        return (*labels, *ancestors[:1])

    def document_labels(self, entries: Entries) -> DocumentLabels:
        """What a document says about an object's labels: a pure function of the object's entries.

        The ancestors are those of the raw scores; where these were not kept, those of the labels.
        """
        labels = tuple(label for label in entries.labels if label.name not in self.ancestors)
        ancestors = self._ancestors_of_labels(entries.labels) if entries.raw is None else self.ancestors_of(entries.raw)
        best = self._definition(labels[0].name) if labels else None
        names = [label.name for label in (*labels, *ancestors)]
        return DocumentLabels(
            labels=labels,
            ancestors=ancestors,
            category=best.category if best else None,
            terms=frozenset(term for name in names for term in self.terms(name)),
            boxes=tuple(self._places(entries.raw, names)) if entries.raw else (),
        )

    def terms(self, name: str) -> frozenset[str]:
        """The folded terms that find a label or an ancestor: its names and their single words.

        A word that is also the name of an ancestor counts only below that ancestor: a hot dog is not found as a dog.
        """
        definition = self.ancestors.get(name) or self._definition(name)
        if definition is None:
            return frozenset(_terms_of_text(name))
        if name not in self._terms:
            line = frozenset({name, *definition.ancestors})
            terms = (term for text in (name, *definition.synonyms) for term in _terms_of_text(text))
            counted = (term for term in terms if line & self._ancestors_by_term.get(term, line))
            self._terms[name] = frozenset({fold(name), *counted})
        return self._terms[name]

    def names(self) -> frozenset[str]:
        """The folded names and synonyms of everything that is not dropped."""
        definitions = (*self.labels.items(), *self.ancestors.items())
        return frozenset(
            fold(text)
            for name, definition in definitions
            if not definition.dropped
            for text in (name, *definition.synonyms)
        )

    def _places(self, raw: Raw, names: Sequence[str]) -> Iterator[tuple[str, Box]]:
        """Where these labels and ancestors are, by the detections that they are made of."""
        definitions = {name: (self.ancestors.get(name) or self._definition(name)) for name in names}
        for detection in raw.detections:
            own = identity(detection.name)
            for name, definition in definitions.items():
                if own == name or (definition is not None and own in definition.synonyms):
                    yield from ((name, box) for box in detection.boxes)
                    break

    def _definition(self, name: str) -> LabelDefinition | None:
        """The definition of a label by its name, or by a name that it had under earlier rules."""
        return self.labels.get(name) or self._by_synonym.get(name)

    @cached_property
    def _by_synonym(self) -> Mapping[str, LabelDefinition]:
        return {text: definition for definition in self.labels.values() for text in definition.synonyms}

    @cached_property
    def _ancestors_by_term(self) -> Mapping[str, frozenset[str]]:
        ancestors: dict[str, frozenset[str]] = {}
        for name, definition in self.ancestors.items():
            for term in (fold(text) for text in (name, *definition.synonyms)):
                ancestors[term] = ancestors.get(term, frozenset()) | {name}
        return ancestors

    @cached_property
    def _labels_by_class(self) -> Mapping[int, Sequence[str]]:
        """The labels that a class counts for."""
        return _names_by_class(self.labels)

    @cached_property
    def _ancestors_by_class(self) -> Mapping[int, Sequence[str]]:
        """The ancestors that a class counts for."""
        return _names_by_class(self.ancestors)

    @cached_property
    def _sum_ancestors(self) -> Callable[[Raw], Sequence[tuple[str, float]]]:
        """The ancestors of raw scores that reach their thresholds. An object and its document ask for the same."""

        @lru_cache(maxsize=256)
        def sum_ancestors(raw: Raw) -> Sequence[tuple[str, float]]:
            totals = self._totals(raw, self._ancestors_by_class)
            return [(name, total) for name, total in totals if self._reaches(name, total)]

        return sum_ancestors

    def _ancestors_of_labels(self, labels: Iterable[Label]) -> tuple[Label, ...]:
        """The ancestors of labels whose raw scores were not kept, and the ancestors that are among the labels."""
        sums: dict[str, float] = defaultdict(float)
        for label in labels:
            definition = self._definition(label.name)
            for name in definition.ancestors if definition else ():
                sums[name] = self._join(sums[name], label.confidence)
        totals = {name: min(1.0, round(total, 4)) for name, total in sums.items()}
        ancestors = {name: total for name, total in totals.items() if self._reaches(name, total)}
        ancestors |= {label.name: label.confidence for label in labels if label.name in self.ancestors}
        return self._ranked(Label(name, round(total, 2), _ANCESTOR_PRIORITY) for name, total in ancestors.items())

    def _totals(self, raw: Raw, names_by_class: Mapping[int, Sequence[str]]) -> list[tuple[str, float]]:
        """How sure the classes of each name are together."""
        sums: dict[str, float] = defaultdict(float)
        for number, probability in raw.classes:
            for name in names_by_class.get(number, ()):
                sums[name] = self._join(sums[name], probability)
        return [(name, min(1.0, round(total, 4))) for name, total in sums.items()]

    def _join(self, first: float, second: float) -> float:
        return first + second if self.exclusive else max(first, second)

    def _reaches(self, name: str, total: float) -> bool:
        return not self.ancestors[name].dropped and total >= self.ancestors[name].threshold

    def _ranked(self, ancestors: Iterable[Label]) -> tuple[Label, ...]:
        def rank(label: Label) -> tuple[float, tuple[int, int, str]]:
            return -label.confidence, self._breadth(label.name)

        return tuple(sorted((label for label in ancestors if label.confidence > 0), key=rank))

    def _breadth(self, ancestor: str) -> tuple[int, int, str]:
        """The order from specific to general: first by few classes, then by many ancestors above."""
        definition = self.ancestors[ancestor]
        return len(definition.classes), -len(definition.ancestors), ancestor


def _names_by_class(definitions: Mapping[str, LabelDefinition]) -> dict[int, list[str]]:
    names: dict[int, list[str]] = defaultdict(list)
    for name, definition in definitions.items():
        for number in () if definition.dropped else definition.classes:
            names[number].append(name)
    return dict(names)


@lru_cache(maxsize=4096)  # a model has few labels, and every image has some of them
def _terms_of_text(text: str) -> tuple[str, ...]:
    return (fold(text), *words(text))


EMPTY_VOCABULARY = Vocabulary()
"""Leaves labels as they are, for objects whose model is not installed."""


def build_vocabulary(
    model: str, labels: Sequence[str], display: Sequence[str], taxonomy: Taxonomy, policy: LabelPolicy
) -> Vocabulary:
    """The vocabulary of a model, given the identities, shown names and terms of its classes."""
    of_labels, of_ancestors = define_labels(labels, display, taxonomy, policy)
    digest = sha256(f"{policy.digest} {taxonomy.digest}".encode()).hexdigest()[:8]
    return Vocabulary(model=model, digest=digest, policy=policy, labels=of_labels, ancestors=of_ancestors)
