"""The tests share the module `tiny`, which makes real models of a few bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgtag.models.image_model import ImageModel
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings
from unit.model_files import put_model

sys.path.insert(0, str(Path(__file__).parent))

Classify = Callable[..., ImageModel]


@pytest.fixture
def classifier(tmp_path: Path) -> Classify:
    """Make the classifier of a model given as bytes, with a label file where `labels` is a text, and a manifest."""

    def make(model: bytes, *, labels: str | None = None, manifest: str = "") -> ImageModel:
        path = put_model(tmp_path / "colours.tflite", model, labels, manifest)
        return load_model(TFLiteSettings(model=str(path)))

    return make
