"""One index: its settings, its documents, and what is asked of them.

crates/milli/src/documents/sort.rs, search/facet/{facet_distribution,search}.rs, search/new/mod.rs (ranking rules of a
search without words), score_details.rs, update/new/extract/vectors/mod.rs,
crates/meilisearch/src/routes/indexes/documents.rs, search/mod.rs
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from math import isfinite, sqrt
from typing import Any

import numpy as np

from fake_meilisearch.errors import Refusal
from fake_meilisearch.facets import Values, normalised, values
from fake_meilisearch.filters import Filter, distance
from fake_meilisearch.rules import Rules

DEFAULTS: dict[str, Any] = {
    "displayedAttributes": ["*"],
    "searchableAttributes": ["*"],
    "filterableAttributes": [],
    "sortableAttributes": [],
    "rankingRules": ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"],
    "stopWords": [],
    "synonyms": {},
    "distinctAttribute": None,
    "typoTolerance": {
        "enabled": True,
        "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
        "disableOnWords": [],
        "disableOnAttributes": [],
        "disableOnNumbers": False,
    },
    "faceting": {"maxValuesPerFacet": 100, "sortFacetValuesBy": {"*": "alpha"}},
    "pagination": {"maxTotalHits": 1000},
    "embedders": {},
    "searchCutoffMs": None,
    "facetSearch": True,
    "prefixSearch": "indexingTime",
}
POINT = re.compile(r"_geoPoint\(\s*([\d.-]+)\s*,\s*([\d.-]+)\s*\)")
ID = re.compile(r"[A-Za-z0-9_-]{1,511}")
Document = dict[str, Any]


class ExtractionError(Exception):
    """What a document has wrong that is seen late; it fails every task of the batch. With its code."""


class Index:
    """Documents by internal number; a freed number is given again."""

    def __init__(self, uid: str, primary_key: str | None) -> None:
        self.uid = uid
        self.primary_key = primary_key
        self.created = datetime.now(UTC).isoformat()
        self.settings = deepcopy(DEFAULTS)
        self.documents: dict[int, Document] = {}
        self._numbers: dict[str, int] = {}
        self._vectors: dict[int, dict[str, list[list[float]]]] = {}
        self._values: dict[int, dict[str, Values]] = {}
        self._seen: set[str] = set()

    # Changing.

    def parsed(self, body: bytes) -> list[Document]:
        """The documents of a payload. Raises Refusal: one bad document fails its task, and that alone."""
        documents = [json.loads(line) for line in body.splitlines() if line.strip()]
        for document in documents:
            id_ = document.get(self.primary_key)
            if id_ is None:
                raise Refusal("missing_document_id", f"Document doesn't have a `{self.primary_key}` attribute")
            if not ID.fullmatch(str(id_)):
                raise Refusal("invalid_document_id", f"Document identifier `{id_}` is invalid.")
        return documents

    def check(self, documents: Iterable[Document]) -> None:
        """What extraction would find wrong. Raises ExtractionError."""
        for document in documents:
            _check_place(document)
            for name, embedder in self.settings["embedders"].items():
                self._check_vector(document, name, embedder)

    def put(self, document: Document) -> None:
        """Replace a document. Without a vector it keeps the one that it had."""
        id_ = str(document[self.primary_key])
        number = self._numbers.setdefault(id_, self._free())
        kept = self._vectors.get(number, {})
        for name in self.settings["embedders"]:
            vectors = document.get("_vectors", {})
            if name in vectors:
                kept[name] = _embeddings(vectors[name])
        self._vectors[number] = kept
        self.documents[number] = document
        self._values[number] = values(document)
        self._seen |= self._values[number].keys()

    def delete(self, id_: str) -> None:
        """Remove a document, if there is one."""
        if (number := self._numbers.pop(id_, None)) is not None:
            for kept in (self.documents, self._vectors, self._values):
                kept.pop(number, None)

    def change(self, settings: Mapping[str, Any]) -> None:
        """Merge settings. Raises Refusal."""
        for name, value in settings.items():
            if name not in DEFAULTS:
                raise Refusal("bad_request", f"Unknown field `{name}`")
            if name == "embedders":
                self._check_embedders(value)
            if name == "faceting" and "sortFacetValuesBy" in (value or {}):  # replaced as a whole: settings.rs
                self.settings[name]["sortFacetValuesBy"] = {}
            self.settings[name] = _merged(self.settings[name], value)
        self.settings["sortableAttributes"].sort()

    # Asking.

    def fetch(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """`POST documents/fetch`: not limited by maxTotalHits, `total` exact; in the order of internal numbers."""
        numbers = self._filtered(query.get("filter"), "invalid_document_filter")
        if (ids := query.get("ids")) is not None:
            numbers &= {self._numbers[str(id_)] for id_ in ids if str(id_) in self._numbers}
        ordered = self._sorted(numbers, self._checked(query.get("sort") or [], "invalid_document_sort"))
        offset, limit = query.get("offset", 0), query.get("limit", 20)
        vectors = query.get("retrieveVectors", False)
        page = [self._shown(number, query.get("fields"), vectors=vectors) for number in ordered[offset:][:limit]]
        return {"results": page, "offset": offset, "limit": limit, "total": len(numbers)}

    def search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """`POST search` without words: hits are clamped to maxTotalHits, counts are not."""
        numbers, order = self.found(query), self.order(query)
        most = self.settings["pagination"]["maxTotalHits"]
        offset = min(query.get("offset", 0), most)
        limit = min(query.get("limit", 20), most - offset)
        answer = {
            "hits": [self.hit(number, query) for number in self._sorted(numbers, order)[offset:][:limit]],
            "query": query.get("q", ""),
            "limit": limit,
            "offset": offset,
            "estimatedTotalHits": min(len(numbers), most),
        }
        if query.get("facets"):
            answer["facetDistribution"] = self.distribution(query["facets"], numbers)
        return answer

    def found(self, query: Mapping[str, Any]) -> set[int]:
        """The numbers of the documents that a search without words finds."""
        if query.get("q"):
            raise Refusal("invalid_search_q", "this fake searches without words")
        return self._filtered(query.get("filter"), "invalid_search_filter")

    def order(self, query: Mapping[str, Any]) -> list[str]:
        """By what hits are ordered: those of the ranking rules that need no words, the order asked for in its place."""
        sort, rules = self._checked(query.get("sort") or [], "invalid_search_sort"), self.settings["rankingRules"]
        if sort and "sort" not in rules:
            raise Refusal("invalid_search_sort", "The sort ranking rule must be specified in the ranking rules.")
        return [part for rule in rules for part in (sort if rule == "sort" else [rule] * (":" in rule))]

    def hit(self, number: int, query: Mapping[str, Any]) -> Document:
        """A document as a search shows it; with its distance where a place is asked for."""
        hit = self._shown(number, query.get("attributesToRetrieve"), vectors=query.get("retrieveVectors", False))
        places = [place for part in query.get("sort") or [] if (place := POINT.match(part))]
        if places and (distance := self._distance(number, places[0])) is not None:
            hit["_geoDistance"] = round(distance)
        return hit

    def scores(self, number: int, order: Sequence[str]) -> list[tuple[bool, float | str | None]]:
        """What a document has of each part of an order, and whether less is better."""
        scores: list[tuple[bool, float | str | None]] = []
        for criterion in order:
            name, _, way = criterion.rpartition(":")
            if place := POINT.match(name):
                scores.append((way == "asc", self._distance(number, place)))
                continue
            there = self._values[number].get(name, Values())
            choices: Iterable[float | str] = there.numbers or there.texts
            scores.append((way == "asc", min(choices) if choices else None))
        return scores

    def distribution(self, names: Sequence[str], numbers: set[int]) -> dict[str, dict[str, int]]:
        """How often the values of fields occur."""
        return {name: self._counts(name, numbers) for name in names}

    def facet_search(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """`POST facet-search`: values that begin so, from five letters on also with another letter."""
        name = query["facetName"]
        features = self.rules.features(name)
        if features is None or not features.facet_search:
            raise Refusal("invalid_facet_search_facet_name", f"Attribute `{name}` is not facet-searchable.")
        start = normalised(query.get("facetQuery") or "")
        numbers = self._filtered(query.get("filter"), "invalid_search_filter")
        hits = [hit for hit in self._tally(name, numbers).values() if _begins(normalised(hit[0]), start)]
        hits = sorted(hits, key=lambda hit: -hit[1])[:100]
        return {"facetHits": [{"value": value, "count": count} for value, count in hits], "facetQuery": start or None}

    def similar(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """`POST similar`: nearest vectors first; nothing for a document without one."""
        name, number = query["embedder"], self._numbers.get(str(query["id"]))
        if number is None:
            raise Refusal("not_found_similar_id", f"Couldn't find document with id: {query['id']}")
        (vector,) = self._vectors[number].get(name) or [[]]
        numbers = self._filtered(query.get("filter"), "invalid_similar_filter") - {number}
        near = [(_cosine(vector, kept[name][0]), other) for other, kept in self._vectors.items() if kept.get(name)]
        found = [other for _, other in sorted(near, reverse=True) if vector and other in numbers]
        scores = {other: (1 + cosine) / 2 for cosine, other in near}
        start = query.get("offset", 0)
        hits = [self.hit(other, query) for other in found[start:][: query.get("limit", 20)]]
        if query.get("showRankingScore"):
            hits = [hit | {"_rankingScore": scores[other]} for hit, other in zip(hits, found[start:], strict=False)]
        return {"hits": hits, "id": query["id"], "estimatedTotalHits": len(found)}

    @property
    def rules(self) -> Rules:
        return Rules(self.settings["filterableAttributes"])

    def _filtered(self, given: Any, code: str) -> set[int]:
        """Of a list all parts must hold; of a list within it, one."""
        numbers = set(self._values)
        for part in given if isinstance(given, list) else [given or ""]:
            choices = part if isinstance(part, list) else [part]
            numbers &= {number for choice in choices for number in self._evaluated(choice, code)}
        return numbers

    def _evaluated(self, text: str, code: str) -> set[int]:
        try:
            return Filter(text, self.rules).evaluate(self._values)
        except Refusal as error:
            raise Refusal(code if error.code == "filter" else error.code, str(error)) from error

    def _checked(self, order: Sequence[str], code: str) -> Sequence[str]:
        for criterion in order:
            name, _, way = criterion.rpartition(":")
            if way not in {"asc", "desc"}:
                raise Refusal(code, f"Invalid syntax for the sort parameter: `{criterion}`")
            name = "_geo" if POINT.match(name) else name
            if not any(
                name == attribute or name.startswith(f"{attribute}.")
                for attribute in self.settings["sortableAttributes"]
            ):
                raise Refusal(code, f"Attribute `{name}` is not sortable.")
        return order

    def _sorted(self, numbers: set[int], order: Sequence[str]) -> list[int]:
        found = sorted(numbers)
        for criterion in reversed(order):
            name, _, way = criterion.rpartition(":")
            if place := POINT.match(name):
                far = {number: self._distance(number, place) for number in found}
                there = [number for number in found if far[number] is not None]
                there.sort(key=lambda number: far[number], reverse=way == "desc")
                found = there + [number for number in found if far[number] is None]
                continue
            there = [number for number in found if name in self._values[number]]
            by_number = [number for number in there if self._values[number][name].numbers]
            by_text = [number for number in there if number not in by_number and self._values[number][name].texts]
            by_number.sort(key=lambda number: min(self._values[number][name].numbers), reverse=way == "desc")
            by_text.sort(key=lambda number: min(self._values[number][name].texts).encode(), reverse=way == "desc")
            # What is there, but neither number nor text, is lost.
            found = by_number + by_text + [number for number in found if name not in self._values[number]]
        return found

    def _distance(self, number: int, place: re.Match[str]) -> float | None:
        there = self._values[number]
        return distance(there, float(place[1]), float(place[2])) if "_geo.lat" in there else None

    def _counts(self, name: str, numbers: set[int]) -> dict[str, int]:
        features = self.rules.features(name)
        if features is None or not (features.equality or features.comparison):
            raise Refusal("invalid_search_facets", f"Invalid facet distribution: Attribute `{name}` is not filterable.")
        faceting = self.settings["faceting"]
        order = faceting["sortFacetValuesBy"]
        tally = self._tally(name, numbers)
        ordered = sorted(tally)
        if order.get(name, order.get("*", "alpha")) == "count":
            ordered.sort(key=lambda value: -tally[value][1])
        return {tally[value][0]: tally[value][1] for value in ordered[: faceting["maxValuesPerFacet"]]}

    def _tally(self, name: str, numbers: set[int]) -> dict[str, tuple[str, int]]:
        counts: Counter[str] = Counter()
        shown: dict[str, str] = {}
        for number in sorted(numbers):
            found = self._values[number].get(name, Values())
            texts = {**found.texts, **{str(value): str(value) for value in found.numbers}}
            counts.update(texts.keys())
            shown = texts | shown
        return {value: (shown[value], count) for value, count in counts.items()}

    def _shown(self, number: int, fields: Sequence[str] | None, *, vectors: bool) -> Document:
        document = {
            name: value
            for name, value in self.documents[number].items()
            if name != "_vectors" and (fields is None or name in fields or "*" in fields)
        }
        if vectors:
            kept = self._vectors[number]
            given = self.documents[number].get("_vectors") or {}
            document["_vectors"] = {name: value for name, value in given.items() if name not in kept} | {
                name: {"embeddings": found, "regenerate": False} for name, found in kept.items()
            }
        return document

    def _free(self) -> int:
        return next(number for number in range(len(self._numbers) + 1) if number not in self.documents)

    def _check_embedders(self, embedders: Mapping[str, Any]) -> None:
        new = [name for name, value in embedders.items() if value and name not in self.settings["embedders"]]
        if any(name not in document.get("_vectors", {}) for name in new for document in self.documents.values()):
            raise Refusal("vector_embedding_error", "no vectors provided for document")

    def _check_vector(self, document: Document, name: str, embedder: Mapping[str, Any]) -> None:
        given = document.get("_vectors", {})
        if name not in given:
            if str(document[self.primary_key]) not in self._numbers:
                message = f"While embedding documents for embedder `{name}`: no vectors provided for document"
                raise ExtractionError(message, "vector_embedding_error")
            return
        for vector in _embeddings(given[name]):
            if len(vector) != embedder["dimensions"]:
                message = f"Invalid vector dimensions in document with id `{document[self.primary_key]}`"
                raise ExtractionError(message, "invalid_vector_dimensions")


def _check_place(document: Document) -> None:
    """extract/geo/mod.rs: null is not a place; anything else must be two finite numbers and nothing else."""
    if document.get("_geo") is None:
        return
    place = document["_geo"]
    fine = isinstance(place, dict) and set(place) == {"lat", "lng"}
    if not fine or not all(isinstance(number, int | float) and isfinite(number) for number in place.values()):
        raise ExtractionError(
            f"Could not parse `_geo` in the document with the id: {document.get('id')!r}", "invalid_document_geo_field"
        )


def _embeddings(given: Any) -> list[list[float]]:
    """As 32-bit numbers, written as short as can be."""
    if isinstance(given, dict):
        given = given.get("embeddings")
    if not given:
        return []
    vectors = given if isinstance(given[0], list) else [given]
    return [[float(np.float32(number)) for number in vector] for vector in vectors]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    size = sqrt(sum(x * x for x in one) * sum(x * x for x in other)) or 1
    return sum(x * y for x, y in zip(one, other, strict=False)) / size


def _begins(value: str, start: str) -> bool:
    wrong = sum(one != other for one, other in zip(value, start, strict=False))
    return len(value) >= len(start) and wrong <= (len(start) >= 5)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, dict) or not isinstance(old, dict):
        return deepcopy(new)
    merged = {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
    return {name: value for name, value in merged.items() if value is not None}
