"""A classifier that asks a server, and the workers that prepare images for it."""

from __future__ import annotations

import math
from dataclasses import replace
from io import BytesIO

import anyio
import pytest
from PIL import Image

from imgtag.errors import Unavailable, Undecodable, Unreadable
from imgtag.models.spec import ModelSpec
from imgtag.testing import MemoryRemoteClassifier, RemoteColourSettings
from imgtag.types.detections import MAX_BOXES, MAX_DETECTIONS, Box, Detection
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool, require_detections
from picture_limits import LIMITS as DEFAULT_LIMITS

from .pictures import encoded

pytestmark = pytest.mark.anyio

LIMITS = replace(DEFAULT_LIMITS, seconds=20)
SPEC = ModelSpec(entry="imgtag.testing.remote_classifier:SPEC")
STATE = ObjectState(ref=ObjectRef("photos", "ann/a.png"), etag='"1"', size=1, modified=0)


def picture(colour: str = "red", size: tuple[int, int] = (300, 200), form: str = "PNG") -> bytes:
    return encoded(Image.new("RGB", size, colour), form)


def noise(side: int) -> bytes:
    return encoded(Image.effect_noise((side, side), 200).convert("RGB"), "PNG")


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def workers():
    async with WorkerPool((), 1) as pool:
        yield pool


async def test_a_server_is_asked_with_a_small_image_without_metadata() -> None:
    """The picture is an upright JPEG; labels, facts and digest are of the original."""
    photo = Image.new("RGB", (300, 200), "red")
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Secret camera"  # to be turned by 90 degrees
    buffer = BytesIO()
    photo.save(buffer, "JPEG", exif=exif)
    classifier = MemoryRemoteClassifier()
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        inference = await pool.classify(buffer.getvalue(), LIMITS, uploader="ann", state=STATE)

    (sent,) = classifier.images
    assert ("JPEG", (43, 64)) == (opened(sent.data).format, opened(sent.data).size)
    assert (43, 64) == (sent.width, sent.height)
    assert b"Secret" not in sent.data
    assert STATE == sent.state
    assert (200, 300, "Secret camera") == (inference.facts.width, inference.facts.height, inference.facts.camera)
    assert {"Red", "Warm colour", "Colour"} == {each.name for each in inference.raw.detections}


async def test_no_more_are_asked_at_once_than_the_classifier_says() -> None:
    """The others wait for their turn, and are not prepared before it."""
    classifier = MemoryRemoteClassifier(RemoteColourSettings(concurrency=2))
    classifier.faults.latency = 0.02
    async with RemotePool(SPEC, classifier, WorkerPool((), 2)) as pool, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pool.classify, picture(), LIMITS)

    assert 2 == classifier.most_busy
    assert 8 == len(classifier.images)


async def test_a_cancelled_image_gives_its_turn_back() -> None:
    """Otherwise every timeout would cost one for good."""
    classifier, is_asked = MemoryRemoteClassifier(RemoteColourSettings(concurrency=1)), anyio.Event()

    async def stall() -> None:
        is_asked.set()
        await anyio.sleep_forever()

    classifier.faults.when("classify", stall)
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.classify, picture(), LIMITS)
            await is_asked.wait()
            tasks.cancel_scope.cancel("enough")
        inference = await pool.classify(picture("blue"), LIMITS)

    assert "Blue" in {each.name for each in inference.raw.detections}


async def test_those_that_let_others_go_first_are_let_in_between() -> None:
    """Also after one of them was classified: its turn was counted as theirs, and given back."""
    classifier = MemoryRemoteClassifier(RemoteColourSettings(concurrency=1))
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        for _ in range(2):
            await pool.classify(picture(), LIMITS, last=True)
        assert 0 == pool._free._last_held


async def test_what_cannot_be_decoded_is_not_sent() -> None:
    """The worker says so."""
    classifier = MemoryRemoteClassifier()
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        with pytest.raises(Undecodable):
            await pool.classify(picture()[:60], LIMITS)

    assert [] == classifier.images


async def test_an_outage_is_passed_on() -> None:
    """So that the pipeline waits; the next image is classified."""
    classifier = MemoryRemoteClassifier()
    classifier.faults.fail(Unavailable("it is down"), on="classify")
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        with pytest.raises(Unavailable, match="it is down"):
            await pool.classify(picture(), LIMITS)
        assert (await pool.classify(picture(), LIMITS)).raw.detections


