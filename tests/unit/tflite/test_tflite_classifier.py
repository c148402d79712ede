"""Classifying with models of every usual shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny

from imgtag.errors import ModelError
from imgtag.plugin.image import Image

if TYPE_CHECKING:
    from conftest import Classify

COLOURS = {"Red": (250, 20, 30), "green": (20, 250, 30), "blue": (20, 30, 250)}


def image(red: int, green: int, blue: int) -> Image:
    """A picture of one colour."""
    return Image.from_array(np.full((9, 7, 3), (red, green, blue), np.uint8))


def names(classifier: object, images: list[Image]) -> list[str]:
    """The strongest class of each picture, as shown."""
    return [
        classifier.info.display[int(scores.probabilities.argmax())]  # type: ignore[attr-defined]
        for scores in classifier.classify(images)  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("batch", [1, -1], ids=["fixed batch", "dynamic batch"])
@pytest.mark.parametrize(
    "given",
    [
        {"dtype": "float32"},
        {"dtype": "uint8", "scale": 1 / 128, "zero": 127},
        {"dtype": "uint8", "scale": 1 / 255, "zero": 0},
        {"dtype": "int8", "scale": 1 / 128, "zero": -1},
        {"dtype": "float32", "final": None},
        {"dtype": "float32", "final": "logistic"},
        {"dtype": "uint8", "zero": 127, "stored": "uint8"},
        {"dtype": "int8", "zero": -1, "stored": "int8"},
    ],
    ids=["float", "uint8", "uint8 from 0", "int8", "logits", "sigmoid", "uint8 out", "int8 out"],
)
def test_names_the_strongest_colour(classifier: Classify, given: dict[str, object], batch: int) -> None:
    """Each kind of input and output tensor, with any batch, names what is in the picture, in the pictures' order."""
    made = classifier(tiny.model(batch=batch, **given), labels=tiny.LABELS)  # type: ignore[arg-type]
    pictures = [image(*colour) for colour in COLOURS.values()] * 4

    assert list(COLOURS) * 4 == names(made, pictures)


def test_batch_changes_no_score(classifier: Classify) -> None:
    """A picture has the same scores alone, in a batch, and alone again."""
    made = classifier(tiny.model(), labels=tiny.LABELS)
    pictures = [image(*colour) for colour in COLOURS.values()]
    together = [scores.probabilities.tolist() for scores in made.classify(pictures)]
    alone = [made.classify([picture])[0].probabilities.tolist() for picture in pictures]

    assert alone == together


def test_no_pictures(classifier: Classify) -> None:
    """No pictures give no scores."""
    assert [] == list(classifier(tiny.model(), labels=tiny.LABELS).classify([]))


def test_info(classifier: Classify) -> None:
    """The model is named after its file; labels are lower case, display is as in the label file."""
    info = classifier(tiny.model(embedding=64), labels=tiny.LABELS).info

    assert ("colours", ("red", "green", "blue"), ("Red", "green", "blue"), (4, 4), 64, None) == (
        info.name,
        info.labels,
        info.display,
        info.size,
        info.embedding,
        info.licence,
    )


def test_scores_are_float32_and_own_their_numbers(classifier: Classify) -> None:
    """Scores are float32 and are not changed by the next picture."""
    made = classifier(tiny.model(embedding=64), labels=tiny.LABELS)
    first = made.classify([image(250, 0, 0)])[0]
    before = first.probabilities.copy()
    made.classify([image(0, 0, 250)])

    assert first.embedding is not None
    assert (np.float32, np.float32, (64,)) == (first.probabilities.dtype, first.embedding.dtype, first.embedding.shape)
    np.testing.assert_array_equal(before, first.probabilities)


def test_logits_become_the_same_probabilities(classifier: Classify) -> None:
    """A model without its softmax gives what the same model gives with it."""
    inside = classifier(tiny.model(final="softmax"), labels=tiny.LABELS).classify([image(200, 90, 10)])[0]
    outside = classifier(tiny.model(final=None), labels=tiny.LABELS).classify([image(200, 90, 10)])[0]

    np.testing.assert_allclose(inside.probabilities, outside.probabilities, atol=1e-6)


def test_sigmoids_stay_as_they_are(classifier: Classify) -> None:
    """Independent probabilities, which do not sum to one, are not squeezed through a softmax."""
    scores = classifier(tiny.model(final="logistic"), labels=tiny.LABELS).classify([image(255, 255, 0)])[0]

    assert [True, True, False] == (scores.probabilities > 0.9).tolist()


def test_coarse_softmax_stays_as_it_is(classifier: Classify) -> None:
    """A uint8 softmax, whose sum is off by its rounding, is not sent through a second one."""
    model = tiny.model(dtype="uint8", zero=127, stored="uint8", classes=1001)
    scores = classifier(model, labels="".join(f"class {number}\n" for number in range(1001)))
    top = scores.classify([image(255, 0, 0)])[0].probabilities.max()

    assert 0.99 < top <= 1.0


