r"""The condition of a query as one filter expression; everything that a user wrote is quoted.

A value in quotes is read in two steps, first `\"`, then escapes such as `\n`; so both the backslash and the
quote are escaped, and nothing else needs to be. An attribute is quoted whole: `"scores.kit fox" > 0.4`.
`OR` binds weakest and `NOT` strongest; the server takes a depth of 150, and counts four for a parenthesis.
https://www.meilisearch.com/docs/learn/filtering_and_sorting/filter_expression_reference
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from imgtag.plugin import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith
from imgtag_meilisearch.index_settings import SCORES, comparison
from imgtag_meilisearch.long_values import HOME, beginning, is_long, whole_value

EVERYTHING = '"bucket" EXISTS'
NOTHING = '"bucket" NOT EXISTS'
"""Every document has a bucket; the grammar has no words for true and false."""


def expression(node: Condition) -> str:
    """Translate a condition. A leaf on a field that has no rule is false, as no document has such a field."""
    match node:
        case And(parts):
            return " AND ".join(_group(part, Or) for part in parts) or EVERYTHING
        case Or(parts):
            return " OR ".join(expression(part) for part in parts) or NOTHING
        case Not(part):
            return f"NOT {_group(part, And, Or)}"
        case _:
            return _leaf(node)


def quote(text: str) -> str:
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
            return _compare(field, order, number)
        case Score(label, order, confidence):
            return _compare(f"{SCORES}.{label}", order, confidence)
        case Near(latitude, longitude, metres):
            return f"_geoRadius({latitude!r}, {longitude!r}, {metres!r})"
        case _:
            assert_never(node)


def _is(field: str, values: Sequence[str]) -> str:
    if not values or comparison(field) != "text":
        return NOTHING
    short = [quote(value) for value in values if not is_long(value)]
    long = [quote(whole_value(field, value)) for value in values if is_long(value)]
    parts = [(quote(field), short)] if short else []
    parts += [(quote(HOME), long)] if long else []
    text = " OR ".join(f"{name} IN [{', '.join(texts)}]" for name, texts in parts)
    return f"({text})" if len(parts) > 1 else text


def _group(node: Condition, *looser: type[And | Or]) -> str:
    while isinstance(node, And | Or) and len(node.parts) == 1:
        (node,) = node.parts
    text = expression(node)
    return f"({text})" if isinstance(node, looser) and node.parts else text


def _starts_with(field: str, prefix: str) -> str:
    if comparison(field) != "text":
        return NOTHING
    if is_long(prefix):
        return f"{quote(HOME)} STARTS WITH {quote(beginning(field, prefix))}"
    name = quote(field)
    if prefix:
        return f"{name} STARTS WITH {quote(prefix)}"
    # Whether the field has a value: an empty list exists too, and nothing of a blank text is compared.
    return f'({name} EXISTS AND {name} IS NOT EMPTY AND {name} IS NOT NULL AND {name} != "")'


def _compare(field: str, order: str, number: float) -> str:
    return f"{quote(field)} {order} {quote(repr(number))}" if comparison(field) == "number" else NOTHING
