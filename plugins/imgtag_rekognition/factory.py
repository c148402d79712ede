"""Makes the classifier, where the extra that it needs is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtag.plugin import PluginContext
from imgtag.plugin.aws import require_extra
from imgtag_rekognition.settings import RekognitionSettings

if TYPE_CHECKING:
    from imgtag_rekognition.classifier import RekognitionClassifier


def make_classifier(settings: RekognitionSettings, context: PluginContext) -> RekognitionClassifier:
    """The classifier. Raises PluginError."""
    require_extra()
    from imgtag_rekognition.classifier import RekognitionClassifier  # noqa: PLC0415  (which needs the extra)

    return RekognitionClassifier(settings, context)
