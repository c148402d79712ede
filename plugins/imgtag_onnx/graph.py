"""What an ONNX file says about itself, and the layer that decides between its classes.

Messages and operators: https://onnx.ai/onnx/repo-docs/IR.html, https://onnx.ai/onnx/operators/ .
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from imgtag.errors import ModelError
from imgtag.models.label_file import MAX_LABEL

if TYPE_CHECKING:
    from pathlib import Path

    from imgtag.models.projection import Matrix

PASSING = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Dropout"})  # the values stay the same
PROBABILITIES = frozenset({"Softmax", "Sigmoid"})
MAX_LICENCE = 100  # characters; anything longer is the text of the licence


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last layer: ``features`` is the name of the tensor that it multiplies by ``weights``, [classes, length]."""

    features: str
    weights: Matrix


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A model file, read."""

    model: onnx.ModelProto
    outputs: tuple[str, ...]
    """The names of the declared outputs."""
    probable: frozenset[str]
    """Those of them that a softmax or a sigmoid makes."""
    heads: Mapping[str, Head]
    """The last layer of each output that has one."""
    labels: tuple[str, ...]
    """Labels in the metadata, as exporters of classifiers write them; empty where there are none."""
    licence: str

    def add_outputs(self, names: Sequence[str]) -> bytes:
        """The model with these of its tensors as further outputs. Raises ModelError where there is none of a name."""
        known = {name for node in self.model.graph.node for name in node.output}
        for name in names:
            if name not in known:
                hint = "Name a tensor of the model under [output] of the manifest, or leave it out."
                raise ModelError(f"the manifest names the output {name!r}, but the model has no such tensor", hint=hint)
        self.model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return bytes(self.model.SerializeToString())


def read_graph(content: bytes, path: Path) -> Graph:
    """Parse a model file.

    Raises ModelError where it is damaged, or keeps its weights elsewhere; ``path`` is for the message.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        hint = "Copy the file again, or export the model again; other formats need another classifier plugin."
        raise ModelError(f"{path} is not an ONNX model, or is damaged: {error}", hint=hint) from error
    if not model.graph.node:
        raise ModelError(f"{path} is not an ONNX model: it has no operations", hint="Export the model again.")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        hint = "Export it as one file: onnx.save(model, path, save_as_external_data=False)."
        raise ModelError(f"{path} keeps its weights in another file", hint=hint)
    reader = _Reader(model)
    outputs = tuple(output.name for output in model.graph.output)
    metadata = {entry.key.lower(): entry.value for entry in model.metadata_props}
    licence = " ".join((metadata.get("license") or metadata.get("licence") or "").split())
    return Graph(
        model=model,
        outputs=outputs,
        probable=frozenset(name for name in outputs if reader.operation(name) in PROBABILITIES),
        heads={name: head for name in outputs if (head := reader.find_head(name)) is not None},
        labels=_parse_names(metadata.get("names", "")),
        licence=licence if len(licence) <= MAX_LICENCE else "",
    )


class _Reader:
    """Follows tensors back to what made them; a damaged graph may run in circles."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._makers = {output: node for node in model.graph.node for output in node.output}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def operation(self, name: str) -> str:
        """The operation that makes a tensor, past those that change no value; empty where none does."""
        node = self._origin(name)
        return "" if node is None else node.op_type

    def find_head(self, output: str) -> Head | None:
        """The matrix that the features are multiplied by, and what may be added to the product afterwards."""
        node = self._origin(output)
        if node is not None and node.op_type in PROBABILITIES:
            node = self._origin(node.input[0])
        if node is not None and node.op_type == "Add":
            products = [name for name in node.input if name not in self._constants]
            node = self._origin(products[0]) if len(products) == 1 else None
        if node is None or node.op_type not in {"Gemm", "MatMul"} or len(node.input) < 2:
            return None
        constant = self._constants.get(node.input[1])
        if constant is None:
            return None
        options = {attribute.name: attribute for attribute in node.attribute}
        try:
            weights = np.asarray(numpy_helper.to_array(constant), np.float32)
        except (ValueError, TypeError):  # its bytes are not what its shape says
            return None
        if weights.ndim != 2 or ("transA" in options and options["transA"].i):
            return None
        is_transposed = "transB" in options and options["transB"].i
        return Head(features=node.input[0], weights=weights if is_transposed else weights.T)

    def _origin(self, name: str) -> Any:
        for node in self._back(name):
            if node.op_type not in PASSING:
                return node
        return None

    def _back(self, name: str) -> Iterator[Any]:
        for _ in range(len(self._makers)):
            node = self._makers.get(name)
            if node is None:
                return
            yield node
            if not node.input:
                return
            name = node.input[0]


def _parse_names(text: str) -> tuple[str, ...]:
    """Labels as exporters write them: a Python dict `{0: 'tench', 1: 'goldfish'}`, or a list."""
    try:
        value = ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    if isinstance(value, dict):
        if sorted(map(str, value)) != sorted(map(str, range(len(value)))):
            return ()
        value = [value.get(number, value.get(str(number))) for number in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return ()
    labels = tuple(" ".join(name.split()) for name in value)
    return labels if all(label.isprintable() and 0 < len(label) <= MAX_LABEL for label in labels) else ()
