"""A document as the rows that index it."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from imgtag.errors import DocumentError
from imgtag.plugin import Document, fold, normalise, vector_of
from imgtag.types.vector import LENGTH
from imgtag_sqlite.schema import FACETS, NUMBERS

NAMES = ("id", "site", "bucket", "key")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one document.

    `counted` maps (field, normalised value) to the value as it is shown; `others`, which are found but not counted in
    the answer to a search, (field, value) to the confidence of a label, or to None.
    """

    id: str
    columns: tuple[str | float | None, ...]
    body: str
    counted: dict[tuple[str, str], str]
    others: dict[tuple[str, str], float | None]
    vector: bytes | None


def split_document(document: Document) -> Rows:
    """Split a document into its rows. Raises DocumentError where it cannot be indexed."""
    try:
        body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body.encode()  # half a surrogate pair fails here, so that only this document is refused for it
        identity = [_text(document, name) for name in NAMES]
        if "" in identity:
            raise ValueError(f"it has no {NAMES[identity.index('')]}")
        id_, site, bucket, key = identity
        title, status = (normalise(_text(document, name)) for name in ("title", "status"))
        numbers = (_number(document.get(name), name) for name in NUMBERS)
        vector = vector_of(document)
        if vector is not None and len(vector) != LENGTH:
            raise ValueError(f"its vector has {len(vector)} numbers, not {LENGTH}")
        return Rows(
            id=id_,
            columns=(id_, site, bucket, key, normalise(key), title, status, *numbers, *_position(document)),
            body=body,
            counted=dict(_counted(document)),
            others=dict(_others(document)),
            vector=None if vector is None else array("b", vector).tobytes(),
        )
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        name = document.get("key") if isinstance(document, dict) else None
        raise DocumentError(f"the document of {name!r} cannot be indexed: {error}") from error


def _text(document: Document, name: str) -> str:
    text = document.get(name)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{name} is not text")
    return text or ""


def _texts(value: Any, name: str) -> list[str]:
    texts = [value] if isinstance(value, str) else list(value or ())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} holds something other than text")
    return texts


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is not a finite number")
    return float(value)


def _position(document: Document) -> tuple[float | None, float | None]:
    place = document.get("_geo")
    if place is None:
        return None, None
    latitude, longitude = _number(place.get("lat"), "_geo.lat"), _number(place.get("lng"), "_geo.lng")
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 180:
        raise ValueError("_geo is not a place on the globe")
    return latitude, longitude


def _counted(document: Document) -> Iterator[tuple[tuple[str, str], str]]:
    fields = {name: document.get(name) for name in FACETS}
    fields |= {f"meta.{name}": value for name, value in (document.get("meta") or {}).items()}
    for field, values in fields.items():
        for text in _texts(values, field):
            if value := normalise(text):
                yield (field, value), text


def _others(document: Document) -> Iterator[tuple[tuple[str, str], float | None]]:
    for field in ("terms", "words"):
        for text in _texts(document.get(field), field):
            if value := fold(text):
                yield (field, value), None
    for label, score in (document.get("scores") or {}).items():
        if (number := _number(score, f"scores.{label}")) is not None:
            yield ("scores", label), round(number, 2)