@pytest.mark.parametrize("final", [None, "logistic"])
def test_single_class(classifier: Classify, final: str | None) -> None:
    """A model with one class gives the probability of that class, from a logit too."""
    made = classifier(tiny.model(classes=1, final=final), labels="red\n")
    red, black = (float(scores.probabilities[0]) for scores in made.classify([image(255, 0, 0), image(0, 0, 0)]))

    assert (True, True) == (red > 0.99, black < 0.01)


def test_1001_classes_with_1000_labels(classifier: Classify) -> None:
    """Where the model has a background class that the label file lacks, labels move up by one."""
    labels = "".join(f"class {number}\n" for number in range(1, 1001))
    info = classifier(tiny.model(classes=1001), labels=labels).info

    assert ("background", "class 1", "class 1000") == (info.labels[0], info.labels[1], info.labels[1000])


@pytest.mark.parametrize("outputs", [("probabilities", "embedding"), ("output_0", "output_1"), ()])
def test_class_vector_and_embedding(classifier: Classify, outputs: tuple[str, ...]) -> None:
    """The signature tells class vector from embedding; where it says nothing, the number of labels does."""
    made = classifier(tiny.model(embedding=64, names=outputs), labels=tiny.LABELS)

    assert (3, 64) == (len(made.info.labels), made.info.embedding)


def test_signature_decides_over_order(classifier: Classify) -> None:
    """An output that is called embedding is none of classes, wherever it stands."""
    model = tiny.model(classes=64, embedding=3, names=("embedding", "probabilities"), final=None)

    assert ["blue"] == names(classifier(model, labels=tiny.LABELS), [image(0, 0, 255)])


def test_labels_and_licence_inside_the_model(classifier: Classify) -> None:
    """Labels and licence come from the model file where the manifest names none."""
    model = tiny.attach(tiny.model(metadata=tiny.metadata(labels="colours.txt")), "colours.txt", tiny.LABELS)
    info = classifier(model).info

    assert (("red", "green", "blue"), "MIT") == (info.labels, info.licence)


def test_labels_of_the_manifest_come_first(classifier: Classify) -> None:
    """A label file that the manifest names takes the place of the one inside the model."""
    model = tiny.attach(tiny.model(), "labels.txt", tiny.LABELS)

    assert ("rouge", "vert", "bleu") == classifier(model, labels="rouge\nvert\nbleu\n").info.labels


def grey(classifier: Classify, *, metadata: bytes = b"", manifest: str = "") -> float:
    """What a model sees of grey 100 in its red channel: the log-odds of a linear output."""
    model = tiny.model(classes=1, final="logistic", metadata=metadata)
    scores = classifier(model, labels="red\n", manifest=manifest).classify([image(100, 0, 0)])[0]
    probability = float(scores.probabilities[0])
    return float(np.log(probability / (1 - probability)) / tiny.GAIN)


def test_default_normalisation(classifier: Classify) -> None:
    """Where nothing is said, pixels of a float model become -1 to 1."""
    assert pytest.approx((100 - 127.5) / 127.5, abs=1e-3) == grey(classifier)


def test_normalisation_of_the_metadata(classifier: Classify) -> None:
    """TFLite Metadata in the model file say how pixels are normalised."""
    assert pytest.approx(0.1, abs=1e-3) == grey(classifier, metadata=tiny.metadata(mean=90, std=100))


def test_normalisation_of_the_manifest(classifier: Classify) -> None:
    """The manifest has the last word, also per channel."""
    written = tiny.metadata(mean=90, std=100)
    manifest = "[input]\nmean = [120.0, 1.0, 2.0]\nstd = [200.0, 3.0, 4.0]\n"

    assert pytest.approx(-0.1, abs=1e-3) == grey(classifier, metadata=written, manifest=manifest)


def test_int8_pixels_are_quantised_as_the_model_says(classifier: Classify) -> None:
    """An int8 input gets (pixel - mean) / std through its own scale and zero point."""
    metadata = tiny.metadata(mean=0.0, std=255.0)
    model = tiny.model(dtype="int8", scale=1 / 64, zero=-100, classes=1, final="logistic", metadata=metadata)
    scores = classifier(model, labels="red\n").classify([image(51, 0, 0)])[0]

    probability = float(scores.probabilities[0])
    assert pytest.approx(13 / 64, abs=2e-3) == np.log(probability / (1 - probability)) / tiny.GAIN


def test_std_of_zero_is_refused(classifier: Classify) -> None:
    """A model file that would divide by zero is refused when it is loaded."""
    with pytest.raises(ModelError, match=r"colours.tflite: pixels cannot be normalised .* std \[0\.0\]"):
        classifier(tiny.model(metadata=tiny.metadata(std=0.0)), labels=tiny.LABELS)


def test_scores_that_are_no_numbers(classifier: Classify) -> None:
    """A model that overflows fails with an error, not with labels."""
    made = classifier(tiny.model(final=None), labels=tiny.LABELS, manifest="[input]\nstd = 1e-36\n")

    with pytest.raises(ModelError, match="not a number"):
        made.classify([image(255, 255, 255)])
