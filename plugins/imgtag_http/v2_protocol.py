"""The Open Inference Protocol, version 2, over REST.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin import Detection, ImageOrder, RemoteImage
from imgtag.types.detections import MAX_DETECTIONS
from imgtag_http.client import Request
from imgtag_http.settings import MAX_TENSOR_SIDE, HttpSettings

_STRINGS = "BYTES"
_FLOATS = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
_PIXELS = {"UINT8": "uint8", **_FLOATS}
"""Types of an input of pixels, with their names in NumPy. BF16 has none there."""
_COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the server says of its model, as far as it matters here."""

    version: str
    input: _Tensor
    numbers: str
    """Name of the output with the confidences."""
    strings: str | None
    """Name of the output with the labels, where there is one."""
    pixels: tuple[int, int] | None
    """Width and height of an input of pixels; None for one that takes a file."""
    channels_first: bool = False


def read_model(metadata: Any, settings: HttpSettings) -> Model:
    """The model, from its metadata. Raises ConfigError where the settings do not fit, Unavailable for no metadata."""
    try:
        inputs = [_read_tensor(fields) for fields in metadata["inputs"]]
        outputs = [_read_tensor(fields) for fields in metadata["outputs"]]
        versions = [str(version) for version in metadata.get("versions") or ()]
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        message = f"{settings.url}/v2/models/{settings.model} does not describe a model"
        raise Unavailable(message, code="invalid_answer", hint="Does this server speak the v2 protocol?") from error
    tensor = _choose("input", settings.input, inputs)
    strings = [output for output in outputs if output.datatype == _STRINGS]
    numbers = [output for output in outputs if output.datatype != _STRINGS]
    labels = _choose("output_labels", settings.output_labels, strings).name if strings else None
    if labels is None and settings.labels is None:
        message = f"the model {settings.model} answers with numbers alone, so `labels` must name a file of its classes"
        raise ConfigError(message, hint="Write `labels` under [classifier.http].")
    pixels, channels_first = (None, False) if tensor.datatype == _STRINGS else _read_pixels(tensor, settings)
    return Model(
        # Of several versions, only an answer tells which one the server chose.
        version=settings.version or (versions[0] if len(versions) == 1 else ""),
        input=tensor,
        numbers=_choose("output", settings.output, numbers).name,
        strings=labels,
        pixels=pixels,
        channels_first=channels_first,
    )


class V2Protocol:
    """Sends an image to a model and reads its labels."""

    def __init__(self, settings: HttpSettings, model: Model, names: Sequence[str]) -> None:
        self._settings = settings
        self._model = model
        self._names = names
        if model.pixels:
            self.order = ImageOrder(format="rgb", size=model.pixels, crop=settings.crop)
        else:
            self.order = ImageOrder(max_side=settings.max_side, max_bytes=settings.max_bytes)

    def request(self, image: RemoteImage) -> Request:
        """What asks about an image. Slow for pixels as JSON."""
        model, data = self._model, None
        shape = [1] * max(1, len(self._model.input.shape))
        tensor: dict[str, Any] = {"name": model.input.name, "datatype": model.input.datatype}
        if model.pixels:
            values = self._pixels(image.data, model.pixels)
            tensor["shape"] = list(values.shape)
            if self._settings.tensors == "binary":
                data = values.tobytes()
                tensor["parameters"] = {"binary_data_size": len(data)}
            else:
                tensor["data"] = values.ravel().tolist()
        elif self._settings.tensors == "binary":
            # https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
            data = struct.pack("<I", len(image.data)) + image.data
            tensor |= {"shape": shape, "parameters": {"binary_data_size": len(data)}}
        else:
            # Servers take the text of a BYTES element as it is; the parameter says that it is an encoded file.
            text = b64encode(image.data).decode()
            tensor |= {"shape": shape, "data": [text], "parameters": {"content_type": "base64"}}
        outputs = [{"name": name} for name in (model.numbers, model.strings) if name]
        header = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
        path = f"{model_path(self._settings)}/infer"
        if data is None:
            return Request(path=path, body=header, headers={"Content-Type": "application/json"})
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
        return Request(path=path, body=header + data, headers=headers)

    def detections(self, answer: Any, _image: RemoteImage) -> Sequence[Detection]:
        """What the server says of it, the surest first. Raises Unavailable where that is not what it described."""
        try:
            outputs = {output["name"]: list(_flatten(output["data"])) for output in answer["outputs"]}
            numbers = [float(value) for value in outputs[self._model.numbers]]
            names = outputs[self._model.strings] if self._model.strings else self._names
            if not all(map(math.isfinite, numbers)):
                raise ValueError
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise _invalid(
                f"its answer lacks the output {self._model.numbers}, or that has other than numbers"
            ) from error
        if len(names) != len(numbers):
            raise _invalid(f"its answer has {len(numbers)} confidences for {len(names)} labels")
        confidences = _activate(numbers, self._settings.activation)
        best = sorted(zip(confidences, names, strict=True), key=lambda pair: -pair[0])[:MAX_DETECTIONS]
        return [Detection(name=name, confidence=confidence) for confidence, name in best]

    def _pixels(self, data: bytes, size: tuple[int, int]) -> Any:
        import numpy as np  # noqa: PLC0415 - only for models that take pixels

        pixels = np.frombuffer(data, np.uint8).reshape(1, size[1], size[0], _COLOURS)
        datatype = _PIXELS[self._model.input.datatype]
        if datatype != "uint8":
            mean, std = (np.array(values, np.float32) for values in (self._settings.mean, self._settings.std))
            pixels = ((pixels.astype(np.float32) / 255 - mean) / std).astype(datatype)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if self._model.channels_first else pixels


