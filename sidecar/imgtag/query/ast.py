"""A query as every indexer gets it: an algebra of few conditions, with all values ready to compare.

A condition is true or false of a document, never unknown: a leaf is false where the document lacks its field, and its
negation is then true. Each leaf is one filter expression of Meilisearch.
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
    """Every document for which the part is false."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Is:
    """A value of the field is one of ``values``, which are normalised (for ``terms`` and ``words``: folded).

    ``field`` is a name of the document, or ``meta.NAME`` for an entry of its user metadata. A field may hold a list;
    one of its values is enough. Without ``values``, and for an empty value, it is false.
    """

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartsWith:
    """A value of the field has this prefix, compared as in ``Is``. An empty prefix: the field has a value."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Compare:
    """The number in the field is greater, less or equal. Times are seconds since 1970, negative before."""

    field: str
    order: Order | Literal["="]
    number: float


@dataclass(frozen=True, slots=True)
class Score:
    """The confidence of a label or an ancestor (``scores`` of the document, two decimals) is greater or less."""

    label: str
    order: Order
    confidence: float


@dataclass(frozen=True, slots=True)
class Near:
    """The picture was taken at most ``metres`` from a place (great circle, earth radius 6,371 km)."""

    latitude: float
    longitude: float
    metres: float


Condition: TypeAlias = And | Or | Not | Is | StartsWith | Compare | Score | Near


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for.

    Hits are ordered by the confidence of the first label in ``ranking``, greatest first, then of the next ones; then
    newest first (``when``); then by the UTF-8 bytes of ``key``, ``bucket`` and ``site``. A document that lacks one of
    these comes last. ``mentions`` are the words and labels that the query names, negated ones too, for "did you mean".
    """

    text: str
    condition: Condition
    ranking: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()

    def within(self, condition: Condition) -> Query:
        """Return this query, limited to documents that meet another condition."""
        return replace(self, condition=And((self.condition, condition)))
