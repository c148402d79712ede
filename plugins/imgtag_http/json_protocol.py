"""Any JSON API, by the paths that the settings name."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from imgtag.errors import Unavailable
from imgtag.plugin import Box, Detection, ImageOrder, RemoteImage
from imgtag_http.client import Request
from imgtag_http.paths import find_all, find_one
from imgtag_http.settings import IMAGE, HttpSettings


class JsonProtocol:
    """Sends an image in the configured form, and finds labels where the settings say."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self.order = ImageOrder(max_side=settings.max_side, max_bytes=settings.max_bytes)

    def request(self, image: RemoteImage) -> Request:
        """What asks about an image."""
        settings = self._settings
        if settings.body is None:
            return Request(method=settings.method, body=image.data, headers={"Content-Type": "image/jpeg"})
        body = _fill(settings.body, b64encode(image.data).decode())
        headers = {"Content-Type": "application/json"}
        return Request(method=settings.method, body=json.dumps(body).encode(), headers=headers)

    def detections(self, answer: Any, image: RemoteImage) -> Sequence[Detection]:
        """What the server says of it. Raises Unavailable where the answer is not as the settings say."""
        settings = self._settings
        return [
            Detection(
                name=_text(find_one(item, settings.label), settings.label),
                confidence=_number(find_one(item, settings.confidence), settings.confidence) / settings.confidence_max,
                boxes=self._boxes(item, image),
            )
            for item in find_all(answer, settings.items)
        ]

    def _boxes(self, item: Any, image: RemoteImage) -> tuple[Box, ...]:
        settings = self._settings
        if settings.box is None:
            return ()
        values = find_one(item, settings.box)
        if not isinstance(values, list) or len(values) != 4:
            raise _unexpected(settings.box, "a list of four numbers")
        left, top, third, fourth = (_number(value, settings.box) for value in values)
        if settings.box_form == "xyxy":
            third, fourth = third - left, fourth - top
        across, down = (image.width, image.height) if settings.box_unit == "pixels" else (1, 1)
        return (Box(left / across, top / down, third / across, fourth / down),)


def _fill(value: Any, image: str) -> Any:
    if isinstance(value, dict):
        return {key: _fill(content, image) for key, content in value.items()}
    if isinstance(value, list):
        return [_fill(content, image) for content in value]
    return image if value == IMAGE else value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _unexpected(path, "text")
    return value


def _number(value: Any, path: str) -> float:
    # A bool is an int to Python, and a confidence to nobody; NaN, and what is too large for a float, is none either.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e9:
        raise _unexpected(path, "a number")
    return float(value)


def _unexpected(path: str, what: str) -> Unavailable:
    hint = "Compare the paths under [classifier.http] with an answer of the server. The images wait meanwhile."
    return Unavailable(f"what the path {path!r} names in the answer is not {what}", code="invalid_answer", hint=hint)
