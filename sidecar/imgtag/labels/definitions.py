"""From a model's classes and an admin's rules to the definitions of labels and ancestors."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imgtag.labels.rules import LabelRule, matches, rule_for
from imgtag.types.labels import identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imgtag.labels.policy import LabelPolicy
    from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy

MIN_ANCESTOR_CONFIDENCE = 0.30
"""The least confidence of an ancestor for which no rule sets a threshold."""


@dataclass(frozen=True, kw_only=True)
class LabelDefinition:
    """How a label or an ancestor is shown, when it is assigned, which ancestors it has, what else it is called.

    ``classes`` are the numbers of the model's classes whose probabilities it sums. A ``dropped`` one is never assigned.
    """

    display: str
    threshold: float
    dropped: bool = False
    priority: int = 0
    category: str | None = None
    ancestors: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    classes: frozenset[int] = frozenset()


def define_labels(
    labels: Sequence[str], display: Sequence[str], taxonomy: Taxonomy, policy: LabelPolicy
) -> tuple[dict[str, LabelDefinition], dict[str, LabelDefinition]]:
    """Return labels and ancestors by name. Where a label has the name of an ancestor, that ancestor is left out."""
    admitted = []  # the classes that count at all, by their labels and their ancestors
    for number, label in enumerate(labels):
        names = (label, *taxonomy.class_terms(number).ancestors)
        allowed = not policy.allow or any(matches(name, policy.allow) for name in names)
        if allowed and not any(matches(name, policy.deny) for name in names):
            admitted.append(number)
    themselves = {number for ancestor in taxonomy.ancestors for number in ancestor.classes}
    class_rules = [(number, rule_for(labels[number], policy.rules)) for number in admitted if number not in themselves]
    of_labels = _merge(
        (_name(rule), _define_class(number, rule, display[number], taxonomy.class_terms(number), policy.threshold))
        for number, rule in class_rules
    )
    rules = {ancestor: rule_for(ancestor.name, policy.rules) for ancestor in taxonomy.ancestors}
    new_names = {old.name: _name(rule) for old, rule in rules.items() if _name(rule) not in of_labels}
    classes = defaultdict(list)  # by the names of their ancestors
    for number in admitted:
        for name in taxonomy.class_terms(number).ancestors:
            classes[name].append(number)
    for ancestor in taxonomy.ancestors:
        classes[ancestor.name].extend(sorted({*ancestor.classes} & {*admitted}) if ancestor.classes else ())
    of_ancestors = _merge(
        (new_names[old.name], _define_ancestor(old, rule, taxonomy, classes[old.name]))
        for old, rule in rules.items()
        if old.name in new_names
    )
    return dict(_rename_ancestors(of_labels, new_names)), dict(_rename_ancestors(of_ancestors, new_names))


def _name(rule: LabelRule) -> str:
    return identity(rule.merge or rule.rename or rule.labels[0])


def _define_class(number: int, rule: LabelRule, display: str, terms: ClassTerms, threshold: float) -> LabelDefinition:
    return LabelDefinition(
        display=rule.merge or rule.rename or display,
        threshold=threshold if rule.threshold is None else rule.threshold,
        dropped=bool(rule.drop),
        priority=rule.priority or 0,
        category=rule.category or terms.category,
        ancestors=terms.ancestors,
        synonyms=(*rule.labels, display, *terms.synonyms),
        classes=frozenset({number}),
    )


def _define_ancestor(
    ancestor: AncestorTerms, rule: LabelRule, taxonomy: Taxonomy, classes: Sequence[int]
) -> LabelDefinition:
    name, lines = ancestor.name, [taxonomy.class_terms(number).ancestors for number in classes]
    # Above an ancestor stands only what stands above it in every class: a line may branch.
    counts = Counter(above for line in lines for above in (line[line.index(name) + 1 :] if name in line else line))
    return LabelDefinition(
        display=rule.merge or rule.rename or ancestor.name,
        threshold=MIN_ANCESTOR_CONFIDENCE if rule.threshold is None else rule.threshold,
        dropped=bool(rule.drop),
        ancestors=tuple(above for above, count in counts.items() if count == len(classes)),
        synonyms=ancestor.synonyms + rule.labels,
        classes=frozenset(classes),
    )


def _merge(definitions: Iterable[tuple[str, LabelDefinition]]) -> dict[str, LabelDefinition]:
    """One definition for each name; dropped classes add nothing to a name that others keep."""
    groups: dict[str, list[LabelDefinition]] = {}
    for name, definition in definitions:
        groups.setdefault(name, []).append(definition)
    merged = {}
    for name, group in groups.items():
        parts = [part for part in group if not part.dropped] or group
        merged[name] = parts[0] if len(parts) == 1 else _join(parts)
    return merged


def _join(parts: Sequence[LabelDefinition]) -> LabelDefinition:
    return replace(
        parts[0],
        threshold=min(part.threshold for part in parts),
        priority=max(part.priority for part in parts),
        category=next((part.category for part in parts if part.category), None),
        ancestors=tuple(name for name in parts[0].ancestors if all(name in part.ancestors for part in parts)),
        synonyms=tuple(text for part in parts for text in part.synonyms),
        classes=frozenset(number for part in parts for number in part.classes),
    )


def _rename_ancestors(
    definitions: Mapping[str, LabelDefinition], new_names: Mapping[str, str]
) -> Iterator[tuple[str, LabelDefinition]]:
    """Give ancestors the names that rules gave them, and leave its own name and repetitions out of its synonyms."""
    for name, definition in definitions.items():
        ancestors = (new_names[old] for old in definition.ancestors if old in new_names)
        synonyms = dict.fromkeys(text for text in definition.synonyms if text != name)
        yield name, replace(definition, ancestors=tuple(dict.fromkeys(ancestors)), synonyms=tuple(synonyms))
