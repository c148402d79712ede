"""Remote classifiers with one fault each; ``shows`` names the tests that must say so."""

import time
from dataclasses import replace

import pytest

from imgtag.testing import MemoryRemoteClassifier, RemoteClassifierConformance
from imgtag.types.detections import Box


class Broken(RemoteClassifierConformance):
    shows = ()
    Classifier = MemoryRemoteClassifier

    @pytest.fixture
    def connect(self):
        return self.Classifier


class TestSound(Broken):
    pass


class TestHasAClosedVocabulary(Broken):
    shows = ("test_info_names_the_model",)

    class Classifier(MemoryRemoteClassifier):
        def __init__(self):
            super().__init__()
            self.info = replace(self.info, open=False)


class TestIsAnotherModelEachTime(Broken):
    shows = ("test_info_is_the_same_again",)

    class Classifier(MemoryRemoteClassifier):
        def __init__(self):
            super().__init__()
            self.info = replace(self.info, digest=f"{time.monotonic_ns():064x}")


class TestOrdersTooMuch(Broken):
    shows = ("test_limits_are_sensible",)

    class Classifier(MemoryRemoteClassifier):
        def __init__(self):
            super().__init__()
            self.order = replace(self.order, max_bytes=1 << 30)


class TestSaysPercent(Broken):
    shows = ("test_detections_can_be_labels",)

    class Classifier(MemoryRemoteClassifier):
        async def classify(self, image):
            return [replace(each, confidence=each.confidence * 100) for each in await super().classify(image)]


class TestPlacesInPixels(Broken):
    shows = ("test_detections_can_be_labels",)

    class Classifier(MemoryRemoteClassifier):
        async def classify(self, image):
            boxes = (Box(10.0, 10.0, 50.0, 50.0),)
            return [replace(each, boxes=boxes) for each in await super().classify(image)]


class TestMixesUpImages(Broken):
    shows = ("test_calls_overlap",)

    class Classifier(MemoryRemoteClassifier):
        latest = None

        async def classify(self, image):
            self.latest = image
            await self.faults.meet("wait")
            return await super().classify(self.latest)


class TestBlocksTheLoop(Broken):
    shows = ("test_loop_is_not_blocked",)

    class Classifier(MemoryRemoteClassifier):
        async def classify(self, image):
            time.sleep(1.5)  # noqa: ASYNC251 - the fault
            return await super().classify(image)


class TestRaisesWhatItLikes(Broken):
    shows = ("test_bad_image_raises_our_errors",)

    class Classifier(MemoryRemoteClassifier):
        async def classify(self, image):
            if image.data == b"no image":
                raise KeyError("image")
            return await super().classify(image)


class TestTakesAnOutageForABadImage(Broken):
    shows = ("test_outage_is_unavailable",)

    @pytest.fixture
    def server(self):
        return Outage(self)

    @pytest.fixture
    def connect(self):
        self.classifier = MemoryRemoteClassifier()
        return lambda: self.classifier


class Outage:
    """Takes the server of a test away, with the wrong error."""

    def __init__(self, test):
        self._test = test

    async def take_away(self):
        self._test.classifier.faults.fail(OSError("connection refused"), on="classify", times=None)

    async def bring_back(self):
        self._test.classifier.faults.mend()
