"""The names that a query may use, and the fields of the document that they stand for."""

from __future__ import annotations

from difflib import get_close_matches

TEXTS = {
    "bucket": "bucket",
    "camera": "camera",
    "category": "category",
    "code": "code",
    "label": "labels",
    "model": "model",
    "prefix": "prefixes",
    "status": "status",
    "title": "title",
    "type": "type",
}
TEXT_NAMES = " ".join(f"{name}:" for name in TEXTS)
METADATA = "meta."
DATES = ("after", "before", "on")
PLACE = "near"
STATUSES = ("labelled", "unlabelled", "refused", "failed")

BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
PIXELS = {"": 1, "px": 1}
NUMBERS = {
    "confidence": ("top_confidence", {"": 1}),
    "height": ("height", PIXELS),
    "size": ("size", BYTES),
    "width": ("width", PIXELS),
}

SYNONYMS = {
    "ancestor": "label:",
    "confidence": "confidence>",
    "date": "on:",
    "ext": "type:",
    "file": "title:",
    "filename": "title:",
    "folder": "prefix:",
    "key": "prefix:",
    "name": "title:",
    "path": "prefix:",
    "place": "near:",
    "since": "after:",
    "tag": "label:",
    "until": "before:",
}
EXAMPLES = {
    "after": "after:2024-07",
    "before": "before:2024",
    "confidence": "confidence>0.5",
    "height": "height>1000",
    "meta": "meta.license:2",
    "meta.": "meta.license:2",
    "near": "near:46.5,7.9,10km",
    "on": "on:2024-07-01",
    "size": "size>1MB",
    "width": "width>4000",
} | {name: f"{name}:..." for name in TEXTS}


def is_reserved(name: str) -> bool:
    """Tell whether a name, in lower case, belongs to the language and so cannot be a label outside quotes."""
    return name in EXAMPLES or name.startswith(METADATA)


def example_of(name: str) -> str:
    """Return how a name of the language is used."""
    return EXAMPLES.get(name, f"{name}:...")


def suggest_field(name: str) -> str:
    """Return what an unknown name may stand for, as a query writes it; empty where nothing is similar."""
    close = get_close_matches(name, EXAMPLES, n=1)
    return SYNONYMS.get(name) or (EXAMPLES[close[0]].removesuffix("...") if close else "")
