"""Searches and look-ups in the index behind an alias. They block.

Of more hits than a page holds, the next page begins after the last hit (`search_after`): from the order of the query
follows where, because it ends with key, bucket and site, and no two documents have the same ones.
https://www.elastic.co/docs/reference/elasticsearch/rest-apis/paginate-search-results
"""

from __future__ import annotations

import heapq
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

from imgtag.errors import QueryError
from imgtag.plugin import (
    Document,
    Page,
    Query,
    Scope,
    SearchRequest,
    Similar,
    SimilarRequest,
    cosine,
    normalise,
    vector_of,
)
from imgtag_elasticsearch.client import Client
from imgtag_elasticsearch.conditions import translate
from imgtag_elasticsearch.document import decode, source_fields
from imgtag_elasticsearch.errors import TooComplex
from imgtag_elasticsearch.fields import FOLDED, compared_path, comparison, shown_path, value_prefix
from imgtag_elasticsearch.long_values import match_prefix

MAX_IDS = 500  # of one request
MAX_WINDOW = 10_000
"""Hits that a search may go through from the start (index.max_result_window)."""
PAGE_SIZE = 1_000  # documents of one answer
MAX_FACET_VALUES = 2_000  # of one field, the most frequent
SHARD_VALUES = 10_000
"""Values that each shard counts: where a field has more, and the index more than one shard, counts are approximate."""
MAX_COMPARED = 50_000
"""Documents whose vectors are compared here, the newest, where the cluster has no nearest-neighbour search."""
MAX_CANDIDATES = 10_000  # of a search for nearest neighbours
CONFIDENCE = "labels.confidence"
MAX_PLACES = 16  # that are remembered


class Places:
    """Where the last pages of the last searches ended, so that the next page begins there; for threads."""

    def __init__(self) -> None:
        self._places: OrderedDict[str, tuple[int, list[Any]]] = OrderedDict()
        self._lock = Lock()

    def keep(self, search: str, offset: int, place: list[Any]) -> None:
        """The hit before ``offset`` is at this place."""
        with self._lock:
            self._places[search] = offset, place
            self._places.move_to_end(search)
            while len(self._places) > MAX_PLACES:
                self._places.popitem(last=False)

    def before(self, search: str, offset: int) -> tuple[int, list[Any] | None]:
        """The offset of the last page's end, and its place, where it lies before this offset; else 0 and None."""
        with self._lock:
            start, place = self._places.get(search, (0, None))
        return (start, place) if start <= offset else (0, None)


