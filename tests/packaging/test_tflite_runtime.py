"""The older runtime in the place of ai-edge-litert."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLASSIFY = """
import sys
from PIL import Image as Pillow
from imgtag.plugin.image import Image
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings

assert "ai_edge_litert" not in sys.modules
classifier = load_model(TFLiteSettings())
with Pillow.open(sys.argv[1]) as picture:
    scores = classifier.classify([Image(picture.convert("RGB"))])[0]
print(classifier.info.labels[int(scores.probabilities.argmax())], scores.embedding.shape)
assert "tflite_runtime.interpreter" in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheels behind Python 3.11")
def test_the_bundled_model_runs_on_tflite_runtime(tmp_path):
    """With numpy 1 and without ai-edge-litert the same plugin gives the same label."""
    needs = ["numpy<2", "tflite-runtime>=2.14", "pillow>=11", "pydantic>=2.9"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", tmp_path]
    subprocess.run([*pip, *needs], check=True)
    roots = f"{tmp_path}:{ROOT / 'sidecar'}:{ROOT / 'plugins'}"
    picture = Path(find_spec("skimage").origin).parent / "data/coffee.png"

    # Without `site`, the libraries of this environment are not there.
    done = subprocess.run(
        [sys.executable, "-S", "-c", CLASSIFY, picture],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": roots},
        cwd="/",
    )

    assert "espresso (1280,)" == done.stdout.strip(), done.stderr
