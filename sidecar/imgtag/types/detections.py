"""What a model says of an image in its own words, when its labels are not known in advance."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_DETECTIONS = 20
"""Detections that are kept of an image."""
MAX_TERMS = 12
"""Parents, and synonyms, that are kept of a detection."""
MAX_BOXES = 32
"""Boxes that are kept of an image."""
MAX_NAME = 100
"""Characters of a label."""

_SIGN = "@"
"""What the text form begins with; that of class numbers begins with a digit. Percent-encoding escapes it in names."""
_SCALE = 10_000
_BOX_SCALE = 1_000
_BOX = re.compile(r"\d{1,4}-\d{1,4}-\d{1,4}-\d{1,4}")


@dataclass(frozen=True, slots=True)
class Box:
    """Where something is: left, top, width and height as shares of the upright image, from 0 to 1."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Something that a model sees on an image.

    ``name`` is the label as it is shown. ``parents`` are what it is a kind of, from the specific to the general;
    ``synonyms`` what else it is called. ``boxes``: where each instance of it is.
    """

    name: str
    confidence: float
    parents: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    category: str | None = None
    boxes: tuple[Box, ...] = ()


def encode_detections(detections: Sequence[Detection]) -> str:
    """One line of printable ASCII that ``decode_detections`` reads.

    ``@Dog:9812:@1:puppy:Animals+and+Pets:120-45-500-400,Animal:9970``: name, confidence in ten-thousandths, parents
    (``@1`` is the second detection), synonyms, category, boxes in thousandths; empty parts at the end are left out.
    """
    places = {detection.name: f"{_SIGN}{place}" for place, detection in reversed(list(enumerate(detections)))}
    return _SIGN + ",".join(_encode(detection, places) for detection in detections)


def decode_detections(text: str) -> tuple[Detection, ...] | None:
    """None where ``text`` was not written by ``encode_detections``."""
    if not text.startswith(_SIGN) or not text.isascii():
        return None
    items = [item.split(":") for item in text.removeprefix(_SIGN).split(",")]
    if len(items) > MAX_DETECTIONS:
        return None
    names = [unquote_plus(item[0]) for item in items]
    try:
        detections = tuple(_decode(item, names) for item in items)
    except (ValueError, LookupError):
        return None
    boxes = sum(len(detection.boxes) for detection in detections)
    return detections if boxes <= MAX_BOXES else None


def clip(box: Box) -> Box | None:
    """The part of a box that lies within the image, to three decimals; None where there is none, or it is no box."""
    edges = (box.left, box.top, box.left + box.width, box.top + box.height)
    if not all(map(math.isfinite, edges)):
        return None
    left, top, right, lower = (round(min(1.0, max(0.0, edge)) * _BOX_SCALE) for edge in edges)
    if right <= left or lower <= top:
        return None
    return Box(*(value / _BOX_SCALE for value in (left, top, right - left, lower - top)))


def _encode(detection: Detection, places: Mapping[str, str]) -> str:
    parts = [
        quote_plus(detection.name),
        str(round(detection.confidence * _SCALE)),
        "/".join(places.get(parent) or quote_plus(parent) for parent in detection.parents),
        "/".join(map(quote_plus, detection.synonyms)),
        quote_plus(detection.category or ""),
        "/".join(map(_encode_box, detection.boxes)),
    ]
    return ":".join(parts).rstrip(":")


def _encode_box(box: Box) -> str:
    return "-".join(str(round(value * _BOX_SCALE)) for value in (box.left, box.top, box.width, box.height))


def _decode(item: Sequence[str], names: Sequence[str]) -> Detection:
    """Raises ValueError, LookupError."""
    name, confidence, parents, synonyms, category, boxes = (*item, "", "", "", "")[:6]
    if not name or len(item) > 6 or not (confidence.isdigit() and 0 < int(confidence) <= _SCALE):
        raise ValueError
    detection = Detection(
        name=unquote_plus(name),
        confidence=int(confidence) / _SCALE,
        parents=tuple(_decode_parent(text, names) for text in _parts(parents)),
        synonyms=tuple(map(unquote_plus, _parts(synonyms))),
        category=unquote_plus(category) or None,
        boxes=tuple(map(_decode_box, _parts(boxes))),
    )
    texts = (detection.name, *detection.parents, *detection.synonyms)
    if max(len(detection.parents), len(detection.synonyms)) > MAX_TERMS or not all(map(is_usable_name, texts)):
        raise ValueError
    return detection


def is_usable_name(text: str) -> bool:
    """Whether a text can be the name of a label: not empty, not too long, on one line."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and bool(text.strip())


def _decode_parent(text: str, names: Sequence[str]) -> str:
    return names[int(text.removeprefix(_SIGN))] if text.startswith(_SIGN) else unquote_plus(text)


def _parts(text: str) -> Iterable[str]:
    return text.split("/") if text else ()


def _decode_box(text: str) -> Box:
    if not _BOX.fullmatch(text):
        raise ValueError
    box = Box(*(int(value) / _BOX_SCALE for value in text.split("-")))
    if clip(box) != box:
        raise ValueError
    return box
