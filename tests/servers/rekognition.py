"""Amazon Rekognition, as far as its API reference describes two actions; it knows plain colours.

https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectLabels.html
https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectModerationLabels.html
"""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from anyio import to_thread
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from servers.inference import HttpServer

CAR = {
    "Name": "Car",
    "Confidence": 98.87,
    "Instances": [
        {"BoundingBox": {"Width": 0.25, "Height": 0.5, "Left": 0.1, "Top": 0.2}, "Confidence": 98.8},
        {"BoundingBox": {"Width": 0.2, "Height": 0.3, "Left": 0.9, "Top": -0.1}, "Confidence": 71.2},
    ],
    "Parents": [{"Name": "Transportation"}, {"Name": "Vehicle"}],
    "Aliases": [{"Name": "Automobile"}],
    "Categories": [{"Name": "Vehicles and Automotive"}],
}
VEHICLE = {
    "Name": "Vehicle",
    "Confidence": 98.9,
    "Instances": [],
    "Parents": [{"Name": "Transportation"}],
    "Aliases": [],
    "Categories": [{"Name": "Vehicles and Automotive"}],
}
TRANSPORTATION = {
    "Name": "Transportation",
    "Confidence": 98.91,
    "Instances": [],
    "Parents": [],
    "Aliases": [],
    "Categories": [{"Name": "Vehicles and Automotive"}],
}
ROAD = {
    "Name": "Road",
    "Confidence": 61.5,
    "Instances": [],
    "Parents": [],
    "Aliases": [{"Name": "Street"}],
    "Categories": [{"Name": "Transport and Logistics"}],
}
MODERATED = [
    {"Name": "Weapons", "ParentName": "Violence", "Confidence": 81.4, "TaxonomyLevel": 2},
    {"Name": "Violence", "ParentName": "", "Confidence": 81.4, "TaxonomyLevel": 1},
]


class RekognitionServer(HttpServer):
    """``objects`` are those that it reads from S3 itself: bucket/key -> bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.labels, self.label_version, self.moderation_version = [CAR, VEHICLE, TRANSPORTATION, ROAD], "3.0", "7.0"
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Action and parameters of each call."""

    async def handle(self, request: Request, body: bytes) -> Response:
        action, parameters = request.headers["x-amz-target"].removeprefix("RekognitionService."), json.loads(body)
        self.asked.append((action, parameters))
        image = parameters["Image"]
        if "S3Object" in image:
            data = self.objects.get(f"{image['S3Object']['Bucket']}/{image['S3Object']['Name']}")
            if data is None:
                return refusal("InvalidS3ObjectException", "Unable to get object metadata from S3.")
        else:
            data = base64.b64decode(image["Bytes"])
        size = await to_thread.run_sync(_size, data)
        if size is None:
            return refusal("InvalidImageFormatException", "Request has invalid image format")
        if min(size) < 80:
            return refusal("InvalidParameterException", "Request has invalid parameters")
        if action == "DetectModerationLabels":
            answer = {"ModerationLabels": MODERATED, "ModerationModelVersion": self.moderation_version}
        else:
            least = parameters.get("MinConfidence", 55)
            labels = [label for label in self.labels if label["Confidence"] >= least][: parameters["MaxLabels"]]
            answer = {"Labels": labels, "LabelModelVersion": self.label_version}
        return Response(json.dumps(answer), media_type="application/x-amz-json-1.1")


def refusal(kind: str, message: str = "", status: int = 400) -> Response:
    """What AWS answers to a call that it refuses."""
    body = json.dumps({"__type": kind, "message": message})
    return Response(body, status_code=status, media_type="application/x-amz-json-1.1")


def _size(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size if image.format in {"JPEG", "PNG"} else None
    except OSError:
        return None