class Searcher:
    """Asks the index behind one alias."""

    def __init__(self, client: Client, alias: str) -> None:
        self._client = client
        self._alias = alias
        self._places = Places()

    def search(self, request: SearchRequest) -> Page:
        """The hits of a search, their exact number, and the facets. Raises QueryError."""
        query = translate(request.query.condition)
        limit, offset = max(request.limit, 0), max(request.offset, 0)
        counted = [field for field in request.facets if comparison(field) == "text"]
        size = min(limit, PAGE_SIZE) if offset + min(limit, PAGE_SIZE) <= MAX_WINDOW else 0
        order = _order(request.query)
        first = {"query": query, "sort": order, "size": size, **({"from": offset} if size else {})}
        with _map_complexity(request.query):
            answer = self._client.search(self._alias, **first, track_total_hits=True, aggs=dict(_count_values(counted)))
            total = answer["hits"]["total"]["value"]
            hits = [hit["_source"] for hit in answer["hits"]["hits"]]
            if hits:
                self._places.keep(_name(query, order), offset + len(hits), answer["hits"]["hits"][-1]["sort"])
            left = min(limit, total - offset) - len(hits)
            hits += self._hits_after(query, order, offset + len(hits), left)
        facets = {
            field: _read_counts(field, answer["aggregations"]) if field in counted else {} for field in request.facets
        }
        return Page(hits=[decode(hit) for hit in hits], total=total, facets=facets)

    def similar(self, request: SimilarRequest, *, product: str, has_vectors: bool) -> list[Similar]:
        """The documents that look most like another one; the cosines are computed here, from the vectors as written."""
        asked = self.get([request.id]).get(request.id)
        among = translate(request.among(asked))
        limit = min(max(request.limit, 0), MAX_CANDIDATES)
        vector = asked and vector_of(asked)
        if not vector or not limit:
            return []
        others = {"bool": {"filter": [among], "must_not": [{"ids": {"values": [request.id]}}]}}
        with _map_complexity(request.query):
            if not has_vectors:
                return self._compare_all(others, vector, limit)
            search = _nearest(product, others, vector, limit)
            hits = self._client.search(self._alias, size=limit, **search)["hits"]["hits"]
        nearest = [_similar(decode(hit["_source"]), vector) for hit in hits]
        return sorted(nearest, key=lambda similar: -similar.similarity)

    def get(self, ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, Document]:
        """The documents of these ids, or these fields of them; absent ones are left out."""
        documents: dict[str, Document] = {}
        source = source_fields(fields) if fields else True
        for start in range(0, len(ids), MAX_IDS):
            for hit in self._client.get(self._alias, ids[start : start + MAX_IDS], source):
                documents[hit["_id"]] = decode(hit["_source"])
        return documents

    def known(self, texts: Sequence[str]) -> frozenset[str]:
        """Those of the texts that are a term or a word of some document."""
        known: set[str] = set()
        for start in range(0, len(texts), MAX_IDS):
            part = [text for text in texts[start : start + MAX_IDS] if text]
            if part:
                aggs = {name: {"terms": {"field": name, "include": part, "size": len(part)}} for name in FOLDED[:2]}
                answer = self._client.search(self._alias, size=0, aggs=aggs)["aggregations"]
                known |= {bucket["key"] for name in aggs for bucket in answer[name]["buckets"]}
        return frozenset(known)

    def suggest(self, prefix: str, limit: int) -> list[str]:
        """Terms with this prefix, those of most documents first."""
        if limit < 1:
            return []
        terms = _terms("terms", limit, prefix)
        answer = self._client.search(self._alias, size=0, aggs={"terms": {"terms": terms}})
        return [bucket["key"] for bucket in answer["aggregations"]["terms"]["buckets"]]

    def page(self, site: str, scope: Scope, after: str | None, fields: Sequence[str]) -> list[dict[str, Any]]:
        """The documents of a site and scope that follow a key, at most `PAGE_SIZE`.

        No snapshot is kept on the server: a key stays where it is in the order, whatever comes and goes.
        """
        search = {"query": _within(site, scope), "sort": [{"key": "asc"}], "size": PAGE_SIZE}
        if fields:
            search["_source"] = source_fields([*fields, "key"])
        if after is not None:
            search["search_after"] = [after]
        hits = self._client.search(self._alias, track_total_hits=False, **search)["hits"]["hits"]
        return [decode(hit["_source"]) for hit in hits]

    def count(self, site: str, scope: Scope) -> int:
        """How many documents a site and scope have."""
        return self._client.count(self._alias, _within(site, scope))

    def count_of_others(self, site: str) -> int:
        """How many documents other sites have."""
        return self._client.count(self._alias, {"bool": {"must_not": [{"term": {"site": site}}]}})

    def total(self) -> int:
        """How many documents there are."""
        return self._client.count(self._alias, {"match_all": {}})

    def _hits_after(
        self, query: Mapping[str, Any], order: Sequence[Any], offset: int, limit: int
    ) -> Iterator[dict[str, Any]]:
        """The sources of hits beyond what one answer gives, page by page."""
        search = _name(query, order)
        start, place = self._places.before(search, offset)
        while limit > 0:
            skipped = min(offset - start, MAX_WINDOW)
            size = skipped or min(limit, PAGE_SIZE)
            found = self._page(query, order, size=size, _source=not skipped, search_after=place)
            if not found:
                return
            if not skipped:
                yield from (hit["_source"] for hit in found)
                offset, limit = offset + len(found), limit - len(found)
            start, place = start + len(found), found[-1]["sort"]
            self._places.keep(search, start, place)

    def _page(self, query: Mapping[str, Any], order: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        given = {name: value for name, value in options.items() if value is not None}
        # Where not all hits are counted, OpenSearch 2.19 skips some of those that it sorts by a nested field.
        counted = CONFIDENCE in order[0]
        answer = self._client.search(self._alias, query=query, sort=order, track_total_hits=counted, **given)
        hits: list[dict[str, Any]] = answer["hits"]["hits"]
        return hits

    def _compare_all(self, query: Mapping[str, Any], vector: Sequence[float], limit: int) -> list[Similar]:
        best: list[tuple[float, int, str]] = []
        after, count = None, 0
        while count < MAX_COMPARED:
            newest = [
                {"when": {"order": "desc", "missing": "_last"}},
                {"key": "asc"},
                {"bucket": "asc"},
                {"site": "asc"},
            ]
            found = self._page(query, newest, size=PAGE_SIZE, _source=["_vectors", "space"], search_after=after)
            for hit in found:
                count += 1
                if other := vector_of(hit["_source"]):
                    best.append((cosine(vector, other), -count, hit["_id"]))
            best = heapq.nlargest(limit, best)
            if len(found) < PAGE_SIZE:
                break
            after = found[-1]["sort"]
        documents = self.get([id_ for _, _, id_ in best])
        return [Similar(documents[id_], similarity) for similarity, _, id_ in best if id_ in documents]


def _name(query: Mapping[str, Any], order: Sequence[Any]) -> str:
    return json.dumps([query, order])


def _similar(document: Document, vector: Sequence[float]) -> Similar:
    return Similar(document, cosine(vector, vector_of(document) or ()))


def _nearest(product: str, query: Mapping[str, Any], vector: Sequence[float], limit: int) -> dict[str, Any]:
    """The search of each product for the nearest vectors within a query.

    https://www.elastic.co/docs/solutions/search/vector/knn
    https://docs.opensearch.org/latest/vector-search/filter-search-knn/efficient-knn-filtering/
    """
    if product == "opensearch":
        return {"query": {"knn": {"vector": {"vector": vector, "k": limit, "filter": query}}}}
    candidates = min(MAX_CANDIDATES, max(100, 4 * limit))
    return {
        "knn": {"field": "vector", "query_vector": vector, "k": limit, "num_candidates": candidates, "filter": query}
    }


def _within(site: str, scope: Scope) -> dict[str, Any]:
    filters: list[dict[str, Any]] = [{"term": {"site": site}}, {"term": {"bucket": scope.bucket}}]
    if scope.prefix:
        filters.append(match_prefix("key", scope.prefix))
    return {"bool": {"filter": filters}}


def _order(query: Query) -> list[dict[str, Any]]:
    """By the confidence of each label, greatest first, then newest first, then by names. What is absent comes last."""
    return [
        *(
            {
                CONFIDENCE: {
                    "order": "desc",
                    "missing": "_last",
                    "nested": {"path": "labels", "filter": {"term": {"labels.name": label}}},
                }
            }
            for label in query.ranking
        ),
        {"when": {"order": "desc", "missing": "_last"}},
        *({name: {"order": "asc", "missing": "_last"}} for name in ("key", "bucket", "site")),
    ]


def _count_values(fields: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What counts the values of fields as they are compared, and as they are shown where that differs."""
    for field in fields:
        prefix = value_prefix(field)
        yield f"{field}|compared", {"terms": _terms(compared_path(field), MAX_FACET_VALUES, prefix)}
        if field not in FOLDED:
            yield f"{field}|shown", {"terms": _terms(shown_path(field), 2 * MAX_FACET_VALUES, prefix)}


def _read_counts(field: str, answer: Mapping[str, Any]) -> dict[str, int]:
    start = len(value_prefix(field))
    texts = [bucket["key"][start:] for bucket in answer.get(f"{field}|shown", {}).get("buckets", [])]
    shown = {normalise(text): text for text in reversed(texts)}  # of equal ones, the most frequent
    counts = {bucket["key"][start:]: bucket["doc_count"] for bucket in answer[f"{field}|compared"]["buckets"]}
    return {shown.get(value, value): count for value, count in counts.items()}


def _terms(path: str, size: int, prefix: str = "") -> dict[str, Any]:
    """A `terms` aggregation: the most frequent values, then in alphabetical order."""
    terms = {"field": path, "size": size, "order": [{"_count": "desc"}, {"_key": "asc"}]}
    terms["shard_size"] = max(size, SHARD_VALUES)
    # All but letters and digits may be escaped, in the expressions of Lucene: https://lucene.apache.org/core
    return {**terms, "include": re.sub(r"([^\w])|_", r"\\\g<0>", prefix) + ".*"} if prefix else terms


@contextmanager
def _map_complexity(query: Query) -> Iterator[None]:
    try:
        yield
    except TooComplex as error:
        hint = "Use fewer conditions, and nest fewer parentheses."
        raise QueryError(
            f"the query is too complex: {error.message}", query=query.text, position=0, hint=hint
        ) from error
