"""What a query means, in plain Python: the reference that every indexer is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import asin, cos, radians, sin, sqrt
from operator import eq, ge, gt, le, lt
from typing import Any, assert_never

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith
from imgtag.types.document import Document
from imgtag.types.folding import fold, normalise

EARTH = 6_371_000.0
"""The radius, metres."""

_FOLDED = frozenset({"terms", "words"})
_ORDERS: Mapping[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le, "=": eq}


def matches(condition: Condition, document: Document) -> bool:
    """Whether the condition is true of the document."""
    match condition:
        case And(parts):
            return all(matches(part, document) for part in parts)
        case Or(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)
        case Is(field, values):
            return any(value in values for value in _texts(document, field))
        case StartsWith(field, prefix):
            return any(value.startswith(prefix) for value in _texts(document, field))
        case Compare() | Score() | Near():
            return _measured(condition, document)
        case _:
            assert_never(condition)


def ranked(query: Query, documents: Iterable[Document]) -> list[Document]:
    """The documents that match, in the order of the query."""
    found = (document for document in documents if matches(query.condition, document))
    return sorted(found, key=lambda document: _rank(query, document))


def facets(documents: Iterable[Document], field: str) -> dict[str, int]:
    """How many of the documents have each value of a field; those of the same ``normalise`` are one value."""
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for document in documents:
        values = {normalise(value): value for value in _values(document, field) if normalise(value)}
        shown = values | shown
        counts.update(values.keys())
    return {shown[value]: count for value, count in counts.items()}


def metres(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The distance of two places on a great circle."""
    north, east = radians(to_latitude - latitude) / 2, radians(to_longitude - longitude) / 2
    chord = sin(north) ** 2 + cos(radians(latitude)) * cos(radians(to_latitude)) * sin(east) ** 2
    return 2 * EARTH * asin(min(1.0, sqrt(chord)))


def _measured(condition: Compare | Score | Near, document: Document) -> bool:
    match condition:
        case Compare(field, order, number):
            return _compares(document.get(field), order, number)
        case Score(label, order, confidence):
            return _compares(document.get("scores", {}).get(label), order, confidence)
        case Near(latitude, longitude, distance):
            place = document.get("_geo")
            return place is not None and metres(place["lat"], place["lng"], latitude, longitude) <= distance
        case _:
            assert_never(condition)


def _compares(value: Any, order: str, number: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _ORDERS[order](value, number)


def _texts(document: Document, field: str) -> Iterator[str]:
    """The values of a field as they are compared; what is nothing then is no value."""
    form = fold if field in _FOLDED else normalise
    return filter(None, map(form, _values(document, field)))


def _values(document: Document, field: str) -> list[str]:
    place, _, name = field.partition(".")
    value = document.get(place, {}).get(name) if place == "meta" and name else document.get(field)
    values = value if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, str)]


def _rank(query: Query, document: Document) -> tuple[Any, ...]:
    scores = document.get("scores", {})
    order = [_falling(scores.get(label)) for label in query.ranking]
    return *order, _falling(document.get("when")), *(document[name].encode() for name in ("key", "bucket", "site"))


def _falling(value: float | None) -> tuple[bool, float]:
    """The greatest first, what is missing last."""
    return value is None, -(value or 0)
