"""What stands beside a model file, and what a model is called by it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image as Pillow

from imgtag.errors import ModelError
from imgtag.models.image_model import ImageModel
from imgtag.plugin.image import Image
from imgtag.types.vector import space
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings

GREEN = Image(Pillow.new("RGB", (8, 8), (40, 200, 60)))


def place(folder: Path, model: bytes, manifest: str = "", labels: str | None = tiny.LABELS) -> Path:
    """A model with what belongs to it, named by its manifest."""
    (folder / "m.tflite").write_bytes(model)
    (folder / "m.toml").write_text(manifest)
    if labels is not None:
        (folder / "m.txt").write_text(labels)
        (folder / "m.toml").write_text(f'labels = "m.txt"\n{manifest}')
    return folder / "m.toml"


def made(path: Path) -> ImageModel:
    return load_model(TFLiteSettings(model=str(path)))


def best(classifier: ImageModel) -> tuple[str, float]:
    (scores,) = classifier.classify([GREEN])
    number = int(scores.probabilities.argmax())
    return classifier.info.labels[number], float(scores.probabilities[number])


def test_a_model_is_named_by_its_manifest(tmp_path: Path) -> None:
    """With the labels and the licence that it gives."""
    classifier = made(place(tmp_path, tiny.model(), 'licence = "MIT"'))

    assert ("m", "MIT", "green") == (classifier.info.name, classifier.info.licence, best(classifier)[0])


def test_a_model_file_finds_its_manifest_and_its_labels(tmp_path: Path) -> None:
    """Named by the .tflite, it is the same model."""
    by_manifest = made(place(tmp_path, tiny.model(), "temperature = 2.0"))

    assert by_manifest.info == made(tmp_path / "m.tflite").info

    (tmp_path / "m.toml").unlink()
    assert "green" == best(made(tmp_path / "m.tflite"))[0]


def test_the_digest_pins_the_file(tmp_path: Path) -> None:
    """Another file under its name is refused."""
    digest = sha256(tiny.model()).hexdigest()
    assert made(place(tmp_path, tiny.model(), f'sha256 = "{digest}"')).info.digest == digest

    with pytest.raises(ModelError, match="is not the file that its manifest names"):
        made(place(tmp_path, tiny.model(classes=4), f'sha256 = "{digest}"', labels="a\nb\nc\nd\n"))


def test_a_temperature_makes_it_less_sure_of_the_same(tmp_path: Path) -> None:
    """Vectors stay comparable."""
    plain = made(place(tmp_path, tiny.model(embedding=64)))
    cooled = made(place(tmp_path, tiny.model(embedding=64), "temperature = 4.0"))

    assert best(plain)[0] == best(cooled)[0]
    assert best(plain)[1] > best(cooled)[1]
    assert cooled.info.id == f"{plain.info.id}~4"
    assert space(plain.info.id, "svd1") == space(cooled.info.id, "svd1")


def test_outputs_are_those_that_the_manifest_names(tmp_path: Path) -> None:
    """Also where the names in the model say otherwise; a name that is not there is refused with those that are."""
    swapped = tiny.model(classes=64, embedding=64, names=["embedding", "probabilities"])
    labels = "".join(f"label {number}\n" for number in range(64))
    path = place(tmp_path, swapped, '[output]\nprobabilities = "embedding"\nembedding = "probabilities"', labels)

    classifier = made(path)

    assert (64, "label 1") == (classifier.info.embedding, best(classifier)[0])
    with pytest.raises(ModelError, match="names the output 'scores', but there are embedding float32"):
        made(place(tmp_path, swapped, '[output]\nprobabilities = "scores"', labels))


def test_pictures_are_given_as_the_manifest_says(tmp_path: Path) -> None:
    """The same model sees something else by another normalisation, and is another model by name."""
    plain = made(place(tmp_path, tiny.model()))
    darker = made(place(tmp_path, tiny.model(), "[input]\nmean = 0\nstd = 255.0\ncrop = 1.0"))

    assert best(plain) != best(darker)
    assert plain.info.id != darker.info.id
    assert plain.info.digest == darker.info.digest


def test_other_labels_are_another_model(tmp_path: Path) -> None:
    """Marks that were made by the old names are stale then."""
    one = made(place(tmp_path, tiny.model()))
    other = made(place(tmp_path, tiny.model(), labels="red\nverde\nblue\n"))

    assert one.info.id != other.info.id


def test_what_stands_in_the_file_alone_has_a_plain_name(tmp_path: Path) -> None:
    """The name of a model does not change by a manifest that says nothing new."""
    inside = tiny.attach(tiny.model(metadata=tiny.metadata()), "labels.txt", tiny.LABELS)
    info = made(place(tmp_path, inside, labels=None)).info

    assert info.id == f"m@{sha256(inside).hexdigest()[:8]}"


def test_one_class(tmp_path: Path) -> None:
    """A sigmoid that says how sure it is."""
    classifier = made(place(tmp_path, tiny.model(classes=1, final="logistic"), "temperature = 3.0", labels="red\n"))
    (scores,) = classifier.classify([Image(Pillow.new("RGB", (8, 8), (250, 0, 0)))])

    assert (1,) == scores.probabilities.shape
    assert 0.5 < scores.probabilities[0] < 1


def test_twenty_thousand_classes(tmp_path: Path) -> None:
    """As many labels, the best of them right."""
    labels = "".join(f"label {number}\n" for number in range(20_000))
    classifier = made(place(tmp_path, tiny.model(classes=20_000), labels=labels))

    assert 20_000 == len(classifier.info.labels)
    assert "label 1" == best(classifier)[0]


def test_labels_that_are_twice_there_are_told_apart(tmp_path: Path) -> None:
    """Each class has an identity of its own."""
    info = made(place(tmp_path, tiny.model(), labels="Crane\ncrane\nCRANE\n")).info

    assert ("crane", "crane (2)", "crane (3)") == info.labels


def test_a_label_file_that_is_named_and_not_there(tmp_path: Path) -> None:
    """It is said which."""
    path = place(tmp_path, tiny.model())
    (tmp_path / "m.txt").unlink()

    with pytest.raises(ModelError, match=r"cannot read the label file .*m\.txt"):
        made(path)


def test_probabilities_stay_probabilities_at_any_temperature(tmp_path: Path) -> None:
    """They add up to one."""
    (scores,) = made(place(tmp_path, tiny.model(), "temperature = 20")).classify([GREEN])

    assert np.isclose(scores.probabilities.sum(), 1, atol=1e-4)


def test_a_manifest_extends_the_bundled_model(tmp_path: Path) -> None:
    """With a temperature of its own it keeps its name, its taxonomy and its vectors."""
    (tmp_path / "sober.toml").write_text('extends = "bundled"\ntemperature = 1.5\n')
    bundled, sober = load_model(TFLiteSettings()).info, made(tmp_path / "sober.toml").info

    assert sober.id == f"{bundled.id}~1.5"
    assert (bundled.labels, bundled.taxonomy, bundled.projection) == (sober.labels, sober.taxonomy, sober.projection)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [('extends = "other"', "there is no built-in model 'other'"), ('extends = "bundled"\nfile = "m.tflite"', "file")],
)
def test_a_manifest_extends_nothing_else(tmp_path: Path, manifest: str, message: str) -> None:
    """Neither an unknown model nor one with a file of its own."""
    (tmp_path / "m.toml").write_text(manifest)

    with pytest.raises(ModelError, match=message):
        made(tmp_path / "m.toml")


def test_a_free_input_size_is_that_of_the_manifest(tmp_path: Path) -> None:
    """A model that takes any size is given the one that the manifest says; one with a size of its own keeps it."""
    classifier = made(place(tmp_path, tiny.model(free=True), "[input]\nsize = 4"))

    assert ((4, 4), "green") == (classifier.info.size, best(classifier)[0])
    with pytest.raises(ModelError, match="not an image classifier: its inputs are image") as caught:
        made(place(tmp_path, tiny.model(), "[input]\nsize = [8, 4]"))
    assert "Remove `size`" in caught.value.hint
