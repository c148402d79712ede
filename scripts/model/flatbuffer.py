"""A graph written as a TensorFlow Lite flatbuffer, byte for byte the same each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from graph import Graph, Kind, Op, Tensor
    from numpy.typing import NDArray

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # the schema's force_align of a buffer's data, which the Python writer does not know

DTYPES = {
    np.dtype(np.float32): tfl.TensorType.FLOAT32,
    np.dtype(np.int8): tfl.TensorType.INT8,
    np.dtype(np.uint8): tfl.TensorType.UINT8,
    np.dtype(np.int32): tfl.TensorType.INT32,
}

# The lowest versions that have what we use: int8 with scales per channel. The dense layer is a 1x1 convolution, because
# those have int8 weights per channel between floats in every runtime since 2.5; FULLY_CONNECTED has them since 2.18.
OPERATORS: Mapping[Kind, tuple[int, int]] = {
    "conv": (tfl.BuiltinOperator.CONV_2D, 3),
    "depthwise": (tfl.BuiltinOperator.DEPTHWISE_CONV_2D, 3),
    "dense": (tfl.BuiltinOperator.CONV_2D, 5),
    "add": (tfl.BuiltinOperator.ADD, 2),
    "mean": (tfl.BuiltinOperator.MEAN, 1),
    "reshape": (tfl.BuiltinOperator.RESHAPE, 1),
    "softmax": (tfl.BuiltinOperator.SOFTMAX, 1),
    "quantise": (tfl.BuiltinOperator.QUANTIZE, 1),
    "dequantise": (tfl.BuiltinOperator.DEQUANTIZE, 2),
}


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
        self.Prep(ALIGNMENT, x.nbytes)
        return int(super().CreateNumpyVector(x))


def _quantisation(tensor: Tensor) -> Any:
    if tensor.quantisation is None:
        return None
    packed = tfl.QuantizationParametersT()
    packed.scale = tensor.quantisation.scale.astype(np.float32)
    packed.zeroPoint = np.full(packed.scale.shape, tensor.quantisation.zero, np.int64)
    packed.quantizedDimension = tensor.quantisation.axis
    return packed


def _tensor(tensor: Tensor, buffer: int) -> Any:
    packed = tfl.TensorT()
    packed.name = tensor.name
    packed.type = DTYPES[tensor.dtype]
    packed.buffer = buffer
    packed.quantization = _quantisation(tensor)
    packed.shape = np.array(tensor.shape if buffer else (1, *tensor.shape), np.int32)
    if not buffer:
        packed.shapeSignature = np.array((-1, *tensor.shape), np.int32)
    return packed


def _convolution(op: Op) -> tuple[int, Any]:
    options: Any = tfl.DepthwiseConv2DOptionsT() if op.kind == "depthwise" else tfl.Conv2DOptionsT()
    options.padding = tfl.Padding.SAME
    options.strideW = options.strideH = op.stride
    options.fusedActivationFunction = tfl.ActivationFunctionType.RELU6 if op.relu6 else tfl.ActivationFunctionType.NONE
    if op.kind == "depthwise":
        options.depthMultiplier = 1
        return tfl.BuiltinOptions.DepthwiseConv2DOptions, options
    return tfl.BuiltinOptions.Conv2DOptions, options


def _options(op: Op) -> tuple[int, Any]:
    match op.kind:
        case "conv" | "depthwise" | "dense":
            return _convolution(op)
        case "add":
            return tfl.BuiltinOptions.AddOptions, tfl.AddOptionsT()
        case "mean":
            reducer = tfl.ReducerOptionsT()
            reducer.keepDims = True
            return tfl.BuiltinOptions.ReducerOptions, reducer
        case "softmax":
            softmax = tfl.SoftmaxOptionsT()
            softmax.beta = 1.0
            return tfl.BuiltinOptions.SoftmaxOptions, softmax
        case "reshape" | "quantise" | "dequantise":
            return tfl.BuiltinOptions.NONE, None


def _operator(op: Op, codes: Sequence[Kind], index: Mapping[str, int]) -> Any:
    packed = tfl.OperatorT()
    packed.opcodeIndex = codes.index(op.kind)
    packed.inputs = np.array([index[name] for name in op.inputs], np.int32)
    packed.outputs = np.array([index[op.output]], np.int32)
    packed.builtinOptionsType, packed.builtinOptions = _options(op)
    return packed


def _code(kind: Kind) -> Any:
    packed = tfl.OperatorCodeT()
    packed.builtinCode = packed.deprecatedBuiltinCode = OPERATORS[kind][0]
    packed.version = OPERATORS[kind][1]
    return packed


def _buffer(data: NDArray[Any] | bytes | None) -> Any:
    packed = tfl.BufferT()
    if data is not None:
        flat = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        packed.data = np.frombuffer(flat, np.uint8)
    return packed


def _mapping(name: str, tensor: int) -> Any:
    packed = tfl.TensorMapT()
    packed.name, packed.tensorIndex = name, tensor
    return packed


def _signature(graph: Graph, index: Mapping[str, int]) -> Any:
    packed = tfl.SignatureDefT()
    packed.signatureKey = "serving_default"
    packed.inputs = [_mapping("image", index[graph.image])]
    packed.outputs = [_mapping(name, index[tensor]) for name, tensor in graph.outputs.items()]
    return packed


def _metadata(name: str, buffer: int) -> Any:
    packed = tfl.MetadataT()
    packed.name, packed.buffer = name, buffer
    return packed


def write(graph: Graph, description: str, metadata: bytes) -> bytes:
    """Return the .tflite bytes of a graph, with `metadata` as its TFLITE_METADATA buffer.

    The batch is dynamic; buffer 0 is the empty one that the format asks for.
    """
    model, subgraph = tfl.ModelT(), tfl.SubGraphT()
    index = {name: position for position, name in enumerate(graph.tensors)}
    codes: list[Kind] = list(dict.fromkeys(op.kind for op in graph.ops))
    constants = [tensor for tensor in graph.tensors.values() if tensor.data is not None]
    buffers = {tensor.name: position for position, tensor in enumerate(constants, start=1)}
    subgraph.name = "main"
    subgraph.tensors = [_tensor(tensor, buffers.get(name, 0)) for name, tensor in graph.tensors.items()]
    subgraph.inputs = np.array([index[graph.image]], np.int32)
    subgraph.outputs = np.array([index[name] for name in graph.outputs.values()], np.int32)
    subgraph.operators = [_operator(op, codes, index) for op in graph.ops]
    model.version = 3
    model.description = description
    model.operatorCodes = [_code(kind) for kind in codes]
    model.subgraphs = [subgraph]
    model.buffers = [_buffer(data) for data in (None, *(tensor.data for tensor in constants), metadata)]
    model.metadata = [_metadata("TFLITE_METADATA", len(constants) + 1)]
    model.signatureDefs = [_signature(graph, index)]
    builder = _Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
