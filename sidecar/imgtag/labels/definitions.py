"""From a model's classes and an operator's rules to the labels and ancestors that are given."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imgtag.labels.rules import LabelRule, matches, rule_for
from imgtag.types.labels import identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imgtag.labels.policy import LabelPolicy
    from imgtag.labels.taxonomy import ClassTerms, Taxonomy

KEPT = 0.30
"""The least confidence of an ancestor."""


@dataclass(frozen=True, kw_only=True)
class LabelDefinition:
    """A label or an ancestor: how it is shown, from when it is given, what is above it, what else it is called.

    ``classes`` are the numbers of those whose probabilities it sums.
    """

    display: str
    threshold: float
    given: bool = True
    priority: int = 0
    category: str | None = None
    ancestors: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    classes: frozenset[int] = frozenset()


def meanings(
    labels: Sequence[str], display: Sequence[str], words: Taxonomy, policy: LabelPolicy
) -> tuple[dict[str, LabelDefinition], dict[str, LabelDefinition]]:
    """Labels and ancestors by their names. Where a label has the name of an ancestor, there is no such ancestor."""
    admitted = [
        number for number, label in enumerate(labels) if _admitted((label, *words.of(number).ancestors), policy)
    ]
    ruled = [(number, rule_for(labels[number], policy.rules)) for number in admitted]
    below = _merged(
        (_name(rule), _of_class(number, rule, display[number], words.of(number), policy.threshold))
        for number, rule in ruled
    )
    rules = {ancestor.name: rule_for(ancestor.name, policy.rules) for ancestor in words.ancestors}
    names = {old: _name(rule) for old, rule in rules.items() if _name(rule) not in below}
    above = _merged((names[old], _of_ancestor(rules[old], words, admitted)) for old in names)
    return dict(_under(below, names)), dict(_under(above, names))


def _admitted(names: Sequence[str], policy: LabelPolicy) -> bool:
    """Whether a class counts at all, by its label and its ancestors."""
    allowed = not policy.allow or any(matches(name, policy.allow) for name in names)
    return allowed and not any(matches(name, policy.deny) for name in names)


def _name(rule: LabelRule) -> str:
    return identity(rule.merge or rule.rename or rule.labels[0])


def _of_class(number: int, rule: LabelRule, display: str, words: ClassTerms, threshold: float) -> LabelDefinition:
    return LabelDefinition(
        display=rule.merge or rule.rename or display,
        threshold=threshold if rule.threshold is None else rule.threshold,
        given=not rule.drop,
        priority=rule.priority or 0,
        category=rule.category or words.category,
        ancestors=words.ancestors,
        synonyms=(*rule.labels, display, *words.synonyms),
        classes=frozenset({number}),
    )


def _of_ancestor(rule: LabelRule, words: Taxonomy, admitted: Iterable[int]) -> LabelDefinition:
    (name,) = rule.labels
    classes = [number for number in admitted if name in words.of(number).ancestors]
    lines = [words.of(number).ancestors for number in classes]
    common = Counter(above for line in lines for above in line[line.index(name) + 1 :])
    return LabelDefinition(
        display=rule.merge or rule.rename or name,
        threshold=KEPT if rule.threshold is None else rule.threshold,
        given=not rule.drop,
        ancestors=tuple(above for above, count in common.items() if count == len(classes)),
        synonyms=next(ancestor.synonyms for ancestor in words.ancestors if ancestor.name == name) + rule.labels,
        classes=frozenset(classes),
    )


def _merged(parts: Iterable[tuple[str, LabelDefinition]]) -> dict[str, LabelDefinition]:
    groups: dict[str, list[LabelDefinition]] = {}
    for name, part in parts:
        groups.setdefault(name, []).append(part)
    return {name: _one(group) for name, group in groups.items()}


def _one(parts: Sequence[LabelDefinition]) -> LabelDefinition:
    """One label of several classes; those that are dropped add nothing to it."""
    given = [part for part in parts if part.given] or parts
    return replace(
        given[0],
        threshold=min(part.threshold for part in given),
        priority=max(part.priority for part in given),
        category=next((part.category for part in given if part.category), None),
        ancestors=tuple(name for name in given[0].ancestors if all(name in part.ancestors for part in given)),
        synonyms=tuple(dict.fromkeys(text for part in given for text in part.synonyms)),
        classes=frozenset(number for part in given for number in part.classes),
    )


def _under(table: Mapping[str, LabelDefinition], names: Mapping[str, str]) -> Iterator[tuple[str, LabelDefinition]]:
    """With what is above by its new name, and without each thing's own name among what else it is called."""
    for name, meaning in table.items():
        above = (names[old] for old in meaning.ancestors if old in names)
        others = (text for text in meaning.synonyms if text != name)
        yield name, replace(meaning, ancestors=tuple(dict.fromkeys(above)), synonyms=tuple(others))
