"""A query as every indexer gets it: an algebra of few conditions, with all values ready to compare.

A condition is true or false of a document, never unknown: a leaf is false where its field is absent,
so that the negation of what is absent is true. Each leaf is one filter expression of Meilisearch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Order: TypeAlias = Literal[">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts; without parts, every document."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the parts; without parts, no document."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Every document that the part does not hold for."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Is:
    """A value of the field is one of ``values``, compared as ``normalise`` (``terms``, ``words``: ``fold``) gives them.

    ``field`` is a name of the document, a user-metadata entry as ``meta.NAME``.
    """

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartsWith:
    """A value of the field begins so, compared as in ``Is``; an empty prefix: the field is there."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Compare:
    """The number in the field is so; times are seconds since 1970."""

    field: str
    order: Order | Literal["="]
    number: float


@dataclass(frozen=True, slots=True)
class Score:
    """The confidence of a label or an ancestor, which has two decimals, is so."""

    label: str
    order: Order
    confidence: float


@dataclass(frozen=True, slots=True)
class Near:
    """The picture was taken within so many metres of a place (great circle, earth of 6,371 km)."""

    latitude: float
    longitude: float
    metres: float


Condition: TypeAlias = And | Or | Not | Is | StartsWith | Compare | Score | Near


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for.

    Hits come by the confidence of the labels in ``ranking``, the first of them first, then newest
    first (``when``), then by ``key``; where a document lacks one of these it comes last. ``mentions``
    are the words and labels that were named, negated ones too, for "did you mean".
    """

    text: str
    condition: Condition
    ranking: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()

    def within(self, condition: Condition) -> Query:
        """Return the query for only those documents that a further condition holds for."""
        return replace(self, condition=And((self.condition, condition)))
