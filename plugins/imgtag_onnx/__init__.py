"""Classify with any ONNX model, by ONNX Runtime."""

from imgtag.plugin.spec import ModelSettings, PluginSpec
from imgtag_onnx.settings import OnnxSettings

SUFFIX = ".onnx"

SPEC = PluginSpec(
    name="onnx",
    kind="classifier",
    summary="Image classification with an ONNX model, by ONNX Runtime (extra: onnx).",
    settings=OnnxSettings,
    factory="imgtag_onnx.model:load_model",
    runs="worker",
    models=ModelSettings(name="model", suffix=SUFFIX),
)
