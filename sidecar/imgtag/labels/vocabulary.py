"""What a model can say under a policy: its labels and their ancestors, after the rules."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.labels.definitions import LabelDefinition, meanings
from imgtag.labels.policy import LabelPolicy
from imgtag.types.folding import fold, words
from imgtag.types.labels import Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imgtag.labels.taxonomy import Taxonomy
    from imgtag.types.labels import Raw
    from imgtag.types.metadata import Entries

SURE = 0.5
"""Where a label is as sure as this, its ancestors are not written on the object."""
_LEAST = -1000
"""Priority of an ancestor on an object: where room is short it goes before any label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLabels:
    """What a document says of what is on a picture; labels and ancestors by confidence."""

    labels: tuple[Label, ...]
    ancestors: tuple[Label, ...]
    category: str | None
    terms: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Labels and ancestors by name. ``model`` is the id of the model; an empty vocabulary takes labels as they are.

    ``digest`` changes with the policy and with what is above the classes.
    """

    model: str = ""
    digest: str = ""
    policy: LabelPolicy = field(default_factory=LabelPolicy)
    labels: Mapping[str, LabelDefinition] = field(default_factory=dict)
    ancestors: Mapping[str, LabelDefinition] = field(default_factory=dict)
    _terms: dict[str, frozenset[str]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def said(self, raw: Raw, *, decimals: int | None = None) -> tuple[Label, ...]:
        """The labels of ``raw``, best first; what rounds to zero is none."""
        places = self.policy.decimals if decimals is None else decimals
        sums = [(name, total) for name, total in self._sums(raw, self.labels) if total >= self.labels[name].threshold]
        worth = sorted(sums, key=lambda item: (-self.labels[item[0]].priority, -item[1]))[: self.policy.top_k]
        best = sorted(worth, key=lambda item: -item[1])
        labels = (Label(name, round(total, places), self.labels[name].priority) for name, total in best)
        return tuple(label for label in labels if label.confidence > 0)

    def above(self, raw: Raw, *, decimals: int = 2) -> tuple[Label, ...]:
        """The ancestors of ``raw``, best first, of two alike the more special."""
        kept = ((name, total) for name, total in self._sums(raw, self.ancestors) if self._keeps(name, total))
        return self._ranked(Label(name, round(total, decimals), _LEAST) for name, total in kept)

    def written(self, raw: Raw) -> tuple[Label, ...]:
        """What stands on the object: the labels, and of the ancestors without a sure label the most special one.

        One that is sure itself goes before.
        """
        labels = self.said(raw)
        sure = {name for label in labels if label.confidence >= SURE for name in self.labels[label.name].ancestors}
        unsaid = [label for label in self.above(raw, decimals=self.policy.decimals) if label.name not in sure]
        chosen = sorted(unsaid, key=lambda label: (label.confidence < SURE, self._breadth(label.name)))
        return (*labels, *chosen[:1])

    def told(self, entries: Entries) -> DocumentLabels:
        """What an object says by its entries: a pure function of them.

        Ancestors are those of its raw scores; where these were not kept, those of its labels.
        """
        labels = tuple(label for label in entries.labels if label.name not in self.ancestors)
        ancestors = self._above_labels(entries.labels) if entries.raw is None else self.above(entries.raw)
        best = self._label(labels[0].name) if labels else None
        names = [label.name for label in (*labels, *ancestors)]
        return DocumentLabels(
            labels=labels,
            ancestors=ancestors,
            category=best.category if best else None,
            terms=frozenset(term for name in names for term in self.terms(name)),
        )

    def terms(self, name: str) -> frozenset[str]:
        """What a label or ancestor is found by, folded: its names and their single words.

        A word that is the name of an ancestor counts only below that ancestor: no hot dog is a dog.
        """
        meaning = self.ancestors.get(name) or self._label(name)
        if meaning is None:
            return frozenset(_folded(name))
        if name not in self._terms:
            self._terms[name] = frozenset({fold(name), *self._words(name, meaning)})
        return self._terms[name]

    def names(self) -> frozenset[str]:
        """All names that it gives, folded, with what else these are called."""
        given = [*self.labels.items(), *self.ancestors.items()]
        return frozenset(fold(text) for name, meaning in given if meaning.given for text in (name, *meaning.synonyms))

    def _label(self, name: str) -> LabelDefinition | None:
        """A label by its name, or by the one that it had before the rules were these."""
        return self.labels.get(name) or self._formerly.get(name)

    @cached_property
    def _formerly(self) -> Mapping[str, LabelDefinition]:
        return {text: meaning for meaning in self.labels.values() for text in meaning.synonyms}

    def _words(self, name: str, meaning: LabelDefinition) -> Iterator[str]:
        above = frozenset({name, *meaning.ancestors})
        for text in (name, *meaning.synonyms):
            yield from (word for word in _folded(text) if above & self._called.get(word, above))

    @cached_property
    def _called(self) -> Mapping[str, frozenset[str]]:
        """The ancestors that go by a name."""
        called: dict[str, frozenset[str]] = {}
        for name, meaning in self.ancestors.items():
            for word in (fold(text) for text in (name, *meaning.synonyms)):
                called[word] = called.get(word, frozenset()) | {name}
        return called

    @cached_property
    def _by_class(self) -> Mapping[int, frozenset[str]]:
        """The names of labels and ancestors that a class counts for."""
        found: dict[int, set[str]] = {}
        for name, meaning in (*self.labels.items(), *self.ancestors.items()):
            for number in meaning.classes if meaning.given else ():
                found.setdefault(number, set()).add(name)
        return {number: frozenset(names) for number, names in found.items()}

    def _sums(self, raw: Raw, among: Mapping[str, LabelDefinition]) -> list[tuple[str, float]]:
        sums: dict[str, float] = defaultdict(float)
        for number, probability in raw.classes:
            for name in self._by_class.get(number, frozenset()) & among.keys():
                sums[name] += probability
        return [(name, min(1.0, round(total, 4))) for name, total in sums.items()]

    def _above_labels(self, labels: Iterable[Label]) -> tuple[Label, ...]:
        """The ancestors of labels, where the scores of all classes were not kept, and those that stand among them."""
        found: dict[str, float] = defaultdict(float)
        for label in labels:
            meaning = self._label(label.name)
            for name in meaning.ancestors if meaning else ():
                found[name] += label.confidence
        sums = {name: min(1.0, round(total, 4)) for name, total in found.items()}
        kept = {name: total for name, total in sums.items() if self._keeps(name, total)}
        kept |= {label.name: label.confidence for label in labels if label.name in self.ancestors}
        return self._ranked(Label(name, round(total, 2), _LEAST) for name, total in kept.items())

    def _keeps(self, name: str, total: float) -> bool:
        return self.ancestors[name].given and total >= self.ancestors[name].threshold

    def _ranked(self, ancestors: Iterable[Label]) -> tuple[Label, ...]:
        def place(label: Label) -> tuple[float, tuple[int, int, str]]:
            return -label.confidence, self._breadth(label.name)

        return tuple(sorted((label for label in ancestors if label.confidence > 0), key=place))

    def _breadth(self, ancestor: str) -> tuple[int, int, str]:
        """What orders ancestors from the special to the general: few classes, then much above it."""
        meaning = self.ancestors[ancestor]
        return len(meaning.classes), -len(meaning.ancestors), ancestor


@lru_cache(maxsize=4096)
def _folded(text: str) -> tuple[str, ...]:
    """A text with its single words: a model has few labels, and every picture has some of them."""
    return (fold(text), *words(text))


PLAIN = Vocabulary()
"""Takes labels as they are, where their model is not at hand."""


def vocabulary(
    model: str, labels: Sequence[str], display: Sequence[str], words: Taxonomy, policy: LabelPolicy
) -> Vocabulary:
    """The vocabulary of a model whose classes have these identities, are shown so and have these words."""
    below, above = meanings(labels, display, words, policy)
    digest = sha256(f"{policy.digest} {words.digest}".encode()).hexdigest()[:8]
    return Vocabulary(model=model, digest=digest, policy=policy, labels=below, ancestors=above)
