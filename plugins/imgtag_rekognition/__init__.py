"""Amazon Rekognition as a classifier."""

from imgtag.plugin.spec import PluginSpec
from imgtag_rekognition.settings import RekognitionSettings

SPEC = PluginSpec(
    name="rekognition",
    kind="classifier",
    summary="Amazon Rekognition: pictures leave the site, each costs money, and labels come from AWS' vocabulary.",
    settings=RekognitionSettings,
    factory="imgtag_rekognition.factory:make_classifier",
    runs="main",
)
"""The table `[classifier.rekognition]`."""
