"""The inputs and outputs of a model: picture to input tensor, output tensors to scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgtag.errors import ModelError
from imgtag.models.manifest import OutputManifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imgtag_tflite.graph import Graph
    from imgtag_tflite.runtime import Details

CLASSES = frozenset({"probabilities", "probability", "predictions", "prediction", "logits", "softmax"})
EMBEDDINGS = frozenset({"embedding", "embeddings", "feature", "features", "feature_vector"})
MAX_SIDE = 4096  # of an input, in pixels
DEFAULT_MEAN_STD = 127.5  # of most float models: pixels become -1 to 1
TOLERANCE = 0.01  # of the sum of float probabilities
MIN_EMBEDDING = 64  # numbers

Floats = NDArray[np.float32]

_FREE_SIZE = "Its input size is free: convert the model with a fixed one, such as [1, 224, 224, 3]."
_NAME_OUTPUT = 'If one of these outputs is that, name it in the manifest: probabilities = "NAME" under [output].'


class NoClassifier(ModelError):
    """The model is not an image classifier."""

    default_hint = "Use a model with one RGB image [n, height, width, 3] as input and one score per class as output."

    def __init__(self, seen: str, *, hint: str | None = None) -> None:
        self.seen = seen
        super().__init__(f"the model is not an image classifier: {seen}", hint=hint)


def describe_tensors(tensors: Sequence[Details], names: Mapping[int, str] | None = None) -> str:
    """Return the tensors in readable form: `scores float32 [1, 1000]`."""
    return ", ".join(
        f"{(names or {}).get(tensor['index'], tensor['name'])} {np.dtype(tensor['dtype']).name} "
        f"{[int(size) for size in tensor['shape_signature']]}"
        for tensor in tensors
    )


@dataclass(frozen=True)
class Normalisation:
    """Real value = (pixel - mean) / std; each one number, or three for R, G, B, float32."""

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> Normalisation:
        """Return the normalisation, usual values where one of the two is empty. Raises ValueError."""
        arrays = tuple(np.array(values or (DEFAULT_MEAN_STD,), np.float32) for values in (mean, std))
        if any(len(array) not in {1, 3} or not np.isfinite(array).all() for array in arrays) or not arrays[1].all():
            raise ValueError(f"pixels cannot be normalised by mean {list(mean)} and std {list(std)}")
        return cls(*arrays)

    def apply(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return the real values of uint8 RGB, same shape, float32."""
        return (pixels.astype(np.float32) - self.mean) / self.std


