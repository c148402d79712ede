"""Filter expressions read and evaluated.

The grammar is that of crates/filter-parser/src/{lib,condition,value}.rs, the meaning that of
crates/milli/src/search/facet/filter/{index_filter,value_bounds}.rs. Each condition is a set of documents, and AND
intersects sets: two conditions on a list may hold for two of its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import asin, cos, isfinite, radians, sin, sqrt
from typing import Any

from fake_meilisearch.errors import Refusal
from fake_meilisearch.facets import Values, normalised
from fake_meilisearch.rules import Rules

DEEPEST = 150
EARTH = 6_371_000.0  # metres, as the crate `geoutils` has it
KEYWORDS = frozenset(
    {"AND", "OR", "IN", "NOT", "TO", "EXISTS", "IS", "NULL", "EMPTY", "CONTAINS", "STARTS", "WITH"}
    | {"_geoRadius", "_geoBoundingBox", "_geoPolygon", "_foreign"}
)
WORD = re.compile(r"[\w\-.]+")
FLOAT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")
ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "a": "\a",
}

Index = Mapping[int, Mapping[str, Values]]
"""Number of a document -> its values."""
Found = set[int]


class Filter:
    """One expression; `evaluate` gives the numbers of the documents that it lets through."""

    def __init__(self, text: str, rules: Rules) -> None:
        self._text = text
        self._place = 0
        self._rules = rules

    def evaluate(self, index: Index) -> Found:
        """Read and evaluate. Raises Refusal with the code `filter`."""
        self._index = index
        if not self._text.strip():
            return set(index)
        found = self._or(0)
        if self._place < len(self._text):
            raise self._wrong(f"Found unexpected characters at the end of the filter: `{self._text[self._place :]}`")
        return found

    def _or(self, depth: int) -> Found:
        found = self._and(self._deeper(depth))
        while self._word("OR"):
            found = found | self._and(depth + 1)
        return found

    def _and(self, depth: int) -> Found:
        found = self._not(self._deeper(depth))
        while self._word("AND"):
            found = found & self._not(depth + 1)
        return found

    def _not(self, depth: int) -> Found:
        if self._word("NOT"):
            return set(self._index) - self._not(self._deeper(depth))
        return self._primary(self._deeper(depth))

    def _primary(self, depth: int) -> Found:
        self._deeper(depth)
        if self._sign("("):
            found = self._or(depth + 1)
            if not self._sign(")"):
                raise self._wrong("Expression is missing the closing delimiter `)`")
            return found
        if self._word("_geoRadius"):
            return self._radius()
        if self._word("_geoBoundingBox"):
            return self._box()
        return self._condition(self._value())

    def _condition(self, field: str) -> Found:
        for sign in ("<=", ">=", "!=", "<", ">", "="):
            if self._sign(sign):
                return self._compared(field, sign, self._value())
        negated = self._word("NOT")
        found = self._named(field, negated=negated)
        return set(self._index) - found if negated else found

    def _named(self, field: str, *, negated: bool) -> Found:
        if self._word("IN"):
            return self._in(field)
        if self._word("EXISTS"):
            return self._where(field, None, lambda _: True)
        if self._keywords("STARTS", "WITH"):
            start = normalised(self._value())
            return self._where(field, None, lambda found: _begins(found, start))
        if not negated and self._word("IS"):
            return self._is(field)
        return self._between(field)

    def _is(self, field: str) -> Found:
        negated = self._word("NOT")
        if self._word("NULL"):
            found = self._where(field, None, lambda found: found.null)
        elif self._word("EMPTY"):
            found = self._where(field, None, lambda found: found.empty)
        else:
            raise self._wrong("Was expecting `NULL` or `EMPTY`")
        return set(self._index) - found if negated else found

    def _in(self, field: str) -> Found:
        if not self._sign("["):
            raise self._wrong("Expected `[` after `IN` keyword")
        found: Found = self._where(field, "equality", lambda _: False)
        while not self._sign("]"):
            found |= self._compared(field, "=", self._value())
            if not self._sign(",") and not self._looks("]"):
                raise self._wrong("Expected only comma-separated field names inside `IN[..]`")
        return found

    def _between(self, field: str) -> Found:
        low = self._value()
        if not self._word("TO"):
            raise self._wrong("Was expecting an operation `=`, `!=`, `>=`, `>`, `<=`, `<`, `IN`, `TO`, `EXISTS`, ...")
        high = self._value()
        return self._where(field, "comparison", lambda found: _any(found, (">=", low), ("<=", high)))

    def _compared(self, field: str, sign: str, value: str) -> Found:
        if sign == "!=":
            return set(self._index) - self._compared(field, "=", value)
        need = "equality" if sign == "=" else "comparison"
        return self._where(field, need, lambda found: _any(found, (sign, value)))

    def _where(self, field: str, need: str | None, holds: Callable[[Values], bool]) -> Found:
        features = self._rules.filterable(field)
        documents = {number for number, values in self._index.items() if field in values}
        if documents and need and not getattr(features, need):  # a field that was never seen is not an error
            # Whatever the route: only what is found in evaluating has a code of its own.
            message = f"Index: the filter operator is not allowed for the attribute `{field}`"
            raise Refusal("invalid_search_filter", message)
        return {number for number in documents if holds(self._index[number][field])}

    def _radius(self) -> Found:
        numbers = re.compile(r"\(" + ",".join([FLOAT.pattern] * 3) + r"\)").match(self._text, self._place)
        if not numbers:
            raise self._wrong(
                "The `_geoRadius` filter expects three arguments: `_geoRadius(latitude, longitude, radius)`"
            )
        self._place = numbers.end()
        self._space()
        latitude, longitude, metres = map(float, numbers.groups())
        if not self._rules.places:
            raise self._wrong("Attribute `_geo/_geojson` is not filterable.")
        if abs(latitude) > 90 or abs(longitude) > 180:
            raise self._wrong("Bad latitude or longitude")
        return {
            number
            for number, values in self._index.items()
            if "_geo.lat" in values and distance(values, latitude, longitude) <= metres
        }

    def _box(self) -> Found:
        """The upper right corner comes first; a box whose right side is west of its left one crosses 180 degrees."""
        corner = rf"\s*\[{FLOAT.pattern},{FLOAT.pattern}\]\s*"
        numbers = re.compile(rf"\({corner},{corner}\)").match(self._text, self._place)
        if not numbers:
            raise self._wrong("The `_geoBoundingBox` filter expects two pairs of arguments")
        self._place = numbers.end()
        self._space()
        top, right, bottom, left = map(float, numbers.groups())
        if not self._rules.places:
            raise self._wrong("Attribute `_geo/_geojson` is not filterable.")
        if max(abs(top), abs(bottom)) > 90 or max(abs(left), abs(right)) > 180 or top < bottom:
            raise self._wrong("Bad latitude or longitude")
        found = set()
        for number, values in self._index.items():
            if "_geo.lat" in values:
                (lat,), (lng,) = values["_geo.lat"].numbers, values["_geo.lng"].numbers
                across = left <= lng <= right if left <= right else lng >= left or lng <= right
                found |= {number} if bottom <= lat <= top and across else set()
        return found

    def _value(self) -> str:
        self._space()
        quote = self._text[self._place : self._place + 1]
        text = self._quoted(quote) if quote and quote in "'\"" else self._bare()
        self._space()
        return _unescaped(text, self)

    def _bare(self) -> str:
        word = WORD.match(self._text, self._place)
        if not word or word[0] in KEYWORDS:
            raise self._wrong(
                f"Was expecting a value but instead got `{word[0] if word else self._text[self._place :]}`"
            )
        self._place = word.end()
        return word[0]

    def _quoted(self, quote: str) -> str:
        start = place = self._place + 1
        while place < len(self._text) and self._text[place] != quote:
            place += 2 if self._text[place] == "\\" else 1
        if place >= len(self._text):
            raise self._wrong(
                f"Expression `{self._text[start:]}` is missing the following closing delimiter: `{quote}`"
            )
        self._place = place + 1
        text = self._text[start:place]
        return text.replace(f"\\{quote}", quote)  # everywhere, also where the backslash was escaped: first step

    def _word(self, word: str) -> bool:
        self._space()
        found = WORD.match(self._text, self._place)
        if not found or found[0] != word:
            return False
        self._place = found.end()
        if not word.startswith("_geo"):
            self._space()
        return True

    def _keywords(self, first: str, second: str) -> bool:
        return self._word(first) and self._word(second)

    def _sign(self, sign: str) -> bool:
        self._space()
        if not self._looks(sign):
            return False
        self._place += len(sign)
        self._space()
        return True

    def _looks(self, sign: str) -> bool:
        return self._text.startswith(sign, self._place)

    def _space(self) -> None:
        while self._text[self._place : self._place + 1].isspace():
            self._place += 1

    def _deeper(self, depth: int) -> int:
        if depth > DEEPEST:
            raise self._wrong("The filter exceeded the maximum depth limit.")
        return depth + 1

    def _wrong(self, message: str) -> Refusal:
        return Refusal("filter", f"{message} {self._place}:{len(self._text)} {self._text}")


def _any(found: Values, *bounds: tuple[str, str]) -> bool:
    """One value of the field is within all of the bounds, as a number or as a text."""
    numbers = [_number(value) for _, value in bounds]
    if None not in numbers and any(
        all(_holds(sign, number, bound) for (sign, _), bound in zip(bounds, numbers, strict=True))
        for number in found.numbers
    ):
        return True
    return any(
        all(_holds(sign, text.encode(), normalised(value).encode()) for sign, value in bounds) for text in found.texts
    )


def _holds(sign: str, value: Any, bound: Any) -> bool:
    match sign:
        case "=":
            return bool(value == bound)
        case ">":
            return bool(value > bound)
        case ">=":
            return bool(value >= bound)
        case "<":
            return bool(value < bound)
        case _:
            return bool(value <= bound)


def _begins(found: Values, start: str) -> bool:
    """An empty beginning: the field exists, whatever is in it."""
    return not start or any(text.startswith(start) for text in found.texts)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and "_" not in text else None


def distance(values: Mapping[str, Values], latitude: float, longitude: float) -> float:
    """How far a document with a place is from another place."""
    (lat,), (lng,) = values["_geo.lat"].numbers, values["_geo.lng"].numbers
    north, east = radians(latitude - lat) / 2, radians(longitude - lng) / 2
    chord = sin(north) ** 2 + cos(radians(lat)) * cos(radians(latitude)) * sin(east) ** 2
    return 2 * EARTH * asin(min(1.0, sqrt(chord)))


def _unescaped(text: str, filter_: Filter) -> str:
    """The second step, the crate `unescaper`: escapes as in Rust and C."""
    found, place = "", 0
    while place < len(text):
        if text[place] != "\\":
            found += text[place]
            place += 1
            continue
        rest = text[place + 1 :]
        if match := re.match(r"x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})", rest):
            found += chr(int(next(filter(None, match.groups())), 16))
            place += 1 + match.end()
        elif rest[:1] in ESCAPES:
            found += ESCAPES[rest[0]]
            place += 2
        else:
            raise filter_._wrong("Expected value is malformed")
    return found
