"""The rules of `filterableAttributes`. crates/milli/src/filterable_attributes_rules.rs, attribute_patterns.rs"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fake_meilisearch.errors import Refusal


@dataclass(frozen=True)
class Features:
    """What may be done with a field."""

    facet_search: bool = True
    equality: bool = True
    comparison: bool = True


class Rules:
    """Tried in order; the first that matches decides. A plain name covers its children and allows everything."""

    def __init__(self, rules: Sequence[Any]) -> None:
        self._rules = rules

    def features(self, name: str) -> Features | None:
        """What may be done with a field; None: nothing."""
        for rule in self._rules:
            if isinstance(rule, str):
                if rule in {"*", name} or name.startswith(f"{rule}."):
                    return Features()
            elif any(matches(pattern, name) for pattern in rule["attributePatterns"]):
                return _features(rule.get("features", {}))
        return None

    def filterable(self, name: str) -> Features:
        """What a filter may do. Raises Refusal."""
        found = self.features(name)
        if found is None or not (found.equality or found.comparison):
            raise Refusal("filter", f"Attribute `{name}` is not filterable.")
        return found

    @property
    def places(self) -> bool:
        """Only the plain name switches places on."""
        return "_geo" in self._rules


def matches(pattern: str, name: str) -> bool:
    """`*` at the beginning, at the end, or both."""
    if pattern == "*":
        return True
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern[1:-1] in name
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name.endswith(pattern[1:]) if pattern.startswith("*") else name == pattern


def _features(given: Any) -> Features:
    filters = given.get("filter", {})
    return Features(given.get("facetSearch", False), filters.get("equality", True), filters.get("comparison", False))
