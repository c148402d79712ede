"""What the classes of a model are called besides their labels, and what they are kinds of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTerms:
    """The words of one class: all are identities; ancestors stand from the special to the general."""

    category: str | None = None
    ancestors: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AncestorWords:
    """The words of what stands above classes."""

    name: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The words of a model, by class number; a model that has none leaves them empty."""

    classes: tuple[ClassTerms, ...] = ()
    ancestors: tuple[AncestorWords, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Eight hex digits that change with the ancestors of any class; empty where there are none."""
        above = [words.ancestors for words in self.classes]
        return sha256(json.dumps(above).encode()).hexdigest()[:8] if any(above) else ""

    def of(self, number: int) -> ClassTerms:
        """The words of a class."""
        return self.classes[number] if number < len(self.classes) else ClassTerms()
