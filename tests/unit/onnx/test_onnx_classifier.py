"""Classifying with ONNX models of every usual shape, and refusing what is none."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from skimage import data

from imgtag.errors import ModelError
from imgtag.models.image_model import ImageModel
from imgtag.plugin.image import Image
from imgtag.testing.conformance import ClassifierConformance
from imgtag.types.vector import cosine
from imgtag_onnx import SPEC
from imgtag_onnx.model import load_model
from imgtag_onnx.settings import OnnxSettings
from imgtag_tflite import model as tflite_model
from imgtag_tflite.settings import TFLiteSettings
from unit.onnx.conftest import GAIN, Classify, tiny

ROOT = Path(__file__).resolve().parents[3]
BUNDLED = ROOT / "plugins" / "imgtag_tflite" / "bundled"
COLOURS = {"Red": (250, 20, 30), "green": (20, 250, 30), "blue": (20, 30, 250)}


def image(red: int, green: int, blue: int) -> Image:
    return Image.from_array(np.full((9, 7, 3), (red, green, blue), np.uint8))


def names(classifier: ImageModel, images: list[Image]) -> list[str]:
    return [classifier.info.display[int(scores.probabilities.argmax())] for scores in classifier.classify(images)]


@pytest.mark.parametrize(
    ("given", "manifest"),
    [
        ({}, ""),
        ({"layout": "NHWC"}, ""),
        ({"shape": (1, 3, 4, 4)}, ""),
        ({"shape": (1, 3, 4, 4), "layout": "NCHW", "dtype": "float16"}, ""),
        ({"layout": "NHWC", "dtype": "uint8"}, ""),
        ({"final": None}, ""),
        ({"final": "Sigmoid", "product": "MatMul"}, ""),
        ({"shape": ("n", 3, "h", "w")}, "[input]\nsize = 4\n"),
        ({"shape": ("n", "c", "h", "w")}, '[input]\nsize = [4, 4]\nlayout = "NCHW"\n'),
    ],
    ids=["NCHW", "NHWC", "batch of 1", "float16", "uint8", "logits", "sigmoid", "any size", "any shape"],
)
def test_names_the_strongest_colour(classifier: Classify, given: dict[str, object], manifest: str) -> None:
    """Each kind of input, with any batch, names what is in the picture, in the pictures' order."""
    made = classifier(tiny(**given), manifest=manifest)  # type: ignore[arg-type]

    assert list(COLOURS) * 4 == names(made, [image(*colour) for colour in COLOURS.values()] * 4)


def grey(classifier: Classify, manifest: str = "", *, layout: str = "NCHW") -> float:
    """What a model sees of 100 in its red channel."""
    made = classifier(tiny(classes=1, final="Sigmoid", layout=layout), labels="red\n", manifest=manifest)
    probability = float(made.classify([image(100, 0, 0)])[0].probabilities[0])
    return float(np.log(probability / (1 - probability))) / GAIN


def test_colours_are_normalised_as_the_layout_suggests(classifier: Classify) -> None:
    """By the statistics of ImageNet where they come first, as PyTorch has them; to -1 to 1 where they come last."""
    assert pytest.approx((100 - 123.675) / 58.395, abs=1e-3) == grey(classifier)
    assert pytest.approx((100 - 127.5) / 127.5, abs=1e-3) == grey(classifier, layout="NHWC")
    assert pytest.approx(0.1, abs=1e-3) == grey(classifier, "[input]\nmean = 90\nstd = 100\n")


def test_activation_of_the_manifest(classifier: Classify) -> None:
    """Logits of independent classes go through a sigmoid where the manifest says so."""
    manifest = '[input]\nmean = 127.5\nstd = 127.5\n[output]\nactivation = "sigmoid"\n'
    (scores,) = classifier(tiny(final=None), manifest=manifest).classify([image(255, 255, 0)])

    assert [True, True, False] == (scores.probabilities > 0.9).tolist()


@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
def test_features_of_the_last_layer_are_the_embedding(classifier: Classify, product: str) -> None:
    """A model with one output has an embedding and vectors all the same."""
    made = classifier(tiny(length=96, product=product))
    red, dark, blue = (
        scores.vector.tolist()  # type: ignore[union-attr]
        for scores in made.classify([image(255, 0, 0), image(200, 0, 0), image(0, 0, 255)])
    )

    assert (96, "svd1") == (made.info.embedding, made.info.projection)
    assert pytest.approx(1, abs=0.1) == cosine(red, dark)
    assert cosine(red, blue) < 0.5


def test_tensors_of_the_manifest(classifier: Classify) -> None:
    """The manifest may name any tensor of the model as embedding, and says so where there is none of that name."""
    made = classifier(tiny(length=96), manifest='[output]\nembedding = "mean"\n')
    assert (3, "") == (made.info.embedding, made.info.projection)

    made = classifier(tiny(length=96, outputs=("features", "scores")), manifest='[output]\nprobabilities = "scores"\n')
    assert (96, "svd1") == (made.info.embedding, made.info.projection)

    with pytest.raises(ModelError, match="names the output 'pool', but the model has no such tensor"):
        classifier(tiny(), manifest='[output]\nembedding = "pool"\n')


@pytest.mark.parametrize("written", ["{0: 'Red', 1: 'green', 2: 'blue'}", '["Red", "green", "blue"]'])
def test_labels_and_licence_inside_the_model(classifier: Classify, written: str) -> None:
    """Exporters of classifiers write both into the metadata."""
    info = classifier(tiny(metadata={"names": written, "license": "MIT"}), labels=None).info

    assert (("red", "green", "blue"), "MIT", "colours") == (info.labels, info.licence, info.name)


