"""An inference server as a classifier."""

from imgtag.plugin.spec import PluginSpec
from imgtag_http.settings import HttpSettings

SPEC = PluginSpec(
    name="http",
    kind="classifier",
    summary="An inference server: KServe, Triton or another that speaks the Open Inference Protocol, or any JSON API.",
    settings=HttpSettings,
    factory="imgtag_http.classifier:HttpClassifier",
    runs="main",
)
"""The table `[classifier.http]`."""
