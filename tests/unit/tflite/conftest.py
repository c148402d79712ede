"""The tests share the module `tiny`, which makes real models of a few bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgtag_tflite.classifier import TFLiteClassifier
from imgtag_tflite.settings import TFLiteSettings

sys.path.insert(0, str(Path(__file__).parent))

Classify = Callable[..., TFLiteClassifier]


@pytest.fixture
def classifier(tmp_path: Path) -> Classify:
    """Make the classifier of a model given as bytes, with a label file where `labels` is a text."""

    def make(model: bytes, *, labels: str | None = None, **settings: Any) -> TFLiteClassifier:
        path = tmp_path / "colours.tflite"
        path.write_bytes(model)
        if labels is not None:
            settings["labels"] = tmp_path / "labels.txt"
            settings["labels"].write_text(labels, encoding="utf-8")
        return TFLiteClassifier(TFLiteSettings(model=str(path), **settings))

    return make
