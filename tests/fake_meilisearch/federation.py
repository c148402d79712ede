"""Several searches in one request, with their hits in one list or in a list each.

crates/meilisearch/src/routes/multi_search.rs, search/federated/{perform,types}.rs, milli/src/score_details.rs
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

from fake_meilisearch.errors import Refusal
from fake_meilisearch.index import Index
from fake_meilisearch.keys import Key
from fake_meilisearch.tenant import joined

Scores = Sequence[tuple[bool, Any]]


def multi_search(body: Mapping[str, Any], index_of: Callable[[str], Index], key: Key) -> dict[str, Any]:
    """`POST multi-search`: the rules of a tenant token limit each query by itself."""
    queries = [_allowed(query, place, key) for place, query in enumerate(body["queries"])]
    if (federation := body.get("federation")) is not None:
        return _federated(queries, federation, index_of)
    if any("federationOptions" in query for query in queries):
        raise Refusal("invalid_multi_search_federation_options", "Using `federationOptions` is not allowed here.")
    return {"results": [{"indexUid": query["indexUid"], **_open(index_of, query).search(query)} for query in queries]}


def _allowed(query: Mapping[str, Any], place: int, key: Key) -> dict[str, Any]:
    uid = query["indexUid"]
    if not key.sees(uid):
        raise Refusal("invalid_api_key", f"Inside `.queries[{place}]`: The provided API key is invalid.")
    return {**query, "filter": joined(query.get("filter"), key.filter_of(uid))}


def _open(index_of: Callable[[str], Index], query: Mapping[str, Any]) -> Index:
    try:
        return index_of(query["indexUid"])
    except Refusal as refusal:
        refusal.status = 400  # it is not the address that names what is missing
        raise


def _federated(
    queries: Sequence[Mapping[str, Any]], federation: Mapping[str, Any], index_of: Callable[[str], Index]
) -> dict[str, Any]:
    """One list, a document once, the best first; among equals those of the earlier query."""
    ranked: list[tuple[Scores, int, Any]] = []
    found: dict[str, set[int]] = {}
    ways: list[list[str]] = []
    for place, query in enumerate(queries):
        if {"limit", "offset", "page", "hitsPerPage"} & query.keys():
            raise Refusal("invalid_multi_search_query_pagination", f"Inside `.queries[{place}]`: Using pagination")
        if query.get("facets"):
            raise Refusal("invalid_multi_search_query_facets", f"Inside `.queries[{place}]`: Using facet options")
        index, uid = _open(index_of, query), query["indexUid"]
        weight, order = query.get("federationOptions", {}).get("weight", 1.0), index.order(query)
        ways.append([criterion.rpartition(":")[2] for criterion in order])
        if any(one != other for one, other in zip(ways[0], ways[-1], strict=False)):
            message = f"Inside `.queries[{place}]`: The results of queries #{place} and #0 are incompatible"
            raise Refusal("invalid_multi_search_query_ranking_rules", message)
        for number in index.found(query) - found.get(uid, set()):
            about = {"indexUid": uid, "queriesPosition": place, "weightedRankingScore": weight}
            ranked.append((index.scores(number, order), place, index.hit(number, query) | {"_federation": about}))
        found[uid] = found.get(uid, set()) | index.found(query)
    ranked.sort(key=cmp_to_key(lambda one, other: _compare(other[0], one[0]) or one[1] - other[1]))
    offset, limit = federation.get("offset", 0), federation.get("limit", 20)
    answer = {
        "hits": [hit for _, _, hit in ranked[offset:][:limit]],
        "limit": limit,
        "offset": offset,
        "estimatedTotalHits": len(ranked),
    }
    counts = {
        uid: index_of(uid).distribution(fields or [], found.get(uid, set()))
        for uid, fields in federation.get("facetsByIndex", {}).items()
    }
    if (merge := federation.get("mergeFacets")) is not None:
        answer["facetDistribution"] = _merged(counts, merge.get("maxValuesPerFacet"))
    elif counts:
        answer["facetsByIndex"] = {uid: {"distribution": fields, "stats": {}} for uid, fields in counts.items()}
    return answer


def _compare(one: Scores, other: Scores) -> int:
    """`compare_sort_values`, part by part: more than nothing, numbers before texts."""
    for (ascending, mine), (_, theirs) in zip(one, other, strict=False):
        if mine != theirs:
            if mine is None or theirs is None:
                return 1 if theirs is None else -1
            if isinstance(mine, str) != isinstance(theirs, str):
                return 1 if isinstance(theirs, str) else -1
            return 1 if (mine < theirs) == ascending else -1
    return 0


def _merged(counts: Mapping[str, Mapping[str, Mapping[str, int]]], most: int | None) -> dict[str, dict[str, int]]:
    merged: dict[str, Counter[str]] = {}
    for fields in counts.values():
        for field, values in fields.items():
            merged.setdefault(field, Counter()).update(values)
    return {field: dict(values.most_common(most)) for field, values in merged.items()}
