"""Calibration: the temperature that was put in is found again."""

from __future__ import annotations

import numpy as np
import pytest

from imgtag.jobs.calibration import TooFew, calibrate
from imgtag.models.temperature import apply_temperature

RANDOM = np.random.default_rng(7)


def drawn(pictures: int, classes: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a model whose logits must be divided by ``temperature``, and classes drawn as they should be."""
    logits = RANDOM.normal(0, 2.5, (pictures, classes))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([RANDOM.choice(classes, p=row) for row in honest])
    powers = np.exp(logits * temperature)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_is_found(temperature: float) -> None:
    """Within the error of a sample, for models that are too sure and not sure enough."""
    probabilities, truth = drawn(3000, 10, temperature)

    calibration = calibrate(probabilities, truth.tolist())

    assert calibration.temperature == pytest.approx(temperature, rel=0.08)
    assert calibration.after.error < 0.03
    assert calibration.after.likelihood >= calibration.before.likelihood - 0.001
    assert calibration.accuracy == pytest.approx((probabilities.argmax(axis=1) == truth).mean())


def test_a_model_that_is_too_sure_becomes_honest() -> None:
    """The error falls, and so does the confidence."""
    calibration = calibrate(*(part for part in drawn(2000, 20, 3.0)))

    assert calibration.before.error > 0.1
    assert calibration.after.error < calibration.before.error / 3
    assert calibration.after.confidence < calibration.before.confidence


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [(99, 10, "99 labelled pictures are too few"), (200, 4, "of 4 labels are too few")],
)
def test_too_few_pictures_are_refused(pictures: int, labels: int, message: str) -> None:
    """A temperature of chance is worse than none."""
    probabilities = np.eye(labels, dtype=np.float32)[np.arange(pictures) % labels]

    with pytest.raises(TooFew, match=message):
        calibrate(probabilities, [place % labels for place in range(pictures)])


def test_labels_of_another_model_are_refused() -> None:
    """Where the model is nearly always wrong, the folders are not its labels."""
    probabilities = np.eye(10, dtype=np.float32)[np.arange(200) % 10]

    with pytest.raises(TooFew, match="agrees with the folder names for only 0%"):
        calibrate(probabilities, [(place + 1) % 10 for place in range(200)])


def test_tempering_keeps_the_order_and_the_sum() -> None:
    """Only how sure it is changes."""
    probabilities, _ = drawn(50, 8, 1.0)

    cooled = apply_temperature(probabilities, 2.5)

    assert np.array_equal(np.argsort(probabilities, axis=1), np.argsort(cooled, axis=1))
    assert np.allclose(cooled.sum(axis=1), 1, atol=1e-5)
    assert cooled.dtype == np.float32
    assert (cooled.max(axis=1) < probabilities.max(axis=1)).all()
    assert probabilities is apply_temperature(probabilities, 1.0)


def test_a_softmax_is_tempered_as_its_logits() -> None:
    """Divided before or after, it is the same."""
    logits = RANDOM.normal(0, 3, 12)
    softmax = np.exp(logits) / np.exp(logits).sum()
    expected = np.exp(logits / 1.7) / np.exp(logits / 1.7).sum()

    assert np.allclose(expected, apply_temperature(softmax.astype(np.float32), 1.7), atol=1e-6)


def test_classes_of_their_own_are_tempered_one_by_one() -> None:
    """A sigmoid has nothing to share with its neighbours, and one half stays."""
    assert np.allclose([0.5], apply_temperature(np.array([0.5], np.float32), 3.0))
    assert np.allclose([0.75, 0.25, 0.75], apply_temperature(np.array([0.9, 0.1, 0.9], np.float32), 2.0), atol=1e-4)


@pytest.mark.parametrize("temperature", [0.05, 20.0])
def test_the_hottest_and_the_coolest_stay_numbers(temperature: float) -> None:
    """Also for probabilities of exactly 0 and 1."""
    cooled = apply_temperature(np.array([[1.0, 0.0, 0.0]], np.float32), temperature)

    assert np.isfinite(cooled).all()
    assert 0 == int(cooled.argmax())
