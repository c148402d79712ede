"""Classify with any TensorFlow Lite model, on the CPU."""

from imgtag.plugin.spec import PluginSpec
from imgtag_tflite.settings import TFLiteSettings

SPEC = PluginSpec(
    name="tflite",
    kind="classifier",
    summary="Image classification with a TensorFlow Lite model on the CPU; one comes with it.",
    settings=TFLiteSettings,
    factory="imgtag_tflite.classifier:TFLiteClassifier",
    runs="worker",
)
