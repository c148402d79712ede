"""From an embedding to a vector of 128 numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from imgtag.errors import ModelError
from imgtag.models.image_model import ImageModel
from imgtag.models.projection import project
from imgtag.plugin.image import Image
from imgtag.types.vector import LENGTH, cosine
from imgtag_tflite.model import load_model
from imgtag_tflite.projection import read_projection
from imgtag_tflite.settings import TFLiteSettings
from imgtag_tflite.source import find_model

if TYPE_CHECKING:
    from conftest import Classify

WEIGHTS = np.random.default_rng(1).normal(size=(200, 160))


def plain(*colour: int) -> Image:
    return Image.from_array(np.full((8, 8, 3), colour, np.uint8))


def vectors(made: ImageModel, *images: Image) -> list[NDArray[np.float32]]:
    matrix = [scores.vector for scores in made.classify(images)]
    assert all(vector is not None for vector in matrix)
    return [vector for vector in matrix if vector is not None]


def test_leading_directions_come_first() -> None:
    """As a singular value decomposition has them, each as long as the root of its value."""
    sizes, rows = np.linalg.svd(WEIGHTS - WEIGHTS.mean(axis=0))[1:]
    matrix = project(WEIGHTS)

    assert (160, LENGTH) == matrix.shape
    assert np.sqrt(sizes[:LENGTH]) == pytest.approx(np.linalg.norm(matrix, axis=0))
    assert np.eye(LENGTH) == pytest.approx(np.abs(rows[:LENGTH] @ matrix) / np.sqrt(sizes[:LENGTH]), abs=1e-6)


def test_what_all_classes_share_decides_nothing() -> None:
    """A softmax does not see what is added to all logits."""
    assert project(WEIGHTS) == pytest.approx(project(WEIGHTS + np.arange(160)), abs=1e-6)


def test_each_direction_has_one_sign() -> None:
    """The largest number is above zero, so that two machines do not differ by a sign."""
    matrix = project(WEIGHTS)

    assert (np.abs(matrix).max(axis=0) == matrix.max(axis=0)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_classes_have_few_directions(dtype: type) -> None:
    """The other numbers are zero, not what rounding makes of nothing."""
    matrix = project(WEIGHTS[:4].astype(dtype))

    assert 3 == np.count_nonzero(np.abs(matrix).max(axis=0))
    assert dtype == matrix.dtype


@pytest.mark.parametrize("between", [None, "reshape"])
def test_any_model_is_projected_by_its_last_layer(classifier: Classify, between: str | None) -> None:
    """Where the embedding is what the last layer takes: three classes lie at 120 degrees to one another."""
    made = classifier(tiny.headed(between=between), labels=tiny.LABELS)
    red, dark, blue = vectors(made, plain(255, 0, 0), plain(200, 0, 0), plain(0, 0, 255))

    assert "svd1" == made.info.projection
    assert (np.float32, (LENGTH,)) == (red.dtype, red.shape)
    assert 1 == pytest.approx(cosine(red.tolist(), dark.tolist()), abs=0.1)
    assert cosine(red.tolist(), blue.tolist()) < 0.5


def test_no_last_layer_no_vector(classifier: Classify) -> None:
    """An embedding that no layer of so many classes takes, and a model without one."""
    for model in (tiny.model(embedding=64), tiny.headed(rows=5), tiny.model()):
        made = classifier(model, labels=tiny.LABELS)

        assert "" == made.info.projection
        assert made.classify([plain(255, 0, 0)])[0].vector is None


def test_the_bundled_projection_is_that_of_the_model(tmp_path: Path) -> None:
    """What is committed is what loading the same file as a stranger's finds, but for precision."""
    source = find_model("bundled")
    assert source.projection is not None
    path = shutil.copy(source.path, tmp_path)
    stranger, bundled = load_model(TFLiteSettings(model=str(path))), load_model(TFLiteSettings())
    noise = Image.from_array(np.random.default_rng(1).integers(0, 256, (300, 300, 3), np.uint8))
    (one,), (other,) = vectors(stranger, noise), vectors(bundled, noise)

    assert bundled.info.projection == stranger.info.projection == "svd1"
    assert one == pytest.approx(other, abs=0.01 * float(np.abs(other).max()))
    assert (1280, LENGTH) == read_projection(source.projection).shape


def test_a_damaged_projection_is_said_so(tmp_path: Path) -> None:
    """By the file's name."""
    path = tmp_path / "projection.npy"
    path.write_bytes(b"nothing")

    with pytest.raises(ModelError, match=r"projection\.npy"):
        read_projection(path)
