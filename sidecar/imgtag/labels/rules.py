"""What an operator would have otherwise than the model: other names, fewer labels, other thresholds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """What is done with labels and ancestors; what is None is left to later rules and to the model.

    ``labels`` are the model's own identities, or globs over them. Labels that are renamed to or merged into the same
    name are one, with the sum of their probabilities.
    """

    labels: tuple[str, ...]
    rename: str | None = None
    merge: str | None = None
    drop: bool | None = None
    threshold: float | None = None
    category: str | None = None
    priority: int | None = None


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the identities or globs is this name's."""
    return any(pattern == name or fnmatchcase(name, pattern) for pattern in patterns)


def rule_for(name: str, rules: Iterable[LabelRule]) -> LabelRule:
    """All that the rules say of a name: of each thing, what the first says that says it."""
    matching = [rule for rule in rules if matches(name, rule.labels)]
    said = {
        field.name: next((value for rule in matching if (value := getattr(rule, field.name)) is not None), None)
        for field in fields(LabelRule)
        if field.name != "labels"
    }
    return LabelRule(labels=(name,), **said)
