"""A search: hits and their number from `documents/fetch`, counts from `search`.

`documents/fetch` takes the same filter and order, and its `total` is exact at any offset; `search` would stop at
`maxTotalHits` and at a cut-off time. The order of keys is the server's own, without regard to case, for what stands
on which page; within a page it is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from imgtag.errors import QueryError
from imgtag.plugin.indexer import Page, SearchRequest, Similar, SimilarRequest, vector_of
from imgtag.query import Is, Or, Query
from imgtag.types.document import Document
from imgtag.types.folding import fold
from imgtag.types.vector import cosine
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.document import decode
from imgtag_meilisearch.fault import Refused
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.index_settings import SCORES, compared

FETCHED = 500  # documents read by id at a time
FILTER_ERRORS = frozenset({"invalid_document_filter", "invalid_search_filter", "invalid_similar_filter"})


def search(connection: Connection, request: SearchRequest) -> Page:
    """Answer a search. Raises QueryError where the server does not take the filter: it is too deep, say."""
    query, text = request.query, expression(request.query.condition)
    with _understood(query):
        answer = connection.fetch(
            filter=text, sort=_order(query), limit=max(request.limit, 0), offset=max(request.offset, 0)
        )
        facets = _facets(connection, text, request.facets)
    hits = sorted((decode(hit, vectors=False) for hit in answer["results"]), key=lambda hit: _rank(query, hit))
    return Page(hits=hits, total=answer["total"], facets=facets)


def similar(connection: Connection, request: SimilarRequest) -> list[Similar]:
    """Answer what looks like a document. Its vector is read first, so that other spaces are left out.

    The cosine is reckoned here: the server's own score is another number, and less exact.
    """
    asked = get(connection, [request.id]).get(request.id)
    text = expression(request.among(asked))
    if asked is None or request.limit < 1:
        return []
    with _understood(request.query):
        hits = [decode(hit) for hit in connection.similar(request.id, text, request.limit)]
    vector = vector_of(asked) or ()
    found = [Similar(hit, cosine(vector, vector_of(hit) or ())) for hit in hits]
    return sorted(found, key=lambda each: -each.similarity)


def get(connection: Connection, ids: Sequence[str]) -> dict[str, Document]:
    """The documents of these ids; absent ones are left out."""
    found: dict[str, Document] = {}
    for start in range(0, len(ids), FETCHED):
        part = list(ids[start : start + FETCHED])
        answer = connection.fetch(ids=part, limit=len(part), retrieveVectors=True)
        found |= {raw["id"]: decode(raw) for raw in answer["results"]}
    return found


def known(connection: Connection, texts: Sequence[str]) -> frozenset[str]:
    """Those of the texts that are a term or a word of some document."""
    return frozenset(text for text in texts if _is_known(connection, fold(text)))


def suggest(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Terms that begin so, those of most documents first. The server would also give what begins nearly so."""
    start = fold(prefix)
    found = [(-count, term) for term, count in connection.facet_values("terms", start) if term.startswith(start)]
    return [term for _, term in sorted(found)[:limit]]


@contextmanager
def _understood(query: Query) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.code not in FILTER_ERRORS:
            raise
        hint = "Use fewer parentheses within each other."
        raise QueryError(error.message, query=query.text, position=0, hint=hint) from error


def _is_known(connection: Connection, text: str) -> bool:
    condition = Or((Is("terms", (text,)), Is("words", (text,))))
    return bool(connection.fetch(filter=expression(condition), limit=0)["total"])


def _order(query: Query) -> list[str]:
    return [*(f"{SCORES}.{label}:desc" for label in query.ranking), "when:desc", "key:asc"]


def _rank(query: Query, document: Mapping[str, Any]) -> tuple[Any, ...]:
    scores = document.get(SCORES) or {}
    falling = [*(scores.get(label) for label in query.ranking), document.get("when")]
    names = (str(document.get(name, "")).encode() for name in ("key", "bucket", "site"))
    return *((value is None, -(value or 0)) for value in falling), *names


def _facets(connection: Connection, text: str, fields: Sequence[str]) -> dict[str, dict[str, int]]:
    asked = [field for field in fields if compared(field) == "text"]
    counts = connection.facets(text, asked) if asked else {}
    return {field: counts.get(field, {}) for field in fields}
