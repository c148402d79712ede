"""Post-training quantisation of a float graph to int8, from the ranges that calibration saw.

Weights are symmetric per output channel (per tensor would cost seven points of accuracy), activations asymmetric.
All arithmetic is float64, element by element, rounded half to even: the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from graph import Graph, Op, Quantisation, Tensor
from lite0 import MEAN, STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ranges = Mapping[str, tuple[float, float]]

INT8 = np.dtype(np.int8)
FLOAT = frozenset({"mean", "dense", "reshape", "softmax"})  # in int8, logits and probabilities come in steps, and tie
FINEST = 1e-12  # scale of a channel whose weights are all zero
BIAS_LIMIT = 2.0**30  # keeps a bias clear of the int32 accumulator's end, by a coarser scale where weights are tiny


def activation(low: float, high: float) -> Quantisation:
    """Return the int8 scale and zero point that cover low..high and hold 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255.0
    zero = int(np.clip(np.rint(-128.0 - low / scale), -128, 127))
    return Quantisation(scale=np.array([scale]), zero=zero)


def kernel_scales(kernel: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Return one scale per output channel, as fine as its weights allow."""
    others = tuple(dimension for dimension in range(kernel.ndim) if dimension != axis)
    scales: NDArray[np.float64] = np.maximum(np.abs(kernel.astype(np.float64)).max(axis=others) / 127.0, FINEST)
    return scales


def stored(kernel: NDArray[Any], scales: NDArray[np.float64], axis: int) -> NDArray[np.int8]:
    """Return the int8 form of a kernel, one scale per index of `axis`."""
    along = [1] * kernel.ndim
    along[axis] = -1
    return np.clip(np.rint(kernel.astype(np.float64) / scales.reshape(along)), -127, 127).astype(np.int8)


@dataclass
class _Quantiser:
    float_graph: Graph
    graph: Graph
    ranges: Ranges

    def as_int8(self, name: str) -> str:
        """The int8 form of a value, with the operation that makes it where there is none yet."""
        quantised = f"{name}/int8"
        if self.graph.tensors[name].dtype == INT8:
            return name
        if quantised not in self.graph.tensors:
            self.graph.op("quantise", (name,), self.int8(self.float_graph.tensors[name], quantised))
        return quantised

    def as_float(self, name: str) -> str:
        """The float form of a value, with the operation that makes it where there is none yet."""
        tensor = self.graph.tensors[name]
        restored = f"{name}/float"
        if tensor.dtype != INT8:
            return name
        if restored not in self.graph.tensors:
            self.graph.op("dequantise", (name,), Tensor(name=restored, shape=tensor.shape))
        return restored

    def int8(self, tensor: Tensor, name: str) -> Tensor:
        """A float tensor's int8 twin."""
        return replace(tensor, name=name, dtype=INT8, quantisation=activation(*self.ranges[tensor.name]))

    def constants(self, op: Op, source: str) -> tuple[str, str]:
        """Quantise the kernel and bias of a convolution whose int8 input is `source`."""
        kernel, bias = (self.float_graph.tensors[name].data for name in op.inputs[1:])
        given = self.graph.tensors[source].quantisation
        assert kernel is not None
        assert bias is not None
        assert given is not None
        axis = 3 if op.kind == "depthwise" else 0
        needed = np.abs(bias.astype(np.float64)) / (given.scale * BIAS_LIMIT)
        scales = np.maximum(kernel_scales(kernel, axis), needed)
        weights = stored(kernel, scales, axis)
        offsets = np.rint(bias.astype(np.float64) / (scales * given.scale)).astype(np.int32)
        return (
            self.graph.constant(op.inputs[1], weights, Quantisation(scale=scales, axis=axis)),
            self.graph.constant(op.inputs[2], offsets, Quantisation(scale=scales * given.scale, axis=0)),
        )

    def small(self, constant: Tensor) -> Tensor:
        """A float operation's constant: the dense layer's weights become int8, all else stays as it is."""
        if constant.data is None or constant.data.ndim < 4:
            return constant
        scales = kernel_scales(constant.data, axis=0)
        return replace(
            constant,
            dtype=INT8,
            data=stored(constant.data, scales, axis=0),
            quantisation=Quantisation(scale=scales, axis=0),
        )

    def convert(self, op: Op) -> None:
        """Add the int8 form of one operation, or the float one where precision matters more than speed."""
        output = self.float_graph.tensors[op.output]
        if op.kind in FLOAT:
            constants = (self.small(self.float_graph.tensors[name]) for name in op.inputs[1:])
            inputs = (self.as_float(op.inputs[0]), *(self.graph.tensor(constant) for constant in constants))
            self.graph.op(op.kind, inputs, output)
        elif op.kind == "add":
            left, right = (self.as_int8(name) for name in op.inputs)
            self.graph.op("add", (left, right), self.int8(output, output.name))
        else:
            source = self.as_int8(op.inputs[0])
            inputs = (source, *self.constants(op, source))
            self.graph.op(op.kind, inputs, self.int8(output, output.name), stride=op.stride, relu6=op.relu6)


def quantise(graph: Graph, ranges: Ranges) -> Graph:
    """Return the int8 graph of a float one; its image is plain uint8 pixels.

    With scale 1 / STD and zero point MEAN the pixel itself is the quantised form of (pixel - MEAN) / STD.
    Raises KeyError where `ranges` lacks a value of the graph.
    """
    result = Graph(image=graph.image, outputs=graph.outputs)
    pixels = Quantisation(scale=np.array([1.0 / STD]), zero=int(MEAN))
    result.tensor(replace(graph.tensors[graph.image], dtype=np.dtype(np.uint8), quantisation=pixels))
    known = {**ranges, graph.image: (-MEAN / STD, (255.0 - MEAN) / STD)}
    quantiser = _Quantiser(graph, result, known)
    for op in graph.ops:
        quantiser.convert(op)
    return result
