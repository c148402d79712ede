"""The condition of a query as one SQL condition on `documents`; everything that a user wrote is a bound parameter.

Each leaf is 0 or 1, never NULL, so that NOT finds what lacks the field.
"""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, cos, degrees, hypot, radians, sin, sqrt
from typing import assert_never

from imgtag.plugin import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith
from imgtag_sqlite.schema import NUMBERS, SEGMENT_BITS

COLUMNS = {"key": "compared_key", "title": "title", "status": "status"}
ORDERS = {">": ">", ">=": ">=", "<": "<", "<=": "<=", "=": "="}
EARTH_RADIUS = 6_371_000.0  # metres


@dataclass(frozen=True, slots=True)
class Sql:
    """SQL text and the parameters of its question marks."""

    text: str
    parameters: tuple[str | float, ...] = ()


def condition(node: Condition) -> Sql:
    """Translate a condition."""
    match node:
        case And(parts):
            return _join("AND", [condition(part) for part in parts]) if parts else Sql("1")
        case Or(parts):
            return _join("OR", [condition(part) for part in parts]) if parts else Sql("0")
        case Not(part):
            inner = condition(part)
            return Sql(f"NOT {inner.text}", inner.parameters)
        case Is(field, values):
            return _is(field, tuple(value for value in values if value))
        case StartsWith(field, prefix):
            return _starts_with(field, prefix)
        case Compare() | Score() | Near():
            return _measure(node)
        case _:
            assert_never(node)


def _join(word: str, parts: Sequence[Sql]) -> Sql:
    # In halves: SQLite parses `a AND b AND c` as a tree as deep as it is long, and takes a depth of 1,000.
    # https://www.sqlite.org/limits.html#max_expr_depth
    if len(parts) == 1:
        return parts[0]
    left, right = _join(word, parts[: len(parts) // 2]), _join(word, parts[len(parts) // 2 :])
    return Sql(f"({left.text} {word} {right.text})", left.parameters + right.parameters)


def _is(field: str, values: tuple[str, ...]) -> Sql:
    marks = ", ".join("?" * len(values))
    if not values:
        return Sql("0")
    if column := COLUMNS.get(field):
        return Sql(f"documents.{column} IN ({marks})", values)
    return _among(f"field = ? AND value IN ({marks})", field, *values)


def _starts_with(field: str, prefix: str) -> Sql:
    end = after(prefix)
    bounds, values = (">= ? AND {0} < ?", (prefix, end)) if end else (">= ? AND {0} > ''", (prefix,))
    if column := COLUMNS.get(field):
        return Sql(f"(documents.{column} {bounds.format(f'documents.{column}')})", values)
    return _among(f"field = ? AND value {bounds.format('value')}", field, *values)


def _measure(node: Compare | Score | Near) -> Sql:
    match node:
        case Compare(field, order, number) if field in NUMBERS:
            column = f'documents."{field}"'
            return Sql(f"({column} {ORDERS[order]} ? AND {column} IS NOT NULL)", (number,))
        case Compare():
            return Sql("0")
        case Score(label, order, confidence):
            return _among(f"field = 'scores' AND value = ? AND score {ORDERS[order]} ?", label, confidence)
        case Near(latitude, longitude, distance):
            # The band of latitude is found by an index, segment by segment; the distance is then computed for what lies
            # in it. Without the `+`, SQLite would convert the expression to the type of the column, and use no index.
            reach = degrees(distance / EARTH_RADIUS) + 1e-6
            text = (
                f"((documents.row >> {SEGMENT_BITS}) IN (SELECT +id FROM segments)"
                " AND documents.latitude IS NOT NULL AND documents.latitude BETWEEN ? AND ?"
                " AND metres(documents.latitude, documents.longitude, ?, ?) <= ?)"
            )
            return Sql(text, (latitude - reach, latitude + reach, latitude, longitude, distance))


def _among(posted: str, *parameters: str | float) -> Sql:
    return Sql(f"documents.row IN (SELECT row FROM posted WHERE {posted})", parameters)


def after(prefix: str) -> str:
    """Return the least text greater than every text with this prefix; empty where there is none."""
    stem = prefix.rstrip(chr(sys.maxunicode))
    if not stem:
        return ""
    code = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if code == 0xD800 else code)  # no text holds a surrogate


def metres(latitude: float | None, longitude: float | None, to_latitude: float, to_longitude: float) -> float | None:
    """Return the distance on a great circle; None where the first place is unknown."""
    if latitude is None or longitude is None:
        return None
    north, east = radians(to_latitude - latitude) / 2, radians(to_longitude - longitude) / 2
    chord = hypot(sin(north), sin(east) * sqrt(cos(radians(latitude)) * cos(radians(to_latitude))))
    return 2 * EARTH_RADIUS * asin(min(1.0, chord))
