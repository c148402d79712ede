"""A float graph written as an ONNX model: the same network for another runtime, its colours first.

Operators: https://onnx.ai/onnx/operators/ , opset 17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graph import Graph, Op
    from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8  # of that opset; the newest may be unknown to the runtime


def write(graph: Graph) -> bytes:
    """Return the .onnx bytes of a float graph: `image` [n, 3, height, width] to `probabilities` [n, classes].

    The embedding is a tensor of the model and no output, as exporters write classifiers.
    """
    constants: dict[str, NDArray[np.float32]] = {}
    nodes = [node for op in graph.ops for node in _nodes(graph, op, constants)]
    height, width, channels = graph.tensors[graph.image].shape
    output = graph.outputs["probabilities"]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info(graph.image, onnx.TensorProto.FLOAT, ["n", channels, height, width])],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", *graph.tensors[output].shape])],
            [numpy_helper.from_array(data, name) for name, data in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _nodes(graph: Graph, op: Op, constants: dict[str, NDArray[np.float32]]) -> Iterator[onnx.NodeProto]:
    source, *_ = op.inputs
    match op.kind:
        case "conv" | "depthwise":
            kernel, bias = (graph.tensors[name].data for name in op.inputs[1:])
            # TensorFlow keeps [out, height, width, in], and [1, height, width, out] where each channel is filtered
            # alone; ONNX wants [out, in, height, width], with one input channel for each group.
            constants[op.inputs[1]] = (
                kernel.transpose(3, 0, 1, 2) if op.kind == "depthwise" else kernel.transpose(0, 3, 1, 2)
            )
            constants[op.inputs[2]] = bias
            linear = f"{op.output}/linear" if op.relu6 else op.output
            yield helper.make_node(
                "Conv",
                list(op.inputs),
                [linear],
                auto_pad="SAME_UPPER",
                strides=[op.stride] * 2,
                group=len(bias) if op.kind == "depthwise" else 1,
            )
            if op.relu6:
                constants |= {"relu6/low": np.array(0, np.float32), "relu6/high": np.array(6, np.float32)}
                yield helper.make_node("Clip", [linear, "relu6/low", "relu6/high"], [op.output])
        case "dense":  # of [n, length, 1, 1]
            kernel, bias = (graph.tensors[name].data for name in op.inputs[1:])
            constants |= {op.inputs[1]: kernel.reshape(len(bias), -1), op.inputs[2]: bias}
            yield helper.make_node("Flatten", [source], [f"{op.output}/flat"])
            yield helper.make_node("Gemm", [f"{op.output}/flat", *op.inputs[1:]], [op.output], transB=1)
        case "add":
            yield helper.make_node("Add", list(op.inputs), [op.output])
        case "mean":
            yield helper.make_node("GlobalAveragePool", [source], [op.output])
        case "reshape":
            yield helper.make_node("Flatten", [source], [op.output])
        case "softmax":
            yield helper.make_node("Softmax", [source], [op.output], axis=-1)
        case "quantise" | "dequantise":
            raise ValueError("only a float graph can be written")
