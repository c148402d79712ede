"""The meaning of a condition, written down plainly: one document at a time, no index."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import cache
from math import atan2, cos, radians, sin, sqrt
from typing import Any

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith
from imgtag.types.folding import fold, normalise

# The same few hundred texts are compared with every query.
_FOLD, _NORMALISE = cache(fold), cache(normalise)
ORDERS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq}


def holds(condition: Condition, document: dict[str, Any]) -> bool:  # noqa: PLR0911  # one for each kind
    match condition:
        case And(parts):
            return all(holds(part, document) for part in parts)
        case Or(parts):
            return any(holds(part, document) for part in parts)
        case Not(part):
            return not holds(part, document)
        case Is(field, values):
            return any(value in values for value in _values(document, field))
        case StartsWith(field, prefix):
            return any(value.startswith(prefix) for value in _values(document, field))
        case Compare(field, order, number):
            return field in document and ORDERS[order](document[field], number)
        case Score(label, order, confidence):
            score = document.get("scores", {}).get(label)
            return score is not None and ORDERS[order](score, confidence)
        case Near(latitude, longitude, metres):
            place = document.get("_geo")
            return place is not None and _metres(latitude, longitude, place["lat"], place["lng"]) <= metres


def answer(query: Query, documents: Sequence[dict[str, Any]]) -> list[str]:
    """The ids of what a query finds, in order."""
    hits = [document for document in documents if holds(query.condition, document)]
    hits.sort(key=lambda document: (document["key"].encode(), document["bucket"], document["site"]))
    hits.sort(key=lambda document: -document.get("when", float("-inf")))
    for label in reversed(query.ranking):
        hits.sort(key=lambda document: -document.get("scores", {}).get(label, -1.0))
    return [document["id"] for document in hits]


def _values(document: dict[str, Any], field: str) -> list[str]:
    top, _, name = field.partition(".")
    value = document.get(top, {}).get(name) if name else document.get(field)
    texts = [] if value is None else [value] if isinstance(value, str) else value
    same = _FOLD if field in {"terms", "words"} else _NORMALISE
    return [same(text) for text in texts if same(text)]


def _metres(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    north, other = radians(latitude), radians(other_latitude)
    east = radians(other_longitude - longitude)
    square = sin((other - north) / 2) ** 2 + cos(north) * cos(other) * sin(east / 2) ** 2
    return 6_371_000 * 2 * atan2(sqrt(square), sqrt(max(0.0, 1 - square)))
