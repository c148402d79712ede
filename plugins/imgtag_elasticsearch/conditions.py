"""The condition of a query as one query of the cluster.

Each leaf is a yes or a no in filter context, which no score is computed for; what lacks a field is a no, so that
`must_not` finds it.
https://www.elastic.co/docs/reference/query-languages/query-dsl/query-dsl-bool-query
"""

from __future__ import annotations

from typing import Any, assert_never

from imgtag.plugin import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith
from imgtag_elasticsearch.fields import compared_path, comparison, value_prefix
from imgtag_elasticsearch.long_values import match_prefix

EVERYTHING: dict[str, Any] = {"match_all": {}}
NOTHING: dict[str, Any] = {"match_none": {}}
RANGES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
EARTH = 6_371_008.7714 / 6_371_000.0
"""Lucene's radius of the earth by that of the query language (org.apache.lucene.util.SloppyMath)."""
LEAST = 0.01
"""Metres: the index keeps places to about a centimetre, and takes no distance of 0."""


def translate(node: Condition) -> dict[str, Any]:
    """Translate a condition. A leaf on a field that the index does not have is false."""
    match node:
        case And(parts):
            return _join("filter", [translate(part) for part in parts]) if parts else EVERYTHING
        case Or(parts):
            return _join("should", [translate(part) for part in parts]) if parts else NOTHING
        case Not(Not(part)):
            return translate(part)
        case Not(part):
            return {"bool": {"must_not": [translate(part)]}}
        case _:
            return _leaf(node)


def _join(occurrence: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    return {"bool": {occurrence: parts, **({"minimum_should_match": 1} if occurrence == "should" else {})}}


def _leaf(node: Is | StartsWith | Compare | Score | Near) -> dict[str, Any]:
    match node:
        case Is(field, values):
            texts = [f"{value_prefix(field)}{value}" for value in values if value]
            return {"terms": {compared_path(field): texts}} if texts and comparison(field) == "text" else NOTHING
        case StartsWith(field, prefix):
            return _starts_with(field, f"{value_prefix(field)}{prefix}")
        case Compare(field, order, number):
            return _compare(field, order, number) if comparison(field) == "number" else NOTHING
        case Score(label, order, confidence):
            both = [{"term": {"labels.name": label}}, _compare("labels.confidence", order, confidence)]
            return {"nested": {"path": "labels", "query": {"bool": {"filter": both}}}}
        case Near(latitude, longitude, metres):
            distance = f"{max(metres * EARTH, LEAST)!r}m"
            return {"geo_distance": {"distance": distance, "place": {"lat": latitude, "lon": longitude}}}
        case _:
            assert_never(node)


def _starts_with(field: str, prefix: str) -> dict[str, Any]:
    if comparison(field) != "text":
        return NOTHING
    path = compared_path(field)
    return match_prefix(path, prefix) if prefix else {"exists": {"field": path}}


def _compare(path: str, order: str, number: float) -> dict[str, Any]:
    return {"term": {path: number}} if order == "=" else {"range": {path: {RANGES[order]: number}}}
