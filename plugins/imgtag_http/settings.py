"""The table `[classifier.http]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin.spec import Settings
from imgtag.types.prepared_image import MAX_PREPARED
from imgtag_http.paths import parse_path

IMAGE = "$image"
"""What stands for the image, in base64, in a body."""
MAX_TENSOR_SIDE = 900
"""Pixels: a tensor of three bytes a pixel fits into `MAX_PREPARED`."""


def _parse_url(text: str) -> str:
    url = urlsplit(text)
    if url.username or url.password:
        raise ValueError("use the setting token instead of a user and password: addresses are logged")
    if url.fragment:
        raise ValueError("has a fragment, which no server sees")
    return text.rstrip("/")


def _check_path(text: str) -> str:
    parse_path(text)
    return text


Url = Annotated[str, Field(pattern=r"^https?://[^\s/]"), AfterValidator(_parse_url)]
JsonPath = Annotated[str, AfterValidator(_check_path)]
Three = tuple[float, float, float]


class HttpSettings(Settings):
    """Where the server is, in what form it gets images, and where in its answer labels and confidences are."""

    url: Url = Field(
        description='URL of the server: with protocol = "v2" what comes before `/v2/models`, otherwise the whole URL '
        "that images are sent to. Redirects are not followed.",
        examples=["http://127.0.0.1:8000"],
    )
    protocol: Literal["v2", "json"] = Field(
        default="v2",
        description="`v2`: the Open Inference Protocol, as of KServe, Triton, OpenVINO Model Server and MLServer. "
        "`json`: any server, by `body`, `items`, `label` and `confidence`.",
    )
    model: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Name of the model; with `v2`, its name on the server. Marks and documents carry it.",
        examples=["animals"],
    )
    version: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="Version of the model. With `v2`, the version to ask; by default the server chooses, and says "
        "which one it was. With `json`, change it with the model: then older labels count as stale.",
    )
    token: SecretStr | None = Field(default=None, description="Token that the server asks for.")
    token_header: str = Field(
        default="Authorization",
        pattern=r"^[A-Za-z0-9-]{1,60}$",
        description="Header that carries the token: in `Authorization` as `Bearer TOKEN`, in any other as it is.",
    )
    ca: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) to verify the server with. Default: those of the system.",
    )
    connect_timeout: float = Field(default=3, gt=0, le=60, description="Seconds to wait for a connection.")
    timeout: float = Field(default=15, gt=0, le=600, description="Seconds that an answer may take in total.")
    concurrency: int = Field(
        default=4, ge=1, le=256, description="Images that the server is asked about at once; the others wait."
    )
    max_side: int = Field(
        default=1024,
        ge=16,
        le=8192,
        description="Longest side of an image as it is sent, in pixels. Workers reduce larger ones.",
    )
    max_bytes: int = Field(
        default=MAX_PREPARED,
        ge=10_000,
        le=MAX_PREPARED,
        description="Maximum size of an image as it is sent, as JPEG without metadata.",
    )
    min_confidence: float = Field(
        default=0.01, ge=0, le=1, description="Labels below this confidence are not even kept as raw scores."
    )
    labels: Path | None = Field(
        default=None,
        description="File with the names of the classes, one per line in the order of the model's output. With `v2`, "
        "needed where the model answers with numbers alone.",
    )
    input: str = Field(
        default="", description="With `v2`: name of the input that gets the image. Default: the only one."
    )
    output: str = Field(
        default="", description="With `v2`: name of the output with the confidences. Default: the only one of numbers."
    )
    output_labels: str = Field(
        default="",
        description="With `v2`: name of the output with the labels. Default: the only one of strings, if there is one.",
    )
    size: tuple[int, int] | None = Field(
        default=None,
        description="With `v2`, width and height of the input in pixels, where the server does not say: "
        "for models that get pixels instead of a file.",
        examples=[[224, 224]],
    )
    crop: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="With `v2` and pixels: share of the shorter side that stays, from the middle.",
    )
    mean: Three = Field(
        default=(0.0, 0.0, 0.0),
        description="With `v2` and pixels as floating point: subtracted from red, green and blue, each 0 to 1.",
        examples=[[0.485, 0.456, 0.406]],
    )
    std: Three = Field(
        default=(1.0, 1.0, 1.0),
        description="With `v2` and pixels as floating point: what the difference is divided by.",
        examples=[[0.229, 0.224, 0.225]],
    )
    tensors: Literal["json", "binary"] = Field(
        default="json",
        description="With `v2`: how the input is sent. `binary` is smaller, and what Triton needs for files; `json` "
        "sends a file in base64, as KServe's own servers and MLServer read it.",
    )
    activation: Literal["none", "softmax", "sigmoid"] = Field(
        default="none", description="What makes confidences of the model's numbers, where it does not do that itself."
    )
    method: Literal["POST", "PUT"] = Field(default="POST", description="With `json`: method of the request.")
    body: dict[str, Any] | None = Field(
        default=None,
        description="With `json`: the body as a table, in which the text `$image` becomes the image in base64. "
        "Default: the image itself, as `image/jpeg`.",
        examples=[{"image": IMAGE}],
    )
    items: JsonPath = Field(
        default="predictions[*]",
        description="With `json`: [path](../howto/inference-server.md#paths) of the labels in the answer, each with "
        "what belongs to it.",
    )
    label: JsonPath = Field(default="label", description="With `json`: path of its name, from there.")
    confidence: JsonPath = Field(default="confidence", description="With `json`: path of its confidence, from there.")
    confidence_max: float = Field(
        default=1.0, gt=0, description="With `json`: the confidence that means certain, such as 100.", examples=[100]
    )
    box: JsonPath | None = Field(
        default=None,
        description="With `json`: path of its place on the image, from there: a list of four numbers.",
        examples=["box"],
    )
    box_form: Literal["xywh", "xyxy"] = Field(
        default="xywh",
        description="With `json`: what the four are: left, top, width and height, or left, top, right and bottom.",
    )
    box_unit: Literal["share", "pixels"] = Field(
        default="share", description="With `json`: whether they run from 0 to 1, or count pixels of the image as sent."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.body is not None and not _mentions_image(self.body):
            raise ValueError(f'no text in body is "{IMAGE}", so no image would be sent')
        if self.size is not None and not all(0 < side <= MAX_TENSOR_SIDE for side in self.size):
            raise ValueError(f"size: sides are from 1 to {MAX_TENSOR_SIDE} pixels")
        if 0.0 in self.std:
            raise ValueError("std: no number may be 0")
        if self.protocol == "json" and urlsplit(self.url).path == "":
            raise ValueError('with protocol = "json", url is the whole URL that images are sent to, with its path')
        return self


def _mentions_image(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_mentions_image, value.values()))
    return any(map(_mentions_image, value)) if isinstance(value, list) else value == IMAGE
