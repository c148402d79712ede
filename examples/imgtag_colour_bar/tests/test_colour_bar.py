"""The classifier: the suite shipped with imgtag, and what this classifier promises beyond it."""

import numpy as np
import pytest
from imgtag_colour_bar import SPEC

from imgtag.plugin import Image
from imgtag.testing import ClassifierConformance, discover


def make(**settings):
    return SPEC.load()(SPEC.settings(**settings))


def plain(*colour):
    return Image.from_array(np.full((40, 60, 3), colour, np.uint8))


class TestConformance(ClassifierConformance):
    @pytest.fixture(params=[3, 6, 12])
    def classifier(self, request):
        return make(bins=request.param)


@pytest.mark.parametrize(
    ("colour", "label"),
    [((250, 10, 10), "red"), ((20, 200, 30), "green"), ((10, 10, 240), "blue"), ((120, 120, 120), "grey")],
)
def test_a_plain_image_gets_its_colour(colour, label):
    """All of its pixels count towards one label."""
    (scores,) = make().classify([plain(*colour)])

    assert 1.0 == scores.probabilities[make().info.labels.index(label)]


def test_half_an_image_is_half_a_label():
    """Probabilities are shares of the pixels."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (255, 0, 0)
    pixels[32:] = (0, 0, 255)
    (scores,) = make().classify([Image.from_array(pixels)])
    shares = dict(zip(make().info.labels, scores.probabilities.tolist(), strict=True))

    assert {"red": 0.5, "blue": 0.5} == pytest.approx({name: shares[name] for name in ("red", "blue")}, abs=0.05)


def test_different_settings_are_different_models():
    """Marks on objects distinguish them."""
    assert make(bins=6).info.id != make(bins=12).info.id


def test_imgtag_finds_the_plugin():
    """Its entry point registers it."""
    assert "colour-bar" in discover().usable("classifier")
