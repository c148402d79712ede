"""Classifiers that break their contract, each in one place; ``shows`` names the tests that must say so."""

from dataclasses import replace

import numpy as np
import pytest

from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.testing.classifier import ColourClassifier, ColourSettings
from imgtag.testing.conformance import ClassifierConformance


class Broken(ClassifierConformance):
    shows = ()
    Classifier = ColourClassifier

    @pytest.fixture
    def classifier(self):
        return self.Classifier(ColourSettings())


class TestSound(Broken):
    pass


def saying(**info):
    """A classifier whose info has something else."""

    class Saying(ColourClassifier):
        def __init__(self, settings):
            super().__init__(settings)
            self.info = replace(self.info, **{name: value(self.info) for name, value in info.items()})

    return Saying


def scoring(change):
    """A classifier whose probabilities are changed."""

    class Scoring(ColourClassifier):
        def classify(self, images):
            scores = super().classify(images)
            return [replace(row, probabilities=change(row.probabilities)) for row in scores]

    return Scoring


class TestShoutsLabels(Broken):
    shows = ("test_labels_are_identities",)
    Classifier = saying(labels=lambda info: tuple(map(str.title, info.labels)))


class TestRepeatsALabel(Broken):
    shows = ("test_labels_are_unique",)
    Classifier = saying(labels=lambda info: (*info.labels[:-1], info.labels[0]))


class TestHasWordsForSomeClasses(Broken):
    shows = ("test_words_are_identities",)
    Classifier = saying(taxonomy=lambda _: Taxonomy(classes=(ClassTerms(category="colour"),)))


class TestNamesAnUnlistedAncestor(Broken):
    shows = ("test_words_are_identities",)
    Classifier = saying(taxonomy=lambda info: Taxonomy(classes=(ClassTerms(ancestors=("colour",)),) * len(info.labels)))


class TestCallsAnAncestorAsALabel(Broken):
    shows = ("test_words_are_identities",)
    Classifier = saying(taxonomy=lambda info: Taxonomy(ancestors=(AncestorTerms(name=info.labels[0]),)))


class TestShowsTooFew(Broken):
    shows = ("test_labels_are_identities",)
    Classifier = saying(display=lambda info: info.display[1:])


class TestHasNoDigest(Broken):
    shows = ("test_info_names_the_model",)
    Classifier = saying(digest=lambda info: "v1")


class TestPromisesAnotherEmbedding(Broken):
    shows = ("test_embedding_is_as_told",)
    Classifier = saying(embedding=lambda info: 1280)


class TestGivesNaN(Broken):
    shows = ("test_probabilities_are_finite",)
    Classifier = scoring(lambda probabilities: np.full_like(probabilities, np.nan))


class TestGivesLogits(Broken):
    shows = ("test_probabilities_are_finite",)
    Classifier = scoring(lambda probabilities: np.log(probabilities + np.float32(1e-9)))


class TestGivesPercent(Broken):
    shows = ("test_probabilities_are_finite",)
    Classifier = scoring(lambda probabilities: probabilities * np.float32(100))


class TestGivesOneTooMany(Broken):
    shows = ("test_probabilities_are_one_per_label",)
    Classifier = scoring(lambda probabilities: np.append(probabilities, np.float32(0)))


class TestGivesDoubles(Broken):
    shows = ("test_probabilities_are_one_per_label",)
    Classifier = scoring(lambda probabilities: probabilities.astype(np.float64))


class TestGuesses(Broken):
    shows = ("test_deterministic", "test_batch_equals_single")
    Classifier = scoring(lambda p: np.random.default_rng().random(p.shape, np.float32))


class TestSaysAlwaysTheSame(Broken):
    shows = ("test_pictures_differ",)
    Classifier = scoring(lambda probabilities: np.full_like(probabilities, 0.1))


class TestTurnsBatchesRound(Broken):
    shows = ("test_batch_equals_single",)

    class Classifier(ColourClassifier):
        def classify(self, images):
            return super().classify(images)[::-1]


class TestClassifiesTheFirst(Broken):
    shows = ("test_batch_equals_single",)

    class Classifier(ColourClassifier):
        def classify(self, images):
            return super().classify(images[:1])


class TestNeedsAPicture(Broken):
    shows = ("test_no_pictures",)

    class Classifier(ColourClassifier):
        def classify(self, images):
            np.stack([image.fit(self.info.size) for image in images])
            return super().classify(images)


class TestNeedsLargePictures(Broken):
    shows = ("test_any_size",)

    class Classifier(ColourClassifier):
        def classify(self, images):
            if any(min(image.size) < min(self.info.size) for image in images):
                raise ValueError
            return super().classify(images)


class TestUsesOneBuffer(Broken):
    shows = ("test_results_are_kept",)

    class Classifier(ColourClassifier):
        buffer = np.zeros(10, np.float32)

        def classify(self, images):
            for scores in super().classify(images):
                self.buffer[:] = scores.probabilities
            return [replace(scores, probabilities=self.buffer) for _ in images]


class TestKeepsTheWholeEmbedding(Broken):
    shows = ("test_vector_is_as_told",)

    class Classifier(ColourClassifier):
        def classify(self, images):
            return [replace(scores, vector=scores.embedding) for scores in super().classify(images)]


class TestNamesNoProjection(Broken):
    shows = ("test_vector_is_as_told",)
    Classifier = saying(projection=lambda info: "")
