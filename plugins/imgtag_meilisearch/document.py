"""A document as the server keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from imgtag.errors import DocumentError
from imgtag.plugin import Document
from imgtag_meilisearch.index_settings import DIMENSIONS, EMBEDDER, NUMBERS, PRIMARY_KEY, SCORES
from imgtag_meilisearch.long_values import add_parts, remove_parts

VECTORS = "_vectors"
IDENTITY = ("id", "site", "bucket", "key")
ID = re.compile(r"[A-Za-z0-9_-]{1,511}")
REQUIRED = IDENTITY[1:]


def encode(document: Document) -> bytes:
    """One line of NDJSON, the same for the same document, so that the server sees which fields have not changed.

    What would fail a task is found here, where it concerns one document: for some of it (a bad `_geo`, a vector of
    another length) the server fails every task that it processes together. Raises DocumentError.
    """
    try:
        _check(document)
        vector = (document.get(VECTORS) or {}).get(EMBEDDER)
        if vector is not None:
            if len(vector) != DIMENSIONS:
                raise ValueError(f"its vector has {len(vector)} numbers, not {DIMENSIONS}")
            if set(map(type, vector)) != {int}:  # which are finite
                vector = [_number(number, VECTORS) for number in vector]
        # Null is sent too: a new document without the field fails, a replaced one would keep the old vector.
        whole = {**add_parts(document), VECTORS: {EMBEDDER: vector}}
        text = json.dumps(whole, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        return text.encode() + b"\n"
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        name = document.get("key") if isinstance(document, Mapping) else None
        raise DocumentError(f"the document of {name!r} cannot be indexed: {error}") from error


def select_fields(fields: Sequence[str]) -> dict[str, Any]:
    """The options of a request for these fields and those that say which document it is; for all where none is named.

    https://www.meilisearch.com/docs/reference/api/documents#get-documents-with-post
    """
    vectors = not fields or VECTORS in fields
    return {"retrieveVectors": vectors, **({"fields": sorted({*IDENTITY, *fields})} if fields else {})}


def decode(raw: Mapping[str, Any], *, vectors: bool = True) -> dict[str, Any]:
    """The document as it was written. The server returns a vector as an object, an empty one where there was null.

    It keeps vectors in single precision, so six digits come back as they were.
    """
    document = {name: remove_parts(name, value) for name, value in raw.items() if name != VECTORS}
    if vectors and isinstance(raw.get(VECTORS), Mapping):
        embedders = dict(raw[VECTORS])
        for name, value in embedders.items():
            if isinstance(value, Mapping):
                embeddings = [[float(f"{number:.6g}") for number in row] for row in value.get("embeddings") or []]
                embedders[name] = embeddings[0] if len(embeddings) == 1 else embeddings or None
        document[VECTORS] = embedders
    return document


def _check(document: Document) -> None:
    if not (isinstance(document.get(PRIMARY_KEY), str) and ID.fullmatch(document[PRIMARY_KEY])):
        raise ValueError(f"{document.get(PRIMARY_KEY)!r} is not an id of letters, digits, - and _")
    for name in REQUIRED:
        if not (isinstance(document.get(name), str) and document[name]):
            raise ValueError(f"it has no {name}")
    for name in NUMBERS:
        _number(document.get(name, 0), name)
    for label, score in document.get(SCORES, {}).items():
        _number(score, f"{SCORES}.{label}")
    if "_geo" in document:
        place = document["_geo"]
        if set(place) != {"lat", "lng"}:
            raise ValueError("_geo is not made of lat and lng")
        if abs(_number(place["lat"], "_geo.lat")) > 90 or abs(_number(place["lng"], "_geo.lng")) > 180:
            raise ValueError("_geo is not a place on the globe")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is not a finite number")
    return value