async def test_a_server_that_does_not_answer_at_the_start_leaves_nothing_running() -> None:
    """The workers end with it."""
    classifier = MemoryRemoteClassifier()
    classifier.faults.fail(Unavailable("it is down"), on="enter")
    pool = RemotePool(SPEC, classifier, WorkerPool((), 1))
    with pytest.raises(Unavailable, match="it is down"):
        await pool.__aenter__()

    assert () == pool.pids


async def test_an_object_that_the_server_reads_is_not_sent() -> None:
    """Its facts still come from its bytes, which are decoded here first."""

    class Reader(MemoryRemoteClassifier):
        def by_reference(self, state: ObjectState, image_format: str) -> bool:
            return image_format == "PNG"

        async def classify(self, image):
            self.images.append(image)
            return [Detection(name="Seen", confidence=1.0)]

    classifier = Reader()
    async with RemotePool(SPEC, classifier, WorkerPool((), 1)) as pool:
        inference = await pool.classify(picture(), LIMITS, state=STATE)
        await pool.classify(picture(form="JPEG"), LIMITS, state=STATE)
        await pool.classify(picture(), LIMITS)

    assert (300, 200) == (inference.facts.width, inference.facts.height)
    assert [True, False, False] == [image.data == b"" for image in classifier.images]


async def test_pixels_have_exactly_the_ordered_size(workers: WorkerPool) -> None:
    """As a tensor takes them."""
    prepared = await workers.prepare(picture("lime"), ImageOrder(format="rgb", size=(8, 4)), LIMITS)

    assert prepared.image is not None
    assert bytes([0, 255, 0]) * 32 == prepared.image.data


async def test_a_jpeg_is_made_small_enough(workers: WorkerPool) -> None:
    """First by its quality, then by its size."""
    order = ImageOrder(max_bytes=20_000)
    prepared = await workers.prepare(noise(700), order, LIMITS)

    assert prepared.image is not None
    assert len(prepared.image.data) <= 20_000
    assert (prepared.image.width, prepared.image.height) == opened(prepared.image.data).size


async def test_a_small_image_is_enlarged_to_what_the_server_takes(workers: WorkerPool) -> None:
    """Icons are labelled as well."""
    prepared = await workers.prepare(picture(size=(40, 20)), ImageOrder(min_side=80), LIMITS)

    assert prepared.image is not None
    assert (160, 80) == (prepared.image.width, prepared.image.height)


async def test_an_image_that_is_too_narrow_is_refused(workers: WorkerPool) -> None:
    """Enlarged, it would be too long."""
    with pytest.raises(Unreadable) as caught:
        await workers.prepare(picture(size=(2000, 4)), ImageOrder(min_side=80, max_side=1000), LIMITS)

    assert "too_small" == caught.value.code


GOOD = Detection(name="Dog", confidence=0.5)


@pytest.mark.parametrize("confidence", [math.nan, math.inf, -0.1, 1.5, "0.5", None])
def test_a_confidence_that_is_none_is_the_servers_fault(confidence: object) -> None:
    """The image waits: nothing is wrong with it."""
    with pytest.raises(Unavailable) as caught:
        require_detections([replace(GOOD, confidence=confidence)])  # type: ignore[arg-type]

    assert "invalid_answer" == caught.value.code


@pytest.mark.parametrize(
    "answer", [[{"name": "Dog"}], [replace(GOOD, name=b"Dog")], None, [replace(GOOD, parents=(1,))]]
)
def test_what_is_no_detection_is_the_servers_fault(answer: object) -> None:
    """Whatever a stranger's plugin returns."""
    with pytest.raises(Unavailable):
        require_detections(answer)  # type: ignore[arg-type]


def test_names_that_nobody_could_use_are_left_out() -> None:
    """Empty ones and essays; line breaks become spaces, and of one label twice the surer counts."""
    answer = [
        GOOD,
        replace(GOOD, name="  "),
        replace(GOOD, name="x" * 101),
        replace(GOOD, name="kit\nfox"),
        replace(GOOD, name="DOG", confidence=0.4),
    ]

    assert {("Dog", 0.5), ("kit fox", 0.5)} == {(each.name, each.confidence) for each in require_detections(answer)}


def test_an_answer_is_bounded() -> None:
    """In labels, boxes and terms."""
    boxes = tuple(Box(0.0, 0.0, 0.5, 0.5) for _ in range(30))
    answer = [
        Detection(name=f"label {n}", confidence=0.5, boxes=boxes, synonyms=tuple(map(str, range(99))))
        for n in range(1000)
    ]
    kept = require_detections(answer)

    assert MAX_DETECTIONS == len(kept)
    assert MAX_BOXES == sum(len(each.boxes) for each in kept)
    assert 12 == len(kept[0].synonyms)
