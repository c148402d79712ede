"""The tests share the module `tiny`, which makes real models of a few bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgtag_tflite.classifier import TFLiteClassifier
from imgtag_tflite.settings import TFLiteSettings

sys.path.insert(0, str(Path(__file__).parent))

Classify = Callable[..., TFLiteClassifier]


@pytest.fixture
def classifier(tmp_path: Path) -> Classify:
    """Make the classifier of a model given as bytes, with a label file where `labels` is a text, and a manifest."""

    def make(model: bytes, *, labels: str | None = None, manifest: str = "") -> TFLiteClassifier:
        path = tmp_path / "colours.tflite"
        path.write_bytes(model)
        if labels is not None:
            path.with_suffix(".txt").write_text(labels, encoding="utf-8")
            manifest = f'labels = "colours.txt"\n{manifest}'
        path.with_suffix(".toml").write_text(manifest, encoding="utf-8")
        return TFLiteClassifier(TFLiteSettings(model=str(path)))

    return make
