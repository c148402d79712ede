"""The settings of the index: what is filtered, sorted and counted, and how.

The first rule of `filterableAttributes` that matches a field applies to it. The rules have the object form,
because a plain name also switches on facet search, which costs time with each batch; `_geo` works as a plain name
only. https://www.meilisearch.com/docs/reference/api/settings#filterable-attributes
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

PRIMARY_KEY = "id"
EMBEDDER = "img"
DIMENSIONS = 128
MAX_FACET_VALUES = 2000

TEXTS = (
    "site",
    "bucket",
    "key",
    "prefixes",
    "title",
    "words",
    "labels",
    "ancestors",
    "top_label",
    "category",
    "type",
    "camera",
    "status",
    "code",
    "model",
    "rules",
    "space",
    "when_day",
    "when_month",
    "meta.*",
)
NUMBERS = ("size", "width", "height", "when", "taken", "modified", "labelled", "top_confidence")
SCORES = "scores"

Comparison = Literal["text", "number", "place"]


def _rule(*patterns: str, equality: bool, comparison: bool, facet_search: bool = False) -> dict[str, Any]:
    filters = {"equality": equality, "comparison": comparison}
    return {"attributePatterns": list(patterns), "features": {"facetSearch": facet_search, "filter": filters}}


SETTINGS: Mapping[str, Any] = {
    "searchableAttributes": ["labels", "terms", "title"],
    "filterableAttributes": [
        "_geo",
        _rule(f"{SCORES}.*", equality=False, comparison=True),
        _rule("terms", equality=True, comparison=False, facet_search=True),
        _rule(*TEXTS, equality=True, comparison=False),
        _rule(*NUMBERS, equality=True, comparison=True),
    ],
    # Sorted, as the server returns them: otherwise the settings would always seem to differ.
    "sortableAttributes": sorted(["_geo", "key", "labelled", "modified", SCORES, "size", "top_confidence", "when"]),
    "rankingRules": [
        "words",
        "typo",
        "proximity",
        "attributeRank",
        "sort",
        "wordPosition",
        "exactness",
        "top_confidence:desc",
    ],
    "displayedAttributes": ["*"],
    "typoTolerance": {
        "disableOnAttributes": [],
        "disableOnNumbers": True,
        "disableOnWords": [],
        "enabled": True,
        "minWordSizeForTypos": {"oneTypo": 5, "twoTypos": 9},
    },
    "faceting": {
        "maxValuesPerFacet": MAX_FACET_VALUES,
        "sortFacetValuesBy": {"*": "count", "when_day": "alpha", "when_month": "alpha"},
    },
    "pagination": {"maxTotalHits": 10_000},
    "embedders": {EMBEDDER: {"source": "userProvided", "dimensions": DIMENSIONS}},
}

REPLACED_WHOLE = frozenset({EMBEDDER, "sortFacetValuesBy"})
"""Tables that the server replaces as a whole; of other tables it changes only the options that it is sent.

https://www.meilisearch.com/docs/reference/api/settings#update-settings
"""


def comparison(field: str) -> Comparison | None:
    """How a field is compared; None where no rule allows a filter on it."""
    if field in NUMBERS or field.startswith(f"{SCORES}."):
        return "number"
    if field == "terms" or is_text(field):
        return "text"
    return "place" if field == "_geo" else None


@lru_cache(maxsize=256)  # all documents have the same fields
def is_text(field: str) -> bool:
    """Whether a field is one of TEXTS."""
    return any(fnmatchcase(field, pattern) for pattern in TEXTS)


def differing(there: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings where those of the server differ. Settings that we do not have (synonyms, say) are left alone."""
    return {name: ours for name, ours in SETTINGS.items() if not covers(there.get(name), ours)}


def former(there: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """The server's values in the place of ours, so that sending them undoes ours: null where it has none."""
    return {
        name: former(there.get(name) or {}, value)
        if isinstance(value, Mapping) and name not in REPLACED_WHOLE
        else there.get(name)
        for name, value in ours.items()
    }


def covers(there: Any, ours: Any) -> bool:
    """Whether our setting is in force. A newer server may have more options than these; lists must be equal."""
    if isinstance(ours, Mapping):
        return isinstance(there, Mapping) and all(covers(there.get(name), value) for name, value in ours.items())
    return bool(there == ours)
