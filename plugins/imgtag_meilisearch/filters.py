r"""The condition of a query as one filter expression; all that a user wrote stands in quotes.

A value in quotes is read in two steps, first `\"`, then escapes such as `\n`; so both the backslash and the
quote are escaped, and nothing else needs to be. An attribute is quoted whole: `"scores.kit fox" > 0.4`.
`OR` binds weakest and `NOT` strongest; the server takes a depth of 150, and counts four for a parenthesis.
https://www.meilisearch.com/docs/learn/filtering_and_sorting/filter_expression_reference
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith
from imgtag_meilisearch.index_settings import SCORES, compared

EVERYTHING = '"bucket" EXISTS'
NOTHING = '"bucket" NOT EXISTS'
"""No document is without a bucket; the grammar has no word for true and false."""


def expression(node: Condition) -> str:
    """Translate a condition. A leaf on a field that has no rule is false, as no document has such a field."""
    match node:
        case And(parts):
            return " AND ".join(_grouped(part, Or) for part in parts) or EVERYTHING
        case Or(parts):
            return " OR ".join(expression(part) for part in parts) or NOTHING
        case Not(part):
            return f"NOT {_grouped(part, And, Or)}"
        case _:
            return _leaf(node)


def quoted(text: str) -> str:
    """Write an attribute or a value so that it is read back as it is, whatever it holds."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _leaf(node: Is | StartsWith | Compare | Score | Near) -> str:
    match node:
        case Is(field, values):
            return _is(field, [value for value in values if value])
        case StartsWith(field, prefix):
            return _starts_with(field, prefix)
        case Compare(field, order, number):
            return _compared(field, order, number)
        case Score(label, order, confidence):
            return _compared(f"{SCORES}.{label}", order, confidence)
        case Near(latitude, longitude, metres):
            return f"_geoRadius({latitude!r}, {longitude!r}, {metres!r})"
        case _:
            assert_never(node)


def _is(field: str, values: Sequence[str]) -> str:
    if not values or compared(field) != "text":
        return NOTHING
    return f"{quoted(field)} IN [{', '.join(map(quoted, values))}]"


def _grouped(node: Condition, *looser: type[And | Or]) -> str:
    while isinstance(node, And | Or) and len(node.parts) == 1:
        (node,) = node.parts
    text = expression(node)
    return f"({text})" if isinstance(node, looser) and node.parts else text


def _starts_with(field: str, prefix: str) -> str:
    if compared(field) != "text":
        return NOTHING
    return f"{quoted(field)} STARTS WITH {quoted(prefix)}" if prefix else _there(quoted(field))


def _there(name: str) -> str:
    """The field has a value. An empty list exists too, and of a blank text nothing is left to compare."""
    return f'({name} EXISTS AND {name} IS NOT EMPTY AND {name} IS NOT NULL AND {name} != "")'


def _compared(field: str, order: str, number: float) -> str:
    return f"{quoted(field)} {order} {quoted(repr(number))}" if compared(field) == "number" else NOTHING
