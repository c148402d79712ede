"""The condition of a query as one SQL condition on `documents`; all that a user wrote is a bound parameter.

Each leaf is 0 or 1, never NULL, so that NOT finds what lacks the field.
"""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith
from imgtag_sqlite import token
from imgtag_sqlite.distance import band
from imgtag_sqlite.schema import NUMBERS

COLUMNS = {"key": "compared_key", "title": "title", "status": "status"}
TEXTS = {"terms", "words"}
ORDERS = {">": ">", ">=": ">=", "<": "<", "<=": "<=", "=": "="}
LAST = 0x10FFFF


@dataclass(frozen=True, slots=True)
class Sql:
    """SQL text and the parameters of its question marks."""

    text: str
    parameters: tuple[str | float, ...] = ()


def condition(node: Condition) -> Sql:
    """Translate a condition."""
    match node:
        case And(parts):
            return _joined("AND", [condition(part) for part in parts]) if parts else Sql("1")
        case Or(parts):
            return _joined("OR", [condition(part) for part in parts]) if parts else Sql("0")
        case Not(part):
            inner = condition(part)
            return Sql(f"NOT {inner.text}", inner.parameters)
        case Is(field, values):
            return _is(field, tuple(value for value in values if value))
        case StartsWith(field, prefix):
            return _starts_with(field, prefix)
        case Compare() | Score() | Near():
            return _measured(node)
        case _:
            assert_never(node)


def _joined(word: str, parts: Sequence[Sql]) -> Sql:
    # In halves: SQLite takes expressions a thousand deep, and a flat chain is as deep as it is long.
    if len(parts) == 1:
        return parts[0]
    left, right = _joined(word, parts[: len(parts) // 2]), _joined(word, parts[len(parts) // 2 :])
    return Sql(f"({left.text} {word} {right.text})", left.parameters + right.parameters)


def _is(field: str, values: tuple[str, ...]) -> Sql:
    marks = ", ".join("?" * len(values))
    if not values:
        return Sql("0")
    if field in TEXTS:
        return _matching(token.expression(field, values))
    if column := COLUMNS.get(field):
        return Sql(f"documents.{column} IN ({marks})", values)
    return _among(f"SELECT row FROM postings WHERE facet IN ({_FACETS} AND value IN ({marks}))", field, *values)


def _starts_with(field: str, prefix: str) -> Sql:
    if field in TEXTS:
        return _matching(token.beginning(field, prefix)) if prefix else _not_empty(field)
    end = after(prefix)
    bounds, values = (">= ? AND {0} < ?", (prefix, end)) if end else (">= ? AND {0} > ''", (prefix,))
    if column := COLUMNS.get(field):
        return Sql(f"(documents.{column} {bounds.format(f'documents.{column}')})", values)
    return _among(
        f"SELECT row FROM postings WHERE facet IN ({_FACETS} AND value {bounds.format('value')})", field, *values
    )


def _measured(node: Compare | Score | Near) -> Sql:
    match node:
        case Compare(field, order, number) if field in NUMBERS:
            column = f'documents."{field}"'
            return Sql(f"({column} {ORDERS[order]} ? AND {column} IS NOT NULL)", (number,))
        case Compare():
            return Sql("0")
        case Score(label, order, confidence):
            return _among(f"SELECT row FROM scores WHERE label = ? AND score {ORDERS[order]} ?", label, confidence)
        case Near(latitude, longitude, distance):
            reach = band(distance)
            text = (
                "(documents.latitude IS NOT NULL AND documents.latitude BETWEEN ? AND ?"
                " AND metres(documents.latitude, documents.longitude, ?, ?) <= ?)"
            )
            return Sql(text, (latitude - reach, latitude + reach, latitude, longitude, distance))


def _matching(expression: str) -> Sql:
    return _among("SELECT rowid FROM texts WHERE texts MATCH ?", expression)


def _not_empty(field: str) -> Sql:
    return _among(f"SELECT rowid FROM texts WHERE {field} != ''")


def _among(rows: str, *parameters: str | float) -> Sql:
    return Sql(f"documents.row IN ({rows})", parameters)


def after(prefix: str) -> str:
    """Return the least text that is greater than all that begin so; empty where there is none."""
    stem = prefix.rstrip(chr(LAST))
    if not stem:
        return ""
    code = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if code == 0xD800 else code)


_FACETS = "SELECT id FROM facets WHERE field = ?"
