"""The inputs and outputs of a model: picture to input tensor, output tensors to scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from imgtag.errors import ModelError
from imgtag.models.manifest import InputManifest, OutputManifest

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

CLASSES = frozenset({"probabilities", "probability", "predictions", "prediction", "logits", "softmax"})
EMBEDDINGS = frozenset({"embedding", "embeddings", "feature", "features", "feature_vector"})
DEFAULT_CROP = 0.875  # what models for ImageNet were tested with
MAX_SIDE = 4096  # of an input, in pixels
UNIT = 127.5  # mean and std of most float models from TensorFlow: pixels become -1 to 1
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of the models of torchvision, https://pytorch.org/vision/stable/models.html, in pixel values."""
TOLERANCE = 0.01  # of the sum of float probabilities
MIN_EMBEDDING = 64  # numbers

Floats = NDArray[np.float32]

_FREE_SIZE = "Its input size is free: convert the model with a fixed one, or set `size` under [input] of its manifest."
_DTYPES = frozenset(np.dtype(name) for name in ("float16", "float32", "float64", "int8", "uint8"))
_NAME_OUTPUT = 'If one of these outputs is that, name it in the manifest: probabilities = "NAME" under [output].'


class NoClassifier(ModelError):
    """The model is not an image classifier."""

    default_hint = (
        "Use a model with one RGB image, [n, height, width, 3] or [n, 3, height, width], as input and one score per "
        "class as output."
    )

    def __init__(self, seen: str, *, hint: str | None = None) -> None:
        self.seen = seen
        super().__init__(f"the model is not an image classifier: {seen}", hint=hint)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output as a runtime describes it."""

    index: int
    """By which the runtime knows it."""
    names: tuple[str, ...]
    """All that it has; the first is shown."""
    shape: tuple[int, ...]
    """-1 where a size is free."""
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero: int = 0
    """Real value = (stored - zero) * scale; a scale of 0 means that the stored values are the real ones."""

    def __str__(self) -> str:
        """``scores float32 [1, 1000]``."""
        return f"{self.names[0]} {self.dtype.name} {list(self.shape)}"

    def is_called(self, names: Collection[str]) -> bool:
        """Whether its first name, without its scope, is one of these: `StatefulPartitionedCall/embedding:0`."""
        return self.names[0].lower().rpartition("/")[2].partition(":")[0] in names

    @property
    def length(self) -> int:
        """The numbers for each picture."""
        return math.prod(self.shape[1:])

    def is_vector(self) -> bool:
        """Whether it holds one vector per picture: `[n, length]` or `[n, 1, 1, length]`."""
        spread = sum(size > 1 for size in self.shape[1:])
        return len(self.shape) >= 2 and self.shape[0] in {-1, 1} and spread <= 1 and self.dtype in _DTYPES


def describe_tensors(tensors: Sequence[Tensor]) -> str:
    """Return the tensors in readable form."""
    return ", ".join(map(str, tensors))


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a picture becomes the input of a model, as far as it is known: the manifest decides, then the model file.

    ``mean`` and ``std`` are in pixel values, one number or three for R, G, B.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["NHWC", "NCHW"] | None = None
    size: tuple[int, int] | None = None
    """Width and height, pixels, for a model that takes any."""
    crop: float = DEFAULT_CROP
    """The share of a picture's shorter side that the model sees."""
    deviations: tuple[object, ...] = ()
    """What the manifest says of it: another preparation gives other labels, so it becomes a part of the model's id."""

    @classmethod
    def of(cls, manifest: InputManifest, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> Preparation:
        """Combine a manifest with the ``mean`` and ``std`` of the model file."""
        own_mean, own_std = _channels(manifest.mean), _channels(manifest.std)
        crop = manifest.crop or DEFAULT_CROP
        size = (manifest.size, manifest.size) if isinstance(manifest.size, int) else manifest.size
        further = [value for value in (manifest.layout, size) if value]
        deviations = (own_mean, own_std, *([crop] if crop != DEFAULT_CROP else ()), *further)
        return cls(
            mean=own_mean or mean,
            std=own_std or std,
            layout=manifest.layout,
            size=size,
            crop=crop,
            deviations=deviations if any(deviations) else (),
        )


def _channels(value: float | tuple[float, float, float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


@dataclass(frozen=True)
class Normalisation:
    """Real value = (pixel - mean) / std; each one number, or three for R, G, B, float32."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
        """Raises ValueError where these are no numbers to normalise by."""
        arrays = tuple(np.array(values, np.float32) for values in (mean, std))
        if any(len(array) not in {1, 3} or not np.isfinite(array).all() for array in arrays) or not arrays[1].all():
            raise ValueError(f"pixels cannot be normalised by mean {list(mean)} and std {list(std)}")
        return cls(*arrays)

    def apply(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return the real values of uint8 RGB, same shape, float32."""
        return (pixels.astype(np.float32) - self.mean) / self.std


@dataclass(frozen=True, kw_only=True)
class Input:
    """The image tensor."""

    tensor: Tensor
    size: tuple[int, int]
    """Width and height, pixels."""
    channels_first: bool
    normalisation: Normalisation
    is_normalisation_known: bool
    """Whether somebody says so; otherwise it is the usual one of such models."""

    @classmethod
    def of(cls, inputs: Sequence[Tensor], preparation: Preparation) -> Input:
        """Recognise the image among a model's inputs. Raises NoClassifier, and ValueError as `Normalisation.of`."""
        seen = f"its inputs are {describe_tensors(inputs) or 'none'}"
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] not in {-1, 1}:
            raise NoClassifier(seen)
        (tensor,) = inputs
        layouts = {"NHWC": tensor.shape[1:], "NCHW": (*tensor.shape[2:], tensor.shape[1])}
        likely = [name for name, (_, _, channels) in layouts.items() if channels == 3]
        layout = preparation.layout or (likely[0] if likely else None)
        if layout is None or layouts[layout][2] not in {-1, 3} or tensor.dtype not in _DTYPES:
            raise NoClassifier(seen)
        height, width, _ = layouts[layout]
        if min(width, height) < 0 and preparation.size is None:
            raise NoClassifier(seen, hint=_FREE_SIZE)
        size = preparation.size or (width, height)
        fits = all(own in {-1, wanted} for own, wanted in zip((width, height), size, strict=True))
        if not fits or not all(0 < side <= MAX_SIDE for side in size):
            hint = "Remove `size` under [input] of the manifest: the model has a size of its own." if not fits else None
            raise NoClassifier(seen, hint=hint)
        is_torch = layout == "NCHW"
        return cls(
            tensor=tensor,
            size=size,
            channels_first=is_torch,
            normalisation=Normalisation.of(
                preparation.mean or (IMAGENET_MEAN if is_torch else (UNIT,)),
                preparation.std or (IMAGENET_STD if is_torch else (UNIT,)),
            ),
            is_normalisation_known=bool(preparation.mean or preparation.std),
        )

    @property
    def is_dynamic(self) -> bool:
        """Whether the batch size is free."""
        return self.tensor.shape[0] < 0

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return uint8 RGB [n, height, width, 3] as the model wants it.

        uint8 models get the pixels; int8 models, where no normalisation is known, the pixels less 128.
        """
        stored = self._store(pixels)
        return np.ascontiguousarray(stored.transpose(0, 3, 1, 2)) if self.channels_first else stored

    def _store(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        tensor = self.tensor
        if tensor.dtype == np.uint8:
            return pixels
        if tensor.dtype == np.int8 and not (self.is_normalisation_known and tensor.scale):
            return (pixels ^ 0x80).view(np.int8)
        real = self.normalisation.apply(pixels)
        if tensor.dtype != np.int8:
            return real.astype(tensor.dtype, copy=False)
        quantised: Floats = np.rint(real / np.float32(tensor.scale)) + np.float32(tensor.zero)
        return quantised.clip(-128, 127).astype(np.int8)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A vector per picture."""

    tensor: Tensor
    activation: Literal["none", "softmax", "sigmoid"] | None = None
    """What makes probabilities of it; None where that is seen by its values."""

    @property
    def length(self) -> int:
        """The numbers for each picture."""
        return self.tensor.length

    def decode(self, stored: NDArray[Any]) -> Floats:
        """Return the real values, float32 [n, length]. Raises ModelError where one is not finite."""
        values: Floats = stored.reshape(-1, self.length).astype(np.float32)
        if self.tensor.scale and stored.dtype.kind in "iu":
            values = (values - np.float32(self.tensor.zero)) * np.float32(self.tensor.scale)
        if not np.isfinite(values).all():
            hint = "The model is damaged, or was converted with too little precision."
            raise ModelError("the model gave a score that is not a number", hint=hint)
        return values

    def probabilities(self, stored: NDArray[Any]) -> Floats:
        """Return probabilities, float32 [n, length], each 0 to 1.

        Without an activation, values from 0 to 1 that add up to 1 are probabilities; others go through softmax, or
        sigmoid where there is one alone.
        """
        values, activation = self.decode(stored), self.activation
        if activation is None:
            in_range = values.min() >= 0.0 and values.max() <= 1.0
            add_up = self.length == 1 or np.allclose(values.sum(axis=-1), 1.0, atol=TOLERANCE)
            activation = "none" if in_range and add_up else "sigmoid" if self.length == 1 else "softmax"
        if activation == "none":
            return np.clip(values, 0.0, 1.0)
        return sigmoid(values) if activation == "sigmoid" else softmax(values)


def select_outputs(
    outputs: Sequence[Tensor], probable: Collection[int], classes: int, manifest: OutputManifest
) -> tuple[Output, Output | None]:
    """Return the class vector and, where there is one, the embedding.

    The manifest decides first, then the names in the signature, then the length: as many numbers as there are labels
    (`classes`), then the only vector. ``probable`` are the indexes of those that the model itself makes probabilities
    of. Raises NoClassifier, also where there are no labels at all.
    """
    vectors = [tensor for tensor in outputs if tensor.is_vector()]
    best = _find_output(vectors, manifest.probabilities, outputs) or _find_classes(vectors, classes)
    sure = manifest.probabilities or (best and best.is_called(CLASSES)) or len(vectors) == len(outputs)
    if best is None or not sure:  # a detector has vectors, too: classes and scores of boxes
        hint = f"{NoClassifier.default_hint} {_NAME_OUTPUT}" if vectors else None
        raise NoClassifier(f"its outputs are {describe_tensors(outputs)}", hint=hint)
    if not classes:
        seen = f"it has no labels, and its outputs are {describe_tensors(outputs)}"
        raise NoClassifier(seen, hint="Name a label file with `labels` in the model's manifest: one class per line.")
    others = [tensor for tensor in vectors if tensor.index != best.index]
    embedding = _find_output(others, manifest.embedding, outputs)
    if embedding is None:
        features = [tensor for tensor in others if tensor.is_called(EMBEDDINGS)] or others
        embedding = features[0] if len(features) == 1 and features[0].length >= MIN_EMBEDDING else None
    activation = manifest.activation or ("none" if best.index in probable else None)
    return Output(tensor=best, activation=activation), None if embedding is None else Output(tensor=embedding)


def _find_output(vectors: Sequence[Tensor], name: str | None, outputs: Sequence[Tensor]) -> Tensor | None:
    """The output that a manifest names; None where it names none. Raises ModelError where there is no such vector."""
    if name is None:
        return None
    matches = [tensor for tensor in vectors if name in tensor.names]
    if len(matches) != 1:
        message = f"the manifest names the output {name!r}, but there are {describe_tensors(outputs)}"
        raise ModelError(message, hint="Name it under [output] of the manifest exactly as shown, or leave it out.")
    return matches[0]


def _find_classes(vectors: Sequence[Tensor], classes: int) -> Tensor | None:
    candidates = [tensor for tensor in vectors if not tensor.is_called(EMBEDDINGS)]
    preferences = (
        [tensor for tensor in candidates if tensor.is_called(CLASSES)],
        [tensor for tensor in candidates if abs(tensor.length - classes) <= 1],  # give or take a background class
        candidates,
    )
    return next((tensors[0] for tensors in preferences if len(tensors) == 1), None)


def softmax(values: Floats) -> Floats:
    """Softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def sigmoid(values: Floats) -> Floats:
    """Logistic function, without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * values))
    return result
