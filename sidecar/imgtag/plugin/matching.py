"""What a query means, in plain Python: the reference that every indexer is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import asin, cos, radians, sin, sqrt
from operator import eq, ge, gt, le, lt
from typing import Any, assert_never

from imgtag.plugin.indexer import field_values
from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith
from imgtag.types.document import Document

EARTH_RADIUS = 6_371_000.0
"""Metres."""

_ORDERS: Mapping[str, Callable[[float, float], bool]] = {">": gt, ">=": ge, "<": lt, "<=": le, "=": eq}


def matches(condition: Condition, document: Document) -> bool:
    """Whether the condition is true of the document; a leaf is false where the document lacks its field."""
    match condition:
        case And(parts):
            return all(matches(part, document) for part in parts)
        case Or(parts):
            return any(matches(part, document) for part in parts)
        case Not(part):
            return not matches(part, document)
        case Is(field, values):
            return any(value in values for value in field_values(document, field))
        case StartsWith(field, prefix):
            return any(value.startswith(prefix) for value in field_values(document, field))
        case Compare() | Score() | Near():
            return _measures(condition, document)
        case _:
            assert_never(condition)


def rank_documents(query: Query, documents: Iterable[Document]) -> list[Document]:
    """The documents that match, in the order of the query."""
    hits = (document for document in documents if matches(query.condition, document))
    return sorted(hits, key=lambda document: _rank(query, document))


def metres(latitude: float, longitude: float, to_latitude: float, to_longitude: float) -> float:
    """The distance between two places on a great circle."""
    north, east = radians(to_latitude - latitude) / 2, radians(to_longitude - longitude) / 2
    chord = sin(north) ** 2 + cos(radians(latitude)) * cos(radians(to_latitude)) * sin(east) ** 2
    return 2 * EARTH_RADIUS * asin(min(1.0, sqrt(chord)))


def _measures(condition: Compare | Score | Near, document: Document) -> bool:
    match condition:
        case Compare(field, order, number):
            return _compare(document.get(field), order, number)
        case Score(label, order, confidence):
            return _compare(document.get("scores", {}).get(label), order, confidence)
        case Near(latitude, longitude, distance):
            place = document.get("_geo")
            return place is not None and metres(place["lat"], place["lng"], latitude, longitude) <= distance


def _compare(value: Any, order: str, number: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _ORDERS[order](value, number)


def _rank(query: Query, document: Document) -> tuple[Any, ...]:
    scores = document.get("scores", {})
    order = [_descending(scores.get(label)) for label in query.ranking]
    names = (document[name].encode() for name in ("key", "bucket", "site"))
    return *order, _descending(document.get("when")), *names


def _descending(value: float | None) -> tuple[bool, float]:
    """The greatest first; a document that lacks the value comes last."""
    return value is None, -(value or 0)
