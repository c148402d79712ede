"""The fields of a document in the index, and which of them answers which condition.

Beside a text as it is shown, the index keeps it as it is compared, under ``compared``: no analyser of the server folds
texts exactly as `imgtag.plugin.normalise` does. What belongs to a document has the name that it has there, except that
``labels`` are objects here, with the confidence of each beside its name, and their plain names are ``label_names``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

MAX_TEXT = 8191
"""Characters of a text that are compared: a term of the index has at most 32,766 bytes."""
FOLDED = ("terms", "words", "status", "when_day", "when_month")
"""Texts that the sidecar writes as they are compared."""
NORMALISED = (
    "site",
    "bucket",
    "key",
    "prefixes",
    "title",
    "labels",
    "ancestors",
    "top_label",
    "category",
    "type",
    "camera",
    "code",
    "model",
    "rules",
    "space",
)
NUMBERS = ("size", "width", "height", "when", "taken", "modified", "labelled", "top_confidence")
DERIVED = ("compared", "labels", "meta_values", "place", "date", "vector")
"""What the index has and the document has not."""
META = "meta."

Comparison = Literal["text", "number"]

_KEYWORD = {"type": "keyword", "ignore_above": MAX_TEXT}
_OPAQUE = {"type": "object", "enabled": False}
"""Kept, but not searched: one field for each label would soon be thousands of fields."""
VECTORS: Mapping[str, Mapping[str, Any]] = {
    "elasticsearch": {"type": "dense_vector", "dims": 128, "index": True, "similarity": "cosine"},
    "opensearch": {
        "type": "knn_vector",
        "dimension": 128,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil"},
    },
}
"""The field ``vector`` where the product has nearest-neighbour search."""
VECTOR_SETTINGS: Mapping[str, Mapping[str, Any]] = {"elasticsearch": {}, "opensearch": {"knn": True}}

PROPERTIES: Mapping[str, Any] = {
    **{name: _KEYWORD for name in (*FOLDED, *NORMALISED) if name != "labels"},
    "label_names": _KEYWORD,
    "labels": {
        "type": "nested",
        "properties": {"name": _KEYWORD, "confidence": {"type": "double"}, "ancestor": {"type": "boolean"}},
    },
    **{name: {"type": "double"} for name in NUMBERS},
    "date": {"type": "date", "format": "strict_date_time_no_millis"},
    "place": {"type": "geo_point"},
    "meta_values": _KEYWORD,
    "compared": {"properties": dict.fromkeys((*NORMALISED, "meta", "parts"), _KEYWORD)},
    **dict.fromkeys(("scores", "meta", "_geo", "_vectors"), _OPAQUE),
}


def comparison(field: str) -> Comparison | None:
    """How a field of the document is compared; None where the index has no field for it."""
    if field in NUMBERS:
        return "number"
    return "text" if field in FOLDED or field in NORMALISED or field.startswith(META) else None


def compared_path(field: str) -> str:
    """The field of the index with the texts as they are compared. All of ``meta.*`` are in one: see `meta_value`."""
    if field.startswith(META):
        return "compared.meta"
    return field if field in FOLDED else f"compared.{field}"


def shown_path(field: str) -> str:
    """The field of the index with the texts as they are shown."""
    if field.startswith(META):
        return "meta_values"
    return "label_names" if field == "labels" else field


def value_prefix(field: str) -> str:
    """What each value of a field begins with where several fields of the document share one of the index."""
    return f"{quote(field.removeprefix(META), safe='')}=" if field.startswith(META) else ""
