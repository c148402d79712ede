"""What the classes of a model are kinds of, and what else they are called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTerms:
    """The terms of one class, all of them identities; ancestors run from the specific to the general."""

    category: str | None = None
    ancestors: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AncestorTerms:
    """The name of an ancestor and what else it is called.

    ``classes`` are the classes that are this ancestor itself, which only a model of an open vocabulary has.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Taxonomy:
    """The terms of a model's classes, by class number, and of their ancestors; empty where a model has none."""

    classes: tuple[ClassTerms, ...] = ()
    ancestors: tuple[AncestorTerms, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Eight hex digits that change with the ancestors of any class; empty where no class has one."""
        ancestors = [terms.ancestors for terms in self.classes]
        return sha256(json.dumps(ancestors).encode()).hexdigest()[:8] if any(ancestors) else ""

    def class_terms(self, number: int) -> ClassTerms:
        """The terms of a class."""
        return self.classes[number] if number < len(self.classes) else ClassTerms()
