"""Classify with any TensorFlow Lite model, on the CPU."""

from imgtag.plugin.spec import ModelSettings, PluginSpec
from imgtag_tflite.settings import TFLiteSettings

SUFFIX = ".tflite"

SPEC = PluginSpec(
    name="tflite",
    kind="classifier",
    summary="Image classification with a TensorFlow Lite model on the CPU; one comes with it.",
    settings=TFLiteSettings,
    factory="imgtag_tflite.classifier:TFLiteClassifier",
    runs="worker",
    models=ModelSettings(
        name="model",
        suffix=SUFFIX,
        builtin=("bundled", "efficientnet-lite0"),
        own=("labels", "crop", "mean", "std", "temperature"),
        temperature="temperature",
        catalogue="imgtag_tflite:catalogue.toml",
    ),
)
