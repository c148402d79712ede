"""The names that a query may use, and the fields of the document behind them."""

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

OTHER_WORDS = {
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


def known(name: str) -> bool:
    """Tell whether a name, in lower case, belongs to the language, so that it is no label's."""
    return name in EXAMPLES or name.startswith(METADATA)


def example(name: str) -> str:
    """Return how a name of the language is used."""
    return EXAMPLES.get(name, f"{name}:...")


def nearest(name: str) -> str:
    """Return what may have been meant by an unknown name, as it is written; empty where nothing is near."""
    close = get_close_matches(name, EXAMPLES, n=1)
    return OTHER_WORDS.get(name) or (EXAMPLES[close[0]].removesuffix("...") if close else "")
