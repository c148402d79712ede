"""Real models of a few bytes: they name the strongest colour of a picture of 4 x 4 pixels.

Class 0 is red, 1 green, 2 blue, any further class never wins. The image is averaged over its pixels and multiplied
by a matrix; around that, each model has the inputs, outputs and operations that a test asks for.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

SIDE = 4
LABELS = "Red\ngreen\nblue\n"
GAIN = 8.0
OPS = tfl.BuiltinOperator
TYPES = {"float32": tfl.TensorType.FLOAT32, "uint8": tfl.TensorType.UINT8, "int8": tfl.TensorType.INT8}


@dataclass
class Writer:
    """A model in the making; tensors and operations are known by number."""

    batch: int = -1
    tensors: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [tfl.BufferT()])
    codes: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)

    def tensor(self, name: str, shape: Sequence[int], dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> int:
        """A value; `shape` without the batch."""
        tensor = tfl.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, TYPES[dtype], 0
        tensor.shape = [abs(self.batch), *shape]
        tensor.shapeSignature = [self.batch, *shape]
        if scale:
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, data: np.ndarray[Any, Any]) -> int:
        """A constant, float32 or int32."""
        tensor, buffer = tfl.TensorT(), tfl.BufferT()
        tensor.type = tfl.TensorType.INT32 if data.dtype == np.int32 else tfl.TensorType.FLOAT32
        tensor.name, tensor.shape, tensor.buffer = f"constant{len(self.tensors)}", list(data.shape), len(self.buffers)
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def op(self, code: int, inputs: Sequence[int], output: int, options: Any = None, custom: str = "") -> int:
        """An operation; its options carry their own type. Returns the output."""
        operator, opcode = tfl.OperatorT(), tfl.OperatorCodeT()
        opcode.builtinCode, opcode.deprecatedBuiltinCode, opcode.version = code, min(code, 127), 1
        opcode.customCode = custom or None
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self.codes), list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(tfl.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.codes.append(opcode)
        self.operators.append(operator)
        return output

    def matrix(self, source: int, name: str, length: int, gain: float = GAIN) -> int:
        """The averaged colour times a matrix that keeps R, G, B in the first three places; below them -1."""
        weights = np.zeros((length, 3), np.float32)
        weights[: min(length, 3)] = np.eye(3, dtype=np.float32)[: min(length, 3)] * gain
        bias = np.where(np.arange(length) < 3, 0.0, -gain).astype(np.float32)
        inputs = (source, self.constant(weights), self.constant(bias))
        return self.op(OPS.FULLY_CONNECTED, inputs, self.tensor(name, [length]), tfl.FullyConnectedOptionsT())

    def finish(
        self, inputs: Sequence[int], outputs: Sequence[int], names: Sequence[str] = (), metadata: bytes = b""
    ) -> bytes:
        """The flatbuffer; `names` are those of the signature's outputs."""
        model, subgraph = tfl.ModelT(), tfl.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = list(inputs), list(outputs)
        model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [subgraph], self.codes, self.buffers
        if names:
            model.signatureDefs = [signature(inputs, dict(zip(names, outputs, strict=True)))]
        if metadata:
            buffer, entry = tfl.BufferT(), tfl.MetadataT()
            buffer.data = np.frombuffer(metadata, np.uint8)
            entry.name, entry.buffer = "TFLITE_METADATA", len(self.buffers)
            self.buffers.append(buffer)
            model.metadata = [entry]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def signature(inputs: Sequence[int], outputs: dict[str, int]) -> Any:
    """The serving signature."""

    def entry(name: str, index: int) -> Any:
        mapping = tfl.TensorMapT()
        mapping.name, mapping.tensorIndex = name, index
        return mapping

    result = tfl.SignatureDefT()
    result.signatureKey = "serving_default"
    result.inputs = [entry("image", index) for index in inputs]
    result.outputs = [entry(*item) for item in outputs.items()]
    return result


def colour(writer: Writer, dtype: str, scale: float, zero: int, side: int = SIDE) -> tuple[int, int]:
    """The image and its averaged colour as float32 [n, 3]."""
    image = writer.tensor("image", [side, side, 3], dtype, scale, zero)
    value = image
    if dtype != "float32":
        value = writer.op(OPS.DEQUANTIZE, [image], writer.tensor("real", [side, side, 3]))
        writer.codes[-1].version = 2
    axes = writer.constant(np.array([1, 2], np.int32))
    return image, writer.op(OPS.MEAN, [value, axes], writer.tensor("colour", [3]), tfl.ReducerOptionsT())