@pytest.mark.parametrize(
    "written", ["{0: 'Red', 2: 'green'}", "__import__('os')", "(" * 5000, "[1, 2, 3]", "['\\x00']"]
)
def test_names_that_are_none(classifier: Classify, written: str) -> None:
    """Metadata that hold no labels are not believed, and nothing in them is run."""
    with pytest.raises(ModelError, match="it has no labels"):
        classifier(tiny(metadata={"names": written}), labels=None)


@pytest.mark.parametrize(
    ("model", "manifest", "message"),
    [
        (b"GIF89a" * 9, "", "is not an ONNX model"),
        (b"", "", "it has no operations"),
        (
            tiny(shape=("n", 3, "h", "w")),
            "",
            r"not an image classifier: its inputs are image float32 \[-1, 3, -1, -1\]",
        ),
        (tiny(), "[input]\nsize = 5\n", "not an image classifier: its inputs are image"),
        (tiny(product="MatMul", outputs=("mean", "product")), "", "its outputs are mean float32"),
    ],
    ids=["picture", "empty", "free size", "another size", "many outputs"],
)
def test_other_files(classifier: Classify, model: bytes, manifest: str, message: str) -> None:
    """What is no image classifier is refused, and the message says what was seen."""
    with pytest.raises(ModelError, match=message):
        classifier(model, manifest=manifest)


def test_a_manifest_extends_nothing(tmp_path: Path) -> None:
    """This classifier has no model of its own that a manifest could change."""
    (tmp_path / "m.toml").write_text('extends = "bundled"\n')

    with pytest.raises(ModelError, match="there is no built-in model 'bundled'"):
        load_model(OnnxSettings(model=str(tmp_path / "m.toml")))


def test_weights_elsewhere(classifier: Classify, tmp_path: Path) -> None:
    """A model that names another file for its weights is refused before anything reads that file."""
    model = onnx.load_model_from_string(tiny())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")

    with pytest.raises(ModelError, match="keeps its weights in another file"):
        classifier(model.SerializeToString())


def test_unknown_provider(tmp_path: Path) -> None:
    """A provider that the runtime lacks is named, with those that it has."""
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny())
    with pytest.raises(ModelError, match="has no MoonExecutionProvider") as caught:
        load_model(OnnxSettings(model=str(path), providers=("MoonExecutionProvider",)))

    assert "CPUExecutionProvider" in caught.value.hint


def test_damaged_models(classifier: Classify) -> None:
    """Wherever a model is damaged, loading it ends in a model or in ModelError, and in nothing else."""
    content, dice = tiny(length=96), random.Random(1)
    ends = {"loaded": 0, "refused": 0}
    for _ in range(150):
        place = dice.randrange(len(content) - 4)
        damaged = content[:place] + dice.randbytes(4) + content[place + 4 :]
        try:
            classifier(damaged)
            ends["loaded"] += 1
        except ModelError:
            ends["refused"] += 1

    assert min(ends.values()) > 10


@pytest.fixture(scope="module")
def same_network(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageModel, ImageModel]:
    """The bundled network in float32, exported to both formats."""
    folder = tmp_path_factory.mktemp("same")
    for option, suffix in (("--float", ".tflite"), ("--onnx", ".onnx")):
        path = folder / f"lite0{suffix}"
        subprocess.run([sys.executable, str(ROOT / "scripts/model"), "build", option, str(path)], check=True)
    (folder / "lite0.txt").write_bytes((BUNDLED / "labels.txt").read_bytes())
    (folder / "onnx.toml").write_text(
        'file = "lite0.onnx"\nlabels = "lite0.txt"\n[input]\nmean = 127.0\nstd = 128.0\n', encoding="utf-8"
    )
    onnx_model = load_model(OnnxSettings(model=str(folder / "onnx.toml")))
    return onnx_model, tflite_model.load_model(TFLiteSettings(model=str(folder / "lite0.tflite")))


def test_same_network_same_labels(same_network: tuple[ImageModel, ImageModel]) -> None:
    """The runtimes agree on photographs: on every probability, on the embedding, and on the vector."""
    made, reference = same_network
    pictures = [Image.from_array(picture()) for picture in (data.astronaut, data.cat, data.coffee, data.rocket)]

    for ours, theirs in zip(made.classify(pictures), reference.classify(pictures), strict=True):
        assert theirs.probabilities == pytest.approx(ours.probabilities, abs=1e-4)
        assert theirs.embedding == pytest.approx(ours.embedding, abs=1e-2)
        assert pytest.approx(1, abs=1e-3) == cosine(theirs.vector.tolist(), ours.vector.tolist())  # type: ignore[union-attr]


class TestOnnxClassifier(ClassifierConformance):
    """The network of millions of numbers passes the suite."""

    @pytest.fixture
    def classifier(self, same_network: tuple[ImageModel, ImageModel]) -> ImageModel:
        return same_network[0]


def test_spec_imports_no_runtime() -> None:
    """Discovery does not load ONNX Runtime, so that the plugin can be listed where the extra is not installed."""
    program = (
        "import sys, imgtag_onnx; print({'onnx', 'onnxruntime', 'numpy'} & set(sys.modules), imgtag_onnx.SPEC.name)"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert f"set() {SPEC.name}" == output.strip()
