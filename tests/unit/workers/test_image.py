"""Pictures as classifiers get them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from imgtag.plugin.image import Image

from .pictures import corners, near, scene


@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (1000, 3), (224, 224), (320, 240), (30, 20)])
@pytest.mark.parametrize("wanted", [(224, 224), (64, 32), (1, 1)])
@pytest.mark.parametrize("crop", [1.0, 0.875, 0.1])
def test_any_picture_fits_any_model(size: tuple[int, int], wanted: tuple[int, int], crop: float) -> None:
    pixels = Image(Pillow.new("RGB", size, (9, 99, 199))).fit(wanted, crop=crop)
    assert pixels.shape == (wanted[1], wanted[0], 3)
    assert pixels.dtype == np.uint8
    assert np.all(pixels == (9, 99, 199))


def test_the_middle_is_taken_in_the_shape_that_is_wanted() -> None:
    wide = Pillow.new("RGB", (400, 100), "black")
    wide.paste(scene(100, 100), (150, 0))
    assert near(corners(Image(wide).fit((50, 50))))
    framed = Pillow.new("RGB", (200, 200), "black")
    framed.paste(scene(100, 100), (50, 50))
    assert near(corners(Image(framed).fit((60, 60), crop=0.5)))


def test_fitting_into_the_same_size_changes_nothing() -> None:
    picture = scene(64, 48)
    assert np.array_equal(Image(picture).fit((64, 48)), np.asarray(picture))


def test_an_array_comes_back() -> None:
    array = np.random.default_rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    image = Image.from_array(array)
    assert image.size == (30, 20)
    assert np.array_equal(image.array, array)


def test_only_rgb_is_an_image() -> None:
    with pytest.raises(ValueError, match="RGB, not L"):
        Image(Pillow.new("L", (5, 5)))