def model(
    *,
    dtype: str = "float32",
    scale: float = 1 / 128,
    zero: int = 0,
    classes: int = 3,
    batch: int = -1,
    final: str | None = "softmax",
    stored: str = "float32",
    embedding: int = 0,
    names: Sequence[str] = (),
    metadata: bytes = b"",
    free: bool = False,
) -> bytes:
    """A classifier. `final`: softmax, logistic or None (logits); `stored`: type of the output; `embedding`: length.

    `free`: its input may have any width and height.
    """
    writer = Writer(batch)
    image, mean = colour(writer, dtype, 0.0 if dtype == "float32" else scale, zero)
    if free:
        writer.tensors[image].shapeSignature = [batch, -1, -1, 3]
    scores = writer.matrix(mean, "scores", classes)
    if final == "softmax":
        options = tfl.SoftmaxOptionsT()
        options.beta = 1.0
        scores = writer.op(OPS.SOFTMAX, [scores], writer.tensor("scores/softmax", [classes]), options)
    elif final == "logistic":
        scores = writer.op(OPS.LOGISTIC, [scores], writer.tensor("scores/logistic", [classes]))
    if stored != "float32":
        least = {"int8": -128, "uint8": 0}[stored]
        target = writer.tensor("scores/stored", [classes], stored, 1 / 256, least)
        scores = writer.op(OPS.QUANTIZE, [scores], target)
    outputs = [scores]
    if embedding:
        outputs.append(writer.matrix(mean, "features/embedding", embedding, gain=1.0))
    return writer.finish([image], outputs, names, metadata)


def headed(length: int = 64, rows: int = 3, between: str | None = None) -> bytes:
    """A model whose embedding is what its last layer takes, or a further layer of so many `rows`."""
    writer = Writer()
    image, mean = colour(writer, "float32", 0.0, 0)
    embedding = source = writer.matrix(mean, "embedding", length, gain=1.0)
    if between == "reshape":
        shape = writer.constant(np.array([-1, length], np.int32))
        source = writer.op(OPS.RESHAPE, [source, shape], writer.tensor("same", [length]))
    weights = np.zeros((rows, length), np.float32)
    weights[:3, :3] = np.eye(3, dtype=np.float32) * GAIN
    inputs = (source, writer.constant(weights), writer.constant(np.zeros(rows, np.float32)))
    last = writer.op(OPS.FULLY_CONNECTED, inputs, writer.tensor("last", [rows]), tfl.FullyConnectedOptionsT())
    scores = last if rows == 3 else writer.matrix(mean, "scores", 3)
    return writer.finish([image], [scores, embedding], ["probabilities", "embedding"])


def features(length: int = 64) -> bytes:
    """A model that gives an embedding and nothing else."""
    writer = Writer()
    image, mean = colour(writer, "float32", 0.0, 0)
    return writer.finish([image], [writer.matrix(mean, "features", length)], ["embedding"])


def detector() -> bytes:
    """Outputs as an object detector has them: boxes, classes, scores, count."""
    writer = Writer(1)
    image, mean = colour(writer, "float32", 0.0, 0)
    flat = writer.matrix(mean, "flat", 40)
    shape = writer.constant(np.array([1, 10, 4], np.int32))
    boxes = writer.op(OPS.RESHAPE, [flat, shape], writer.tensor("boxes", [10, 4]))
    vectors = [writer.matrix(mean, name, length) for name, length in (("classes", 10), ("scores", 10), ("count", 1))]
    return writer.finish([image], [boxes, *vectors])


def words() -> bytes:
    """A model whose input is no image: 16 numbers."""
    writer = Writer()
    given = writer.tensor("words", [3])
    return writer.finish([given], [writer.matrix(given, "scores", 3)])


def custom(name: str = "TFLite_Detection_PostProcess") -> bytes:
    """A model that needs an operation which is not built in."""
    writer = Writer()
    image, mean = colour(writer, "float32", 0.0, 0)
    return writer.finish([image], [writer.op(OPS.CUSTOM, [mean], writer.tensor("scores", [3]), custom=name)])


def attach(content: bytes, name: str, text: str) -> bytes:
    """The model with a file appended as a zip."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def metadata(*, mean: float = 127.5, std: float = 127.5, labels: str = "labels.txt", licence: str = "MIT") -> bytes:
    """TFLite Metadata as `scripts/model` writes it."""
    path = Path(__file__).resolve().parents[3] / "scripts" / "model" / "tflite_metadata.py"
    spec = importlib.util.spec_from_file_location("imgtag_test_tflite_metadata", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    card = module.Card(name="tiny", description="", version="1", author="", licence=licence)
    return bytes(module.write(card, mean=mean, std=std, labels=labels))
