"""What a classifier must do."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
import pytest

from imgtag.plugin.classifier import Classifier, Scores
from imgtag.plugin.image import Image
from imgtag.types.labels import identity
from imgtag.types.vector import LENGTH, is_projection

SIZES = ((1, 1), (1, 300), (300, 1), (17, 31), (640, 480), (2_000, 30))
CLOSE = 1e-3
"""What a picture's probabilities may differ by in another batch."""


class ClassifierConformance:
    """Gives the same answer for the same image, in the form that the sidecar expects.

    Fixture: ``classifier`` is a `Classifier`, as the factory of its spec makes it in a worker; the same one may serve
    all tests.
    """

    @pytest.fixture
    def classifier(self) -> Classifier:
        """To be defined: the classifier."""
        pytest.fail("define the fixture `classifier`")

    def test_info_names_the_model(self, classifier: Classifier) -> None:
        """A model has a name without spaces or `@`, the SHA-256 of its file, and an input of some size."""
        info = classifier.info

        assert info.name
        assert not set(info.name) & set(string.whitespace + "@")
        assert len(info.digest) == 64
        assert set(info.digest) <= set("0123456789abcdef")
        assert min(info.size) > 0
        assert info.embedding >= 0

    def test_labels_are_identities(self, classifier: Classifier) -> None:
        """Labels are in lower case and trimmed, as S3 would make them; each has a name to be shown."""
        info = classifier.info

        assert [label for label in info.labels if not label or label != identity(label)] == []
        assert len(info.display) == len(info.labels)
        assert all(text.strip() for text in info.display)

    def test_labels_are_unique(self, classifier: Classifier) -> None:
        """No two classes have the same label."""
        labels = classifier.info.labels

        assert labels
        assert sorted(label for label in set(labels) if labels.count(label) > 1) == []

    def test_words_are_identities(self, classifier: Classifier) -> None:
        """Either no class has words, or each has; ancestors are listed, and have names that no label has."""
        info, words = classifier.info, classifier.info.taxonomy
        names = [ancestor.name for ancestor in words.ancestors]
        used = {name for each in words.classes for name in each.ancestors}
        said = [text for each in words.classes for text in each.synonyms]
        said += [text for each in words.ancestors for text in each.synonyms]

        assert len(words.classes) in {0, len(info.labels)}
        assert [text for text in (*names, *said) if not text or text != identity(text)] == []
        assert len(set(names)) == len(names)
        assert used <= set(names)
        assert set(names) & set(info.labels) == set()

    def test_probabilities_are_one_per_label(self, classifier: Classifier) -> None:
        """There is one float32 for each label."""
        for scores in classifier.classify(_pictures()):
            assert scores.probabilities.shape == (len(classifier.info.labels),)
            assert scores.probabilities.dtype == np.float32

    def test_probabilities_are_finite(self, classifier: Classifier) -> None:
        """All probabilities are numbers from 0 to 1."""
        for scores in classifier.classify(_pictures()):
            assert np.isfinite(scores.probabilities).all()
            assert scores.probabilities.min() >= 0
            assert scores.probabilities.max() <= 1

    def test_embedding_is_as_told(self, classifier: Classifier) -> None:
        """An embedding is finite float32 of the length that the model tells, or there is none."""
        for scores in classifier.classify(_pictures()):
            if not classifier.info.embedding:
                assert scores.embedding is None
                continue
            assert scores.embedding is not None
            assert scores.embedding.shape == (classifier.info.embedding,)
            assert scores.embedding.dtype == np.float32
            assert np.isfinite(scores.embedding).all()

    def test_vector_is_as_told(self, classifier: Classifier) -> None:
        """A model that names its projection gives 128 finite float32, of a direction; another gives no vector."""
        info = classifier.info
        if info.projection:
            assert is_projection(info.projection)
        for scores in classifier.classify(_pictures()):
            if not info.projection:
                assert scores.vector is None
                continue
            assert scores.vector is not None
            assert scores.vector.shape == (LENGTH,)
            assert scores.vector.dtype == np.float32
            assert np.isfinite(scores.vector).all()
            assert scores.vector.any()

    def test_deterministic(self, classifier: Classifier) -> None:
        """The same picture gets the same scores, whatever was classified in between."""
        picture, *others = _pictures()
        first = _one(classifier, picture)
        classifier.classify(others)
        second = _one(classifier, picture)

        assert np.array_equal(first.probabilities, second.probabilities)

    def test_pictures_differ(self, classifier: Classifier) -> None:
        """Other pictures get other scores."""
        first, second = (_one(classifier, picture) for picture in _pictures()[:2])

        assert not np.array_equal(first.probabilities, second.probabilities)

    def test_batch_equals_single(self, classifier: Classifier) -> None:
        """Pictures in a batch get the scores that they get alone, in their order."""
        pictures = [*_pictures(), *_pictures(), *_pictures()]
        together = classifier.classify(pictures)
        alone = [_one(classifier, picture) for picture in pictures]

        assert len(together) == len(pictures)
        for batched, single in zip(together, alone, strict=True):
            assert np.allclose(batched.probabilities, single.probabilities, atol=CLOSE)

    def test_results_are_kept(self, classifier: Classifier) -> None:
        """Scores stay what they were when the next picture is classified."""
        first, second = _pictures()[:2]
        scores = _one(classifier, first)
        before = scores.probabilities.copy()
        _one(classifier, second)

        assert np.array_equal(scores.probabilities, before)

    def test_no_pictures(self, classifier: Classifier) -> None:
        """No pictures have no scores."""
        assert list(classifier.classify([])) == []

    @pytest.mark.parametrize("size", SIZES, ids=str)
    def test_any_size(self, classifier: Classifier, size: tuple[int, int]) -> None:
        """Pictures of any size are classified, also smaller than the model's input."""
        scores = _one(classifier, _picture(size, seed=1))

        assert np.isfinite(scores.probabilities).all()

    def test_pictures_are_left_alone(self, classifier: Classifier) -> None:
        """A picture is the same afterwards."""
        picture = _pictures()[0]
        before = picture.array.copy()
        classifier.classify([picture])

        assert np.array_equal(picture.array, before)


def _one(classifier: Classifier, picture: Image) -> Scores:
    (scores,) = classifier.classify([picture])
    return scores


def _pictures() -> Sequence[Image]:
    """Some that differ in colour, content and size."""
    plain = [Image.from_array(np.full((240, 320, 3), colour, np.uint8)) for colour in ((200, 30, 30), (20, 40, 220))]
    return [*plain, _picture((500, 333), seed=2), _picture((224, 224), seed=3)]


def _picture(size: tuple[int, int], seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.from_array(pixels)
