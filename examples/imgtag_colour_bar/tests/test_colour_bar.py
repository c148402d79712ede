"""The classifier: the suite that is shipped with imgtag, and what only this one promises."""

import numpy as np
import pytest
from imgtag_colour_bar import SPEC

from imgtag.plugin.image import Image
from imgtag.registry import discover
from imgtag.testing.conformance import ClassifierConformance


def made(**settings):
    return SPEC.load()(SPEC.settings(**settings))


def plain(*colour):
    return Image.from_array(np.full((40, 60, 3), colour, np.uint8))


class TestConformance(ClassifierConformance):
    @pytest.fixture(params=[3, 6, 12])
    def classifier(self, request):
        return made(bins=request.param)


@pytest.mark.parametrize(
    ("colour", "label"),
    [((250, 10, 10), "red"), ((20, 200, 30), "green"), ((10, 10, 240), "blue"), ((120, 120, 120), "grey")],
)
def test_a_plain_picture_has_its_colour(colour, label):
    """All of its pixels count for one label."""
    (scores,) = made().classify([plain(*colour)])

    assert 1.0 == scores.probabilities[made().info.labels.index(label)]


def test_half_a_picture_is_half_a_label():
    """Probabilities are shares of the pixels."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = (255, 0, 0)
    pixels[32:] = (0, 0, 255)
    (scores,) = made().classify([Image.from_array(pixels)])
    shares = dict(zip(made().info.labels, scores.probabilities.tolist(), strict=True))

    assert {"red": 0.5, "blue": 0.5} == pytest.approx({name: shares[name] for name in ("red", "blue")}, abs=0.05)


def test_other_settings_are_another_model():
    """Marks on objects tell them apart."""
    assert made(bins=6).info.id != made(bins=12).info.id


def test_it_is_announced():
    """Installed, imgtag finds it."""
    assert "colour-bar" in discover().usable("classifier")
