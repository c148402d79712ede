"""What the command line and the HTTP API have in common when they search: the form of a hit, and what helps to type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from typing import Any

from anyio import to_thread

from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.query import And, Condition, Is, Or, Query, StartsWith
from imgtag.types.document import Document
from imgtag.types.folding import fold, words

FACETS = (
    "ancestors",
    "bucket",
    "camera",
    "category",
    "code",
    "labels",
    "model",
    "prefixes",
    "site",
    "status",
    "top_label",
    "type",
    "when_day",
    "when_month",
)
"""Fields whose values are counted; also meta.NAME."""
SORTS = ("best", "newest")
"""Orders of hits; the first one is that of the query."""
MAX_PAGE = 1000
"""Hits of one request; no server refuses so many."""
SIMILARITY_DECIMALS = 4
"""Of a similarity: int8 values give no more."""
_PREFIX = 2
"""Letters at the beginning of a mistyped word that are assumed to be right."""
_HIDDEN = {"scores", "_vectors"}
_MAX_MENTIONS = 20
"""Words of a query that are looked up; each may cost a request."""
_MAX_UNKNOWN = 5
"""Words that suggestions are looked for."""
_MAX_NEAR = 3
"""Suggestions for one word."""


def public_fields(document: Document) -> dict[str, Any]:
    """The document as --json and the API have it: labels with their confidence instead of scores and vectors."""
    fields = {name: value for name, value in document.items() if name not in _HIDDEN}
    return {**fields, "labels": confidences(document)}


def confidences(document: Document) -> Mapping[str, float]:
    """The labels of a document with their confidence, best first."""
    scores = document.get("scores", {})
    return {label: scores.get(label, 0.0) for label in document.get("labels", ())}


def facet_error(name: str) -> str | None:
    """What is wrong with a name of a field whose values shall be counted; None if nothing is."""
    if name in FACETS or re.fullmatch(r"meta\.[A-Za-z0-9_-]{1,64}", name):
        return None
    return f"{name[:40]!r} is not a field with facets; these are {', '.join(FACETS)}, meta.NAME"


def order_by(query: Query, sort: str) -> Query:
    """The query in one of the `SORTS`."""
    return replace(query, ranking=()) if sort == "newest" else query


async def find_unknown_words(
    indexer: Indexer,
    query: Query,
    names: Callable[[], Awaitable[AbstractSet[str]]],
    *,
    within: Condition | None = None,
) -> dict[str, Sequence[str]]:
    """The words of a query that neither the index nor the model knows, with the nearest that exist.

    ``names`` are the folded labels of the model, asked for only if they are needed. ``within``: what of the index may
    be known of. Raises Unavailable.
    """
    mentions = query.mentions[:_MAX_MENTIONS]
    known = await _find_known(indexer, [fold(word) for word in mentions], within)
    missing = [word for word in mentions if fold(word) not in known]
    if not missing:
        return {}
    terms = with_words(await names())
    unknown = [word for word in missing if fold(word) not in terms][:_MAX_UNKNOWN]
    near = {word: await suggest_terms(indexer, fold(word)[:_PREFIX], MAX_PAGE, within=within) for word in unknown}
    return {word: await find_close(fold(word), {*near[word], *terms}) for word in unknown}


async def find_close(word: str, terms: Collection[str]) -> Sequence[str]:
    """The terms that are written nearly like a word, at most three. It takes long, so it is done in a thread."""
    return await to_thread.run_sync(partial(get_close_matches, word, terms, n=_MAX_NEAR, cutoff=0.7))


async def suggest_terms(indexer: Indexer, prefix: str, limit: int, *, within: Condition | None = None) -> Sequence[str]:
    """Terms that begin with a folded prefix, those of most documents first.

    ``within``: only labels and ancestors of the documents that meet a condition, of which a word begins so.
    """
    if within is None:
        return await indexer.suggest(prefix, limit)
    query = Query("", And((StartsWith("terms", prefix), within)))
    facets = (await indexer.search(SearchRequest(query=query, limit=0, facets=("labels", "ancestors")))).facets
    counts: Counter[str] = Counter()
    for values in facets.values():
        for label, count in values.items():
            name = fold(label)
            if name.startswith(prefix) or any(word.startswith(prefix) for word in words(label)):
                counts[name] += count
    return list(most_frequent(counts, max(limit, 0)))


def most_frequent(counts: Mapping[str, int], limit: int) -> dict[str, int]:
    """The values that occur most often, in that order, then alphabetically."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit])


def with_words(names: Collection[str]) -> frozenset[str]:
    """Labels and their single words."""
    return frozenset(names) | {word for name in names for word in name.split()}


async def _find_known(indexer: Indexer, texts: Sequence[str], within: Condition | None) -> frozenset[str]:
    """Those of the folded texts that are a term or a word of some document."""
    if within is None:
        return await indexer.known(texts)
    known = set()
    for text in texts:
        query = Query("", And((Or((Is("terms", (text,)), Is("words", (text,)))), within)))
        if (await indexer.search(SearchRequest(query=query, limit=0))).total:
            known.add(text)
    return frozenset(known)
