"""Labels: what a model saw, and which of it is said."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, unquote_plus

from imgtag.types.detections import Detection, decode_detections, encode_detections

if TYPE_CHECKING:
    from collections.abc import Iterable


RAW_CLASSES = 20
"""How many classes are kept of what a model says."""

_SCALE = 10_000
_PAIRS = re.compile(rf"[0-9]{{1,7}}:[0-9]{{1,5}}(?:,[0-9]{{1,7}}:[0-9]{{1,5}}){{0,{RAW_CLASSES - 1}}}")


def identity(text: str) -> str:
    """What a label is called everywhere but on a screen: S3 lowers the case of metadata names."""
    return unicodedata.normalize("NFC", " ".join(text.split()).lower())


@dataclass(frozen=True, slots=True)
class Label:
    """A label's identity, and how sure the model is, 0 to 1."""

    name: str
    confidence: float
    priority: int = field(default=0, compare=False)
    """What is dropped last where room is short; not written anywhere."""


@lru_cache(maxsize=4096)  # a model has few labels, and every image has some of them
def label_to_name(label: str) -> str:
    """Percent-encoded ASCII in lower case, space as ``+``: safe in a header name."""
    return quote_plus(label).lower()


def name_to_label(name: str) -> str:
    """The label of an encoded name, whatever the case of its escapes."""
    return unquote_plus(name)


@dataclass(frozen=True, slots=True)
class Raw:
    """The model's best classes: class number and probability, best first.

    An open vocabulary has no class numbers: there, class n is ``detections[n]``.
    """

    classes: tuple[tuple[int, float], ...]
    detections: tuple[Detection, ...] = ()

    @classmethod
    def best(cls, classes: Iterable[tuple[int, float]]) -> Raw:
        """The first RAW_CLASSES by probability, to four decimals, without what rounds to nothing."""
        rounded = ((number, round(probability, 4)) for number, probability in classes)
        ranked = sorted(rounded, key=lambda item: (-item[1], item[0]))[:RAW_CLASSES]
        return cls(tuple(item for item in ranked if item[1] > 0))

    @classmethod
    def of_detections(cls, detections: Iterable[Detection]) -> Raw:
        """What an open vocabulary's model said, best first."""
        rounded = (replace(detection, confidence=round(detection.confidence, 4)) for detection in detections)
        ranked = sorted(rounded, key=lambda detection: (-detection.confidence, detection.name))
        kept = tuple(detection for detection in ranked[:RAW_CLASSES] if detection.confidence > 0)
        return cls(tuple((place, detection.confidence) for place, detection in enumerate(kept)), kept)

    def without_boxes(self) -> Raw:
        """The same without places on the image."""
        return replace(self, detections=tuple(replace(detection, boxes=()) for detection in self.detections))

    def encode(self) -> str:
        """``277:5852,278:2741``: probabilities in ten-thousandths; or `encode_detections`."""
        return encode_detections(self.detections) if self.detections else _encode_classes(self.classes)

    @classmethod
    def decode(cls, text: str) -> Raw | None:
        """None where ``text`` was not written by ``encode``."""
        return _decode_raw(text)


@lru_cache(maxsize=256)  # the scores of an image are encoded as they are written and as they will be read
def _encode_classes(classes: tuple[tuple[int, float], ...]) -> str:
    return ",".join([f"{number}:{round(probability * _SCALE)}" for number, probability in classes])


@lru_cache(maxsize=256)  # the worker's answer, the entry written, and the entry read again are one text
def _decode_raw(text: str) -> Raw | None:
    if detections := decode_detections(text):
        return Raw.of_detections(detections)
    if not _PAIRS.fullmatch(text):
        return None
    classes = []
    for pair in text.split(","):
        number, _, value = pair.partition(":")
        classes.append((int(number), int(value) / _SCALE))
    return None if any(probability > 1 for _, probability in classes) else Raw(tuple(classes))


def parse_confidence(text: str) -> float | None:
    """A confidence as the sidecar writes it; None for any other text."""
    if not text.replace(".", "", 1).isdigit() or not text.isascii():
        return None
    value = float(text)
    return value if math.isfinite(value) and 0 < value <= 1 else None
