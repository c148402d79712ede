"""The query language: one text for the page, the API and the command line."""

from imgtag.query.ast import And, Compare, Condition, Is, Near, Not, Or, Order, Query, Score, StartsWith
from imgtag.query.parser import parse
from imgtag.query.parts import Part, split

__all__ = [
    "And",
    "Compare",
    "Condition",
    "Is",
    "Near",
    "Not",
    "Or",
    "Order",
    "Part",
    "Query",
    "Score",
    "StartsWith",
    "parse",
    "split",
]
