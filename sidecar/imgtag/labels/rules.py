"""What an admin changes about a model's labels: other names, fewer labels, other thresholds."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """How labels and ancestors are changed; None leaves a value to later rules and to the model.

    ``labels`` are the model's own identities, or globs over them. Labels renamed to or merged into the same name become
    one label, whose confidence is the sum of their probabilities.
    """

    labels: tuple[str, ...]
    rename: str | None = None
    merge: str | None = None
    drop: bool | None = None
    threshold: float | None = None
    category: str | None = None
    priority: int | None = None


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the identities or globs matches the name."""
    return name in patterns or _compile(patterns).match(name) is not None


@lru_cache  # each name of a model is compared with them
def _compile(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or r"(?!)")


def rule_for(name: str, rules: Iterable[LabelRule]) -> LabelRule:
    """All rules for a name as one: each value is that of the first matching rule that sets it."""
    matching = [rule for rule in rules if matches(name, rule.labels)]
    if not matching:  # as for most of a model's thousands of names
        return LabelRule(labels=(name,))
    values = {
        field.name: next((value for rule in matching if (value := getattr(rule, field.name)) is not None), None)
        for field in fields(LabelRule)
        if field.name != "labels"
    }
    return LabelRule(labels=(name,), **values)
