"""A document as the index keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from imgtag.errors import DocumentError
from imgtag.plugin import Document, field_values, vector_of
from imgtag_elasticsearch.fields import DERIVED, FOLDED, META, NORMALISED, NUMBERS, value_prefix
from imgtag_elasticsearch.long_values import divide

REQUIRED = ("id", "site", "bucket", "key")
DIMENSIONS = 128


def encode(document: Document, *, with_vector: bool) -> bytes:
    """The source of the document, with what is derived from it for the search. Raises DocumentError."""
    try:
        _check(document)
        source = {**document, **_derive(document)}
        if "labels" in document:
            source["label_names"] = document["labels"]
        if with_vector and (vector := vector_of(document)):
            source["vector"] = vector
        text = json.dumps(source, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()  # half a surrogate pair fails here, so that only this document is refused for it
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        name = document.get("key") if isinstance(document, Mapping) else None
        raise DocumentError(f"the document of {name!r} cannot be indexed: {error}") from error


def decode(source: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it was written."""
    document = {name: value for name, value in source.items() if name not in DERIVED}
    if "label_names" in document:
        document["labels"] = document.pop("label_names")
    return document


def source_fields(fields: Sequence[str]) -> list[str]:
    """The fields of the source that hold these fields of the document."""
    return ["label_names" if field == "labels" else field for field in fields]


def _derive(document: Document) -> dict[str, Any]:
    meta = [f"{META}{name}" for name in document.get("meta") or {}]
    values = {field: field_values(document, field) for field in (*NORMALISED, *meta)}
    compared = {field: list(values[field]) for field in NORMALISED if values[field]}
    if any(values[field] for field in meta):
        compared["meta"] = [f"{value_prefix(field)}{value}" for field in meta for value in values[field]]
    texts = [("key", document["key"]), *((f"compared.{path}", text) for path in compared for text in compared[path])]
    texts += ((field, text) for field in FOLDED for text in field_values(document, field))
    if parts := [part for path, text in texts for part in divide(path, text)]:
        compared["parts"] = parts
    derived: dict[str, Any] = {"labels": _labels(document), "compared": compared}
    if shown := [f"{value_prefix(field)}{value}" for field in meta for value in values[field].values()]:
        derived["meta_values"] = shown
    if place := document.get("_geo"):
        derived["place"] = {"lat": place["lat"], "lon": place["lng"]}
    if (date := _date(document.get("when"))) is not None:
        derived["date"] = date
    return derived


def _labels(document: Document) -> list[dict[str, Any]]:
    """Labels and ancestors, each with its confidence, those of the greatest first."""
    own = set(document.get("labels") or ())
    scores = sorted((document.get("scores") or {}).items(), key=lambda item: -item[1])
    return [{"name": name, "confidence": score, "ancestor": name not in own} for name, score in scores]


def _date(when: float | None) -> str | None:
    """A moment as charts take it; None where the calendar of Python does not have it."""
    try:
        return None if when is None else datetime.fromtimestamp(int(when), UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return None


def _check(document: Document) -> None:
    for name in REQUIRED:
        if not (isinstance(document.get(name), str) and document[name]):
            raise ValueError(f"it has no {name}")
    for name in NUMBERS:
        if document.get(name) is not None:
            _number(document[name], name)
    for label, score in (document.get("scores") or {}).items():
        _number(score, f"scores.{label}")
    if (place := document.get("_geo")) and (
        abs(_number(place["lat"], "_geo.lat")) > 90 or abs(_number(place["lng"], "_geo.lng")) > 180
    ):
        raise ValueError("_geo is not a place on the globe")
    vector = vector_of(document)
    if vector is not None and len(vector) != DIMENSIONS:
        raise ValueError(f"its vector has {len(vector)} numbers, not {DIMENSIONS}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is not a finite number")
    return value