def model_path(settings: HttpSettings) -> str:
    """Where the model is, below the URL of the server."""
    return f"/v2/models/{settings.model}" + (f"/versions/{settings.version}" if settings.version else "")


def _read_tensor(fields: Mapping[str, Any]) -> _Tensor:
    name, datatype = fields["name"], fields["datatype"]
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise TypeError
    return _Tensor(name=name, datatype=datatype, shape=tuple(int(side) for side in fields["shape"]))


def _choose(setting: str, wanted: str, tensors: Sequence[_Tensor]) -> _Tensor:
    """The tensor that a setting names, or the only one. Raises ConfigError."""
    names = [tensor.name for tensor in tensors]
    if wanted not in names and (wanted or len(names) != 1):
        named = f"is {wanted!r}" if wanted else "names none"
        message = (
            f"`{setting}` under [classifier.http] {named}; the model has: {', '.join(names) or 'none of that kind'}"
        )
        raise ConfigError(message, hint=f"Write one of these as `{setting}`.")
    return tensors[names.index(wanted)] if wanted else tensors[0]


def _read_pixels(tensor: _Tensor, settings: HttpSettings) -> tuple[tuple[int, int], bool]:
    """Width and height of an input, and whether its colours come first. Raises ConfigError."""
    if tensor.datatype not in _PIXELS:
        message = f"the input {tensor.name} of the model {settings.model} has the type {tensor.datatype}"
        raise ConfigError(message, hint=f"imgtag sends BYTES, {' and '.join(_PIXELS)}.")
    sides = tensor.shape[-3:]
    if len(sides) != 3 or _COLOURS not in (sides[0], sides[2]) or len(tensor.shape) > 4:
        message = f"the input {tensor.name} of the model {settings.model} has the shape {list(tensor.shape)}"
        raise ConfigError(message, hint="imgtag sends one RGB image: [1, 3, height, width] or [1, height, width, 3].")
    channels_first = sides[0] == _COLOURS and sides[2] != _COLOURS
    height, width = sides[1:] if channels_first else sides[:2]
    size = settings.size or (width, height)
    if not all(0 < side <= MAX_TENSOR_SIDE for side in size):
        message = f"the input {tensor.name} of the model {settings.model} has the shape {list(tensor.shape)}"
        raise ConfigError(
            message, hint=f"Write `size` under [classifier.http], at most {MAX_TENSOR_SIDE} pixels a side."
        )
    return size, channels_first


def _flatten(data: Any) -> Iterator[Any]:
    """The elements of a tensor, which servers send nested or flat."""
    pending = [data]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(reversed(value))
        else:
            yield value


def _activate(numbers: Sequence[float], activation: str) -> Sequence[float]:
    """Confidences of a model's numbers. Raises Unavailable for what is not finite."""
    if not all(map(math.isfinite, numbers)):
        raise _invalid("its answer has numbers that are not finite")
    if activation == "sigmoid":
        return [1 / (1 + math.exp(-max(-500.0, number))) for number in numbers]
    if activation == "softmax" and numbers:
        top = max(numbers)
        weights = [math.exp(number - top) for number in numbers]
        total = sum(weights)
        return [weight / total for weight in weights]
    return numbers


def _invalid(what: str) -> Unavailable:
    hint = "Images wait and are tried again. Check `output`, `labels` and `activation` under [classifier.http]."
    return Unavailable(f"the inference server is not understood: {what}", code="invalid_answer", hint=hint)
