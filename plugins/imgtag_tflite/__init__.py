"""Classify with any TensorFlow Lite model, on the CPU."""

from imgtag.plugin.spec import ModelSettings, PluginSpec
from imgtag_tflite.settings import TFLiteSettings

SUFFIX = ".tflite"
BUILTIN = ("bundled", "efficientnet-lite0")
"""Both names of the model that comes with the plugin."""

SPEC = PluginSpec(
    name="tflite",
    kind="classifier",
    summary="Image classification on the CPU with a TensorFlow Lite model; one is included.",
    settings=TFLiteSettings,
    factory="imgtag_tflite.model:load_model",
    runs="worker",
    models=ModelSettings(
        name="model",
        suffix=SUFFIX,
        builtin=BUILTIN,
        catalogue="imgtag_tflite:catalogue.toml",
    ),
)
