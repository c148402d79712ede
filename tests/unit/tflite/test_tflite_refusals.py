"""Files that are no image classifier are refused, with a reason."""

from __future__ import annotations

import contextlib
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tiny

from imgtag.errors import ModelError
from imgtag.models.image_model import MAX_BYTES
from imgtag_tflite import model_file
from imgtag_tflite.flatbuffer import Malformed
from imgtag_tflite.graph import read_metadata
from imgtag_tflite.model_file import read_model_file

if TYPE_CHECKING:
    from conftest import Classify


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        (tiny.detector(), r"outputs are boxes float32 \[1, 10, 4\], classes float32 \[1, 10\]"),
        (tiny.features(), r"outputs are embedding float32 \[-1, 64\]"),
        (tiny.words(), r"inputs are words float32 \[-1, 3\]"),
    ],
    ids=["detector", "embedding only", "no image"],
)
def test_other_models(classifier: Classify, model: bytes, seen: str) -> None:
    """A model of another kind is refused, and the message says what was seen."""
    with pytest.raises(ModelError, match=f"colours.tflite is not an image classifier: its {seen}") as caught:
        classifier(model, labels=tiny.LABELS)

    assert "[n, height, width, 3]" in caught.value.hint


def test_two_outputs_of_one_length(classifier: Classify) -> None:
    """The hint says how the manifest tells which one has the classes, and it does."""
    twins = tiny.model(classes=64, embedding=64, names=("output_0", "output_1"))
    labels = "".join(f"label {number}\n" for number in range(64))

    with pytest.raises(ModelError, match="is not an image classifier") as caught:
        classifier(twins, labels=labels)

    assert "[output]" in caught.value.hint
    name = re.findall(r"(\S+) float32", caught.value.message)[0]
    assert 64 == len(classifier(twins, labels=labels, manifest=f'[output]\nprobabilities = "{name}"\n').info.labels)


def test_a_free_input_size(classifier: Classify) -> None:
    """The hint says what must be fixed."""
    with pytest.raises(ModelError, match="is not an image classifier") as caught:
        classifier(tiny.model(free=True), labels=tiny.LABELS)

    assert "convert the model with a fixed one" in caught.value.hint


def test_custom_operation(classifier: Classify) -> None:
    """A model that needs foreign code is refused by the operation's name, before a runtime sees it."""
    with pytest.raises(ModelError, match="custom operations: TFLite_Detection_PostProcess"):
        classifier(tiny.custom(), labels=tiny.LABELS)


def test_no_labels(classifier: Classify) -> None:
    """Without labels a vector means nothing."""
    with pytest.raises(ModelError, match="not an image classifier: it has no labels"):
        classifier(tiny.model())


def test_missing_file(tmp_path: Path) -> None:
    """A missing file is named, with the setting to look at."""
    with pytest.raises(ModelError, match=r"cannot read the model .*none\.tflite: No such file") as caught:
        read_model_file(tmp_path / "none.tflite")

    assert "`model` in [classifier.tflite]" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" * 20], ids=["empty", "short", "picture"])
def test_other_files(classifier: Classify, content: bytes) -> None:
    """A file without the identifier is no model."""
    with pytest.raises(ModelError, match="not a TensorFlow Lite model"):
        classifier(content, labels=tiny.LABELS)


def test_too_large(tmp_path: Path) -> None:
    """A file over the bound is not read."""
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)

    with pytest.raises(ModelError, match="more than 512 MB"):
        read_model_file(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    """A model that was cut anywhere before its last table is refused; none crashes."""
    content = tiny.model()
    path = tmp_path / "cut.tflite"
    for length in range(8, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError):
            read_model_file(path)


def damaged(content: bytes, dice: random.Random) -> bytes:
    """The content with four bytes overwritten."""
    place = dice.randrange(8, len(content) - 4)
    other = dice.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, dice.randbytes(4)])
    return content[:place] + other + content[place + 4 :]


def test_damaged_model(tmp_path: Path) -> None:
    """Wherever a model is damaged, reading it ends in a model or in ModelError, and in nothing else."""
    content = tiny.attach(tiny.model(metadata=tiny.metadata()), "labels.txt", tiny.LABELS)
    path, dice = tmp_path / "damaged.tflite", random.Random(1)
    for _ in range(2000):
        path.write_bytes(damaged(content, dice))
        with contextlib.suppress(ModelError):
            read_model_file(path).read_label_file()


def test_damaged_metadata() -> None:
    """Metadata whose offsets lead out of them are malformed, and give nothing else."""
    content, dice = tiny.metadata(), random.Random(2)
    for _ in range(2000):
        with contextlib.suppress(Malformed):
            read_metadata(damaged(content, dice))


def test_missing_input(classifier: Classify) -> None:
    """An operation without an input that it needs is refused: the runtime would crash on it."""
    writer = tiny.Writer()
    image, mean = tiny.colour(writer, "float32", 0.0, 0)
    scores = writer.matrix(mean, "scores", 3)
    writer.operators[-1].inputs[1] = -1

    with pytest.raises(ModelError, match="uses a tensor that does not exist"):
        classifier(writer.finish([image], [scores]), labels=tiny.LABELS)


def test_metadata_of_another_format(classifier: Classify) -> None:
    """Metadata without their identifier make a ModelError."""
    with pytest.raises(ModelError, match="metadata begin with"):
        classifier(tiny.model(metadata=b"not a flatbuffer at all"), labels=tiny.LABELS)


def test_shipped_file_was_changed(tmp_path: Path) -> None:
    """Where the digest is known beforehand, another content is refused."""
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny.model())

    with pytest.raises(ModelError, match="not the file that its manifest names"):
        read_model_file(path, expected="0" * 64)


def test_huge_label_file_inside(classifier: Classify, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label file that unpacks to more than the bound is refused, not unpacked."""
    monkeypatch.setattr(model_file, "MAX_LABEL_BYTES", 1000)

    with pytest.raises(ModelError, match="cannot read the label file inside it"):
        classifier(tiny.attach(tiny.model(), "labels.txt", "x\n" * 1000))
