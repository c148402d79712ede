"""Real models of a few bytes: they name the strongest colour of a picture of 4 x 4 pixels.

Class 0 is red, 1 green, 2 blue, any further class never wins: the mean colour times a matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from imgtag.models.image_model import ImageModel
from imgtag_onnx.model import load_model
from imgtag_onnx.settings import OnnxSettings
from unit.model_files import put_model

LABELS = "Red\ngreen\nblue\n"
GAIN = 8.0
TYPES = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16, "uint8": onnx.TensorProto.UINT8}

Classify = Callable[..., ImageModel]


def tiny(
    *,
    layout: str = "NCHW",
    shape: tuple[Any, ...] | None = None,
    dtype: str = "float32",
    final: str | None = "Softmax",
    classes: int = 3,
    length: int = 3,
    product: str = "Gemm",
    outputs: tuple[str, ...] = ("scores",),
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A classifier; its features are the mean colour, repeated up to `length`, and its last layer a `product`."""
    shape = shape or (("n", 3, 4, 4) if layout == "NCHW" else ("n", 4, 4, 3))
    weights = np.zeros((classes, length), np.float32)
    weights[: min(classes, 3), :3] = np.eye(3, dtype=np.float32)[: min(classes, 3)] * GAIN
    bias = np.where(np.arange(classes) < 3, 0.0, -GAIN).astype(np.float32)
    repeat = np.tile(np.eye(3, dtype=np.float32), (1, -(-length // 3)))[:, :length]
    constants = {"weights": weights if product == "Gemm" else weights.T, "bias": bias, "repeat": repeat}
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[2, 3] if layout == "NCHW" else [1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "repeat"], ["features"]),
    ]
    if product == "Gemm":
        nodes.append(helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"], transB=1))
    else:
        nodes.append(helper.make_node("MatMul", ["features", "weights"], ["product"]))
        nodes.append(helper.make_node("Add", ["product", "bias"], ["logits"]))
    nodes.append(helper.make_node(final or "Identity", ["logits"], ["scores"]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TYPES[dtype], shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.ascontiguousarray(data), name) for name, data in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    return bytes(model.SerializeToString())


@pytest.fixture
def classifier(tmp_path: Path) -> Classify:
    """Make the classifier of a model given as bytes, with a label file where `labels` is a text, and a manifest."""

    def make(model: bytes, *, labels: str | None = LABELS, manifest: str = "") -> ImageModel:
        path = put_model(tmp_path / "colours.onnx", model, labels, manifest)
        return load_model(OnnxSettings(model=str(path)))

    return make
