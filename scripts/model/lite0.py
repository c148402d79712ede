"""EfficientNet-Lite0 as a float graph, from its published weights.

Architecture: "EfficientNet-Lite", https://github.com/tensorflow/tpu, models/official/efficientnet/lite (Apache-2.0).
Batch normalisation is folded into the convolutions in float64, element by element: no sum whose order could differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from graph import Graph, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from weights import Weights

SIZE = 224
FEATURES = 1280
MEAN, STD = 127.0, 128.0  # of a pixel; input = (pixel - MEAN) / STD
EPSILON = 1e-3  # of the batch normalisation


class Stage(NamedTuple):
    """A run of inverted residual blocks; the stride belongs to the first."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass
class _Builder:
    graph: Graph
    weights: Weights

    def conv(self, source: str, name: str, norm: str, *, stride: int = 1, relu6: bool = True) -> str:
        """A convolution, full or depthwise by the shape of its weights, with its normalisation folded in."""
        kernel, bias = fold(self.weights, name, norm)
        depthwise = kernel.shape[1] == 1 and kernel.shape[2] > 1
        kernel = kernel.transpose(1, 2, 3, 0) if depthwise else kernel.transpose(0, 2, 3, 1)
        side = -(-self.graph.tensors[source].shape[0] // stride)
        inputs = (
            source,
            self.graph.constant(f"{name}/kernel", np.ascontiguousarray(kernel, np.float32)),
            self.graph.constant(f"{name}/bias", bias.astype(np.float32)),
        )
        output = Tensor(name=name, shape=(side, side, len(bias)))
        return self.graph.op("depthwise" if depthwise else "conv", inputs, output, stride=stride, relu6=relu6)

    def block(self, source: str, index: int, stage: Stage, stride: int) -> str:
        """Expand, filter each channel, project; added to its source where the shapes agree."""
        prefix = f"_blocks.{index}."
        value = source
        if stage.expand > 1:
            value = self.conv(value, f"{prefix}_expand_conv", f"{prefix}_bn0")
        value = self.conv(value, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride)
        value = self.conv(value, f"{prefix}_project_conv", f"{prefix}_bn2", relu6=False)
        tensors = self.graph.tensors
        if tensors[source].shape != tensors[value].shape:
            return value
        return self.graph.op("add", (value, source), Tensor(name=f"{prefix}add", shape=tensors[value].shape))

    def head(self, source: str) -> None:
        """Pool to the embedding, then classify."""
        graph = self.graph
        axes = graph.constant("pool/axes", np.array([1, 2], np.int32))
        pooled = graph.op("mean", (source, axes), Tensor(name="pool", shape=(1, 1, FEATURES)))
        flat = graph.constant("embedding/shape", np.array([-1, FEATURES], np.int32))
        graph.op("reshape", (pooled, flat), Tensor(name="embedding", shape=(FEATURES,)))
        kernel, bias = self.weights["_fc.weight"], self.weights["_fc.bias"]
        inputs = (
            pooled,
            graph.constant("fc/kernel", kernel.reshape(len(bias), 1, 1, FEATURES)),
            graph.constant("fc/bias", bias),
        )
        logits = graph.op("dense", inputs, Tensor(name="fc", shape=(1, 1, len(bias))))
        flat = graph.constant("logits/shape", np.array([-1, len(bias)], np.int32))
        logits = graph.op("reshape", (logits, flat), Tensor(name="logits", shape=(len(bias),)))
        graph.op("softmax", (logits,), Tensor(name="probabilities", shape=(len(bias),)))


def fold(weights: Weights, name: str, norm: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the kernel (out, in, height, width) and bias (out) of a convolution and its normalisation, float64."""
    mean, variance, gamma, beta = (
        weights[f"{norm}.{part}"].astype(np.float64) for part in ("running_mean", "running_var", "weight", "bias")
    )
    factor = gamma / np.sqrt(variance + EPSILON)
    return weights[f"{name}.weight"].astype(np.float64) * factor[:, None, None, None], beta - mean * factor


def build(weights: Weights) -> Graph:
    """Return the float graph: normalised RGB (224, 224, 3) to `probabilities` (1000) and `embedding` (1280)."""
    graph = Graph(image="image", outputs={"probabilities": "probabilities", "embedding": "embedding"})
    graph.tensor(Tensor(name="image", shape=(SIZE, SIZE, 3)))
    builder = _Builder(graph, weights)
    value = builder.conv("image", "_conv_stem", "_bn0", stride=2)
    index = 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            value = builder.block(value, index, stage, stage.stride if repeat == 0 else 1)
            index += 1
    builder.head(builder.conv(value, "_conv_head", "_bn1"))
    return graph
