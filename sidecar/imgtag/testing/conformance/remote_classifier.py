"""What a classifier that asks a server must do."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Protocol, TypeAlias

import anyio
import numpy as np
import pytest
from PIL import Image as Pillow

from imgtag.errors import Unavailable, Undecodable, Unreadable
from imgtag.plugin.classifier import RemoteClassifier, RemoteImage
from imgtag.testing.conformance.pulse import MAX_STILL, Pulse
from imgtag.testing.conformance.service import ServiceConformance
from imgtag.types.detections import MAX_NAME, clip
from imgtag.types.labels import identity
from imgtag.types.prepared_image import MAX_PREPARED
from imgtag.types.ref import ObjectRef, ObjectState

Connect: TypeAlias = Callable[[], RemoteClassifier]
MANY = 12
COLOURS = ((200, 30, 30), (20, 40, 220), (10, 200, 40))


class RemoteServer(Protocol):
    """The server, as the suite takes it away: it then refuses connections, or answers that it cannot serve."""

    async def take_away(self) -> None: ...

    async def bring_back(self) -> None: ...


class RemoteClassifierConformance(ServiceConformance):
    """Answers in words that can be labels, keeps to its own limits, and tells an outage from a bad image.

    Fixtures: ``connect`` makes a `RemoteClassifier` that is not entered; ``server`` takes its server away and brings
    it back, None where nobody can.
    """

    @pytest.fixture
    def server(self) -> RemoteServer | None:
        """To be defined, where a test can stop the server."""
        return None

    async def test_info_names_the_model(self, connect: Connect) -> None:
        """A model has a name without spaces or `@`, a digest, and an open vocabulary, once entered."""
        async with connect() as classifier:
            info = classifier.info

        assert info.name
        assert not set(info.name) & set(string.whitespace + "@")
        assert len(info.digest) == 64
        assert set(info.digest) <= set("0123456789abcdef")
        assert info.open
        assert [label for label in info.labels if not label or label != identity(label)] == []
        assert len(info.display) == len(info.labels) == len(set(info.labels))

    async def test_info_is_the_same_again(self, connect: Connect) -> None:
        """Another instance with the same settings is the same model: else every restart would make labels stale."""
        infos = []
        for _ in range(2):
            async with connect() as classifier:
                await classifier.classify(_image(classifier, COLOURS[0]))
                infos.append(classifier.info)

        assert infos[0] == infos[1]

    async def test_limits_are_sensible(self, connect: Connect) -> None:
        """It asks about at least one image at once, and orders images that a worker can make."""
        async with connect() as classifier:
            order, concurrency = classifier.order, classifier.concurrency

        assert concurrency >= 1
        assert 1 <= order.min_side <= order.max_side
        assert 0 < order.max_bytes <= MAX_PREPARED
        assert math.prod(order.size) * 3 <= MAX_PREPARED

    async def test_detections_can_be_labels(self, connect: Connect) -> None:
        """Names are short texts, confidences are numbers from 0 to 1, boxes lie at least in part on the image."""
        async with connect() as classifier:
            detections = [
                detection for colour in COLOURS for detection in await classifier.classify(_image(classifier, colour))
            ]

        assert detections, "of three pictures, nothing is said of any"
        for detection in detections:
            texts = (detection.name, *detection.parents, *detection.synonyms)
            assert all(isinstance(text, str) and text.strip() and len(text) <= MAX_NAME for text in texts)
            assert isinstance(detection.confidence, float)
            assert 0 <= detection.confidence <= 1
            assert [box for box in detection.boxes if clip(box) is None] == []

    async def test_calls_overlap(self, connect: Connect) -> None:
        """Images that are asked about at once get the answers that they get alone."""
        async with connect() as classifier:
            images = [_image(classifier, COLOURS[place % len(COLOURS)]) for place in range(MANY)]
            alone = [await classifier.classify(image) for image in images]
            together: dict[int, object] = {}

            async def ask(place: int) -> None:
                together[place] = await classifier.classify(images[place])

            async with anyio.create_task_group() as tasks:
                for place in range(MANY):
                    tasks.start_soon(ask, place)

        assert alone == [together[place] for place in range(MANY)]

    async def test_loop_is_not_blocked(self, connect: Connect) -> None:
        """The event loop goes on while an image is classified."""
        async with connect() as classifier:
            image = _image(classifier, COLOURS[0])
            await classifier.classify(image)  # what is imported on first use is imported now
            async with Pulse() as pulse:
                for _ in range(3):
                    await classifier.classify(image)

        assert pulse.longest < MAX_STILL

    async def test_by_reference_is_told_at_once(self, connect: Connect) -> None:
        """Whether the server reads an object itself is True or False, whatever the object."""
        state = ObjectState(ref=ObjectRef("photos", "a.jpg"), etag='"1"', size=1, modified=0)
        async with connect() as classifier:
            answers = [classifier.by_reference(state, name) for name in ("JPEG", "PNG", "TIFF")]

        assert set(answers) <= {True, False}

    async def test_bad_image_raises_our_errors(self, connect: Connect) -> None:
        """Bytes that are no image raise nothing but what the contract names; good ones are classified after that."""
        async with connect() as classifier:
            order = classifier.order
            image = _image(classifier, COLOURS[0])
            before = await classifier.classify(image)
            if order.format == "jpeg":
                with suppress(Unavailable, Unreadable, Undecodable):
                    await classifier.classify(RemoteImage(data=b"no image", width=10, height=10))
            after = await classifier.classify(image)

        assert before == after

    async def test_outage_is_unavailable(self, connect: Connect, server: RemoteServer | None) -> None:
        """Without its server it raises Unavailable, and classifies again once the server is back."""
        if server is None:
            pytest.skip("this server cannot be taken away")
        async with connect() as classifier:
            image = _image(classifier, COLOURS[0])
            before = await classifier.classify(image)
            await server.take_away()
            with pytest.raises(Unavailable):
                await classifier.classify(image)
            await server.bring_back()
            after = await classifier.classify(image)

        assert before == after


def _image(classifier: RemoteClassifier, colour: tuple[int, int, int]) -> RemoteImage:
    """A plain image as the classifier orders it."""
    order = classifier.order
    if order.format == "rgb":
        width, height = order.size
        return RemoteImage(data=np.full((height, width, 3), colour, np.uint8).tobytes(), width=width, height=height)
    side = max(order.min_side, min(order.max_side, 200))
    buffer = BytesIO()
    Pillow.new("RGB", (side, side), colour).save(buffer, "JPEG")
    return RemoteImage(data=buffer.getvalue(), width=side, height=side)
