"""The values of a document that filters, orders and counts see.

crates/milli/src/update/new/extract/faceted/extract_facets.rs and extract/mod.rs (perm_json_p)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

LONGEST = 468
"""Bytes of a value that are kept; what is asked for is not cut."""


@dataclass
class Values:
    """One field of one document; normalised texts with one of their originals. That it is here: it exists."""

    numbers: set[float] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    null: bool = False
    empty: bool = False


def normalised(text: str) -> str:
    """`normalize_facet`: trimmed, then NFKD, then lower case."""
    return normalize("NFKD", text.strip()).lower()


def values(document: Mapping[str, Any]) -> dict[str, Values]:
    """All fields by their dotted names. Values of objects within lists are thrown together: they do not correlate."""
    found: dict[str, Values] = {}
    for name, value, base in _leaves("", document, base=True):
        _add(found.setdefault(name, Values()), value, base=base)
    place = document.get("_geo")
    if isinstance(place, Mapping):
        for name in ("lat", "lng"):
            found[f"_geo.{name}"] = Values(numbers={float(place[name])})
    return found


def _leaves(name: str, value: Any, *, base: bool) -> Iterator[tuple[str, Any, bool]]:
    if isinstance(value, Mapping):
        if name:
            yield name, value, base
        for key, inner in value.items():
            if name or key not in {"_vectors", "_geo"}:
                yield from _leaves(f"{name}.{key}" if name else key, inner, base=True)
    elif isinstance(value, list):
        yield name, value, base
        for inner in value:
            yield from _leaves(name, inner, base=False)
    else:
        yield name, value, base


def _add(found: Values, value: Any, *, base: bool) -> None:
    match value:
        case bool():
            found.texts["true" if value else "false"] = str(value).lower()
        case int() | float():
            found.numbers.add(float(value))
        case str() if value:
            found.texts[_cut(normalised(value))] = value
        case None:
            found.null |= base
        case _:
            found.empty |= base and not value


def _cut(text: str) -> str:
    return text.encode()[:LONGEST].decode(errors="ignore")
