"""A search: hits and their number from `documents/fetch`, counts from `search`.

`documents/fetch` takes the same filter and order, and its `total` is exact at any offset; `search` would stop at
`maxTotalHits` and at a cut-off time. Of hits that are equal but for their keys, which page a hit is on follows the
server's order of keys, which ignores case; within a page the order is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from imgtag.errors import QueryError
from imgtag.plugin import Document, Is, Or, Page, Query, SearchRequest, Similar, SimilarRequest, vector_of
from imgtag.types.vector import cosine
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.document import decode, select_fields
from imgtag_meilisearch.errors import Refused
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.index_settings import SCORES, comparison
from imgtag_meilisearch.long_values import remove_parts

MAX_IDS = 500  # of one request
FILTER_ERRORS = frozenset({"invalid_document_filter", "invalid_search_filter", "invalid_similar_filter"})


def search(client: IndexClient, request: SearchRequest) -> Page:
    """The hits of a search. Raises QueryError where the server does not accept the filter: too deep, say."""
    query, text = request.query, expression(request.query.condition)
    with _map_filter_error(query):
        answer = client.fetch(
            filter=text,
            sort=[*(f"{SCORES}.{label}:desc" for label in query.ranking), "when:desc", "key:asc"],
            limit=max(request.limit, 0),
            offset=max(request.offset, 0),
        )
        filterable = [field for field in request.facets if comparison(field) == "text"]
        counts = client.facets(text, filterable) if filterable else {}
        facets = {
            field: {value: counts[field][value] for value in remove_parts(field, list(counts.get(field, {})))}
            for field in request.facets
        }
    hits = sorted((decode(hit, vectors=False) for hit in answer["results"]), key=lambda hit: _rank(query, hit))
    return Page(hits=hits, total=answer["total"], facets=facets)


def similar(client: IndexClient, request: SimilarRequest) -> list[Similar]:
    """The documents that look most like another one. Its vector is read first, so that other spaces are left out.

    The cosine is computed here: the server's own score is another number, and less exact.
    """
    asked = get(client, [request.id]).get(request.id)
    text = expression(request.among(asked))
    if asked is None or request.limit < 1:
        return []
    with _map_filter_error(request.query):
        hits = [decode(hit) for hit in client.similar(request.id, text, request.limit)]
    vector = vector_of(asked) or ()
    nearest = [Similar(hit, cosine(vector, vector_of(hit) or ())) for hit in hits]
    return sorted(nearest, key=lambda similar: -similar.similarity)


def get(client: IndexClient, ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, Document]:
    """The documents of these ids, or these fields of them; absent ones are left out."""
    documents: dict[str, Document] = {}
    options = select_fields(fields)
    for start in range(0, len(ids), MAX_IDS):
        part = list(ids[start : start + MAX_IDS])
        for raw in client.fetch(ids=part, limit=len(part), **options)["results"]:
            document = decode(raw)
            documents[raw["id"]] = {name: document[name] for name in document if not fields or name in fields}
    return documents


def known(client: IndexClient, texts: Sequence[str]) -> frozenset[str]:
    """Those of the texts that are a term or a word of some document."""

    def is_known(text: str) -> bool:
        condition = Or((Is("terms", (text,)), Is("words", (text,))))
        return bool(client.fetch(filter=expression(condition), limit=0)["total"])

    return frozenset(filter(is_known, texts))


def suggest(client: IndexClient, prefix: str, limit: int) -> list[str]:
    """Terms with this prefix, those of most documents first, without those that the server adds for a typo."""
    counts = [(-count, term) for term, count in client.facet_values("terms", prefix) if term.startswith(prefix)]
    return [term for _, term in sorted(counts)[: max(limit, 0)]]


@contextmanager
def _map_filter_error(query: Query) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.code not in FILTER_ERRORS:
            raise
        hint = "Nest fewer parentheses."
        raise QueryError(error.message, query=query.text, position=0, hint=hint) from error


def _rank(query: Query, document: Mapping[str, Any]) -> tuple[Any, ...]:
    scores = document.get(SCORES) or {}
    falling = [*(scores.get(label) for label in query.ranking), document.get("when")]
    names = (str(document.get(name, "")).encode() for name in ("key", "bucket", "site"))
    return *((value is None, -(value or 0)) for value in falling), *names