@dataclass(frozen=True, kw_only=True)
class Input:
    """The image tensor; `normalisation` is None where it is unknown."""

    index: int
    size: tuple[int, int]
    """Width and height, pixels."""
    dynamic: bool
    """Whether the batch size is free."""
    dtype: np.dtype[Any]
    scale: float
    zero: int
    normalisation: Normalisation | None = None

    @classmethod
    def of(cls, inputs: Sequence[Details], normalisation: Normalisation | None = None) -> Input:
        """Recognise the image among a model's inputs. Raises NoClassifier."""
        if len(inputs) != 1 or not _is_image(inputs[0]):
            seen = f"its inputs are {describe_tensors(inputs) or 'none'}"
            shape = inputs[0]["shape_signature"] if len(inputs) == 1 else ()
            is_free = len(shape) == 4 and min(shape[1:3]) < 0
            raise NoClassifier(seen, hint=_FREE_SIZE if is_free else None)
        tensor = inputs[0]
        batch, height, width, _ = (int(size) for size in tensor["shape_signature"])
        scale, zero = tensor["quantization"]
        dtype = np.dtype(tensor["dtype"])
        return cls(
            index=tensor["index"],
            size=(width, height),
            dynamic=batch < 0,
            dtype=dtype,
            scale=float(scale),
            zero=int(zero),
            normalisation=normalisation,
        )

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return uint8 RGB [n, height, width, 3] as the model wants it.

        uint8 models get the pixels; int8 models, where no normalisation is known, the pixels less 128.
        """
        if self.dtype == np.uint8:
            return pixels
        if self.dtype == np.int8 and not (self.normalisation and self.scale):
            return (pixels ^ 0x80).view(np.int8)
        real = (self.normalisation or Normalisation.of((), ())).apply(pixels)
        if self.dtype == np.float32:
            return real
        stored: Floats = np.rint(real / np.float32(self.scale)) + np.float32(self.zero)
        return stored.clip(-128, 127).astype(np.int8)


@dataclass(frozen=True, kw_only=True)
class Output:
    """A vector per picture."""

    index: int
    length: int
    scale: float = 0.0
    zero: int = 0
    probable: bool = False
    """Whether the model itself makes probabilities of it, by a softmax or a sigmoid."""

    @classmethod
    def of(cls, tensor: Details, *, probable: bool) -> Output:
        """Return the vector that a tensor [n, length] (or [n, 1, 1, length]) holds."""
        scale, zero = tensor["quantization"]
        return cls(
            index=tensor["index"],
            length=_length(tensor),
            scale=float(scale),
            zero=int(zero),
            probable=probable,
        )

    def decode(self, stored: NDArray[Any]) -> Floats:
        """Return the real values, float32 [n, length]. Raises ModelError where one is not finite."""
        values: Floats = stored.reshape(-1, self.length).astype(np.float32)
        if self.scale and stored.dtype.kind in "iu":
            values = (values - np.float32(self.zero)) * np.float32(self.scale)
        if not np.isfinite(values).all():
            hint = "The model is damaged, or was converted with too little precision."
            raise ModelError("the model gave a score that is not a number", hint=hint)
        return values

    def probabilities(self, stored: NDArray[Any]) -> Floats:
        """Return probabilities, float32 [n, length], each 0 to 1: logits go through softmax, or sigmoid where alone."""
        values = self.decode(stored)
        in_range = values.min() >= 0.0 and values.max() <= 1.0
        add_up = self.length == 1 or np.allclose(values.sum(axis=-1), 1.0, atol=TOLERANCE)
        if self.probable or (in_range and add_up):
            return np.clip(values, 0.0, 1.0)
        return sigmoid(values) if self.length == 1 else softmax(values)


def select_outputs(
    outputs: Sequence[Details], graph: Graph, classes: int, manifest: OutputManifest | None = None
) -> tuple[Output, Output | None]:
    """Return the class vector and, where there is one, the embedding.

    The manifest decides first, then the names in the signature, then the length: as many numbers as there are labels
    (`classes`), then the only vector. Raises NoClassifier, also where there are no labels at all.
    """
    names, manifest = graph.outputs, manifest or OutputManifest()
    vectors = [tensor for tensor in outputs if _is_vector(tensor)]
    best = _find_output(vectors, names, manifest.probabilities, outputs) or _find_classes(vectors, names, classes)
    sure = manifest.probabilities or (best and _name_of(best, names) in CLASSES) or len(vectors) == len(outputs)
    if best is None or not sure:  # a detector has vectors, too: classes and scores of boxes
        hint = f"{NoClassifier.default_hint} {_NAME_OUTPUT}" if vectors else None
        raise NoClassifier(f"its outputs are {describe_tensors(outputs, names)}", hint=hint)
    if not classes:
        seen = f"it has no labels, and its outputs are {describe_tensors(outputs, names)}"
        raise NoClassifier(seen, hint="Name a label file with `labels` in the model's manifest: one class per line.")
    others = [tensor for tensor in vectors if tensor["index"] != best["index"]]
    embedding = _find_output(others, names, manifest.embedding, outputs)
    if embedding is None:
        features = [tensor for tensor in others if _name_of(tensor, names) in EMBEDDINGS] or others
        embedding = features[0] if len(features) == 1 and _length(features[0]) >= MIN_EMBEDDING else None
    return (
        Output.of(best, probable=best["index"] in graph.probable),
        None if embedding is None else Output.of(embedding, probable=False),
    )


def _find_output(
    vectors: Sequence[Details], names: Mapping[int, str], name: str | None, outputs: Sequence[Details]
) -> Details | None:
    """The output that a manifest names; None where it names none. Raises ModelError where there is no such vector."""
    if name is None:
        return None
    matches = [tensor for tensor in vectors if name in {tensor["name"], names.get(tensor["index"])}]
    if len(matches) != 1:
        message = f"the manifest names the output {name!r}, but there are {describe_tensors(outputs, names)}"
        raise ModelError(message, hint="Name it under [output] of the manifest exactly as shown, or leave it out.")
    return matches[0]


def softmax(values: Floats) -> Floats:
    """Softmax over the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return result


def sigmoid(values: Floats) -> Floats:
    """Logistic function, without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * values))
    return result


def _find_classes(vectors: Sequence[Details], names: Mapping[int, str], classes: int) -> Details | None:
    candidates = [tensor for tensor in vectors if _name_of(tensor, names) not in EMBEDDINGS]
    preferences = (
        [tensor for tensor in candidates if _name_of(tensor, names) in CLASSES],
        [tensor for tensor in candidates if abs(_length(tensor) - classes) <= 1],  # give or take a background class
        candidates,
    )
    return next((tensors[0] for tensors in preferences if len(tensors) == 1), None)


def _name_of(tensor: Details, names: Mapping[int, str]) -> str:
    """The signature's name, else the last part of the tensor's own: `StatefulPartitionedCall/embedding:0`."""
    name = names.get(tensor["index"], tensor["name"])
    return name.lower().rpartition("/")[2].partition(":")[0]


def _is_image(tensor: Details) -> bool:
    shape = [int(size) for size in tensor["shape_signature"]]
    return (
        len(shape) == 4
        and shape[0] in {-1, 1}
        and all(0 < side <= MAX_SIDE for side in shape[1:3])
        and shape[3] == 3
        and np.dtype(tensor["dtype"]) in (np.float32, np.uint8, np.int8)
    )


def _is_vector(tensor: Details) -> bool:
    shape = [int(size) for size in tensor["shape_signature"]]
    spread = sum(size > 1 for size in shape[1:])
    kinds = (np.float32, np.uint8, np.int8)
    return len(shape) >= 2 and shape[0] in {-1, 1} and spread <= 1 and np.dtype(tensor["dtype"]) in kinds


def _length(tensor: Details) -> int:
    return math.prod(int(size) for size in tensor["shape"][1:])
