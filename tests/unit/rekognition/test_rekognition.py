"""Amazon Rekognition: what it is asked, what it answers, and what that costs."""

import json
import logging
import sys

import anyio
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image
from pydantic import ValidationError
from starlette.responses import Response

from imgtag.errors import PluginError, Unavailable, Undecodable
from imgtag.labels.open_vocabulary import open_vocabulary
from imgtag.labels.policy import LabelPolicy
from imgtag.models.spec import ModelSpec
from imgtag.plugin import ObjectRef, ObjectState, PluginContext, RemoteImage
from imgtag.types.detections import Box
from imgtag.types.labels import Raw
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool, require_detections
from imgtag_rekognition import SPEC
from imgtag_s3.settings import S3StoreSettings
from picture_limits import LIMITS
from servers.inference import JsonServer
from servers.rekognition import RekognitionServer, refusal
from unit.workers.pictures import encoded

pytestmark = pytest.mark.anyio

KEYS = {"access_key": "AKIDEXAMPLE", "secret_key": "secret"}
STATE = ObjectState(ref=ObjectRef("photos", "a/red.jpg"), etag='"1"', size=1000, modified=0, version="v1")
AWS = S3StoreSettings(endpoint="https://s3.eu-west-1.amazonaws.com", access_key="a", secret_key="b", region="eu-west-1")


@pytest.fixture(scope="module")
def running():
    with RekognitionServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.asked.clear()
    running.next_answers.clear()
    running.objects.clear()
    running.label_version = "3.0"
    return running


@pytest.fixture
def make(server, tmp_path):
    """Make a classifier of these settings, beside this store."""

    def make(store=None, **settings):
        defaults = {"endpoint": server.url, "monthly_budget": 5, "calls_per_second": 500, **KEYS}
        context = PluginContext(site="home", state_dir=tmp_path / "state", store=store, buckets=("photos",))
        return SPEC.load()(SPEC.settings.model_validate({**defaults, **settings}), context)

    return make


def image(size=(120, 100), state=None):
    return RemoteImage(data=encoded(Image.new("RGB", size, "red"), "JPEG"), width=size[0], height=size[1], state=state)


def events(caplog):
    """What the plugin logged."""
    return [record.message for record in caplog.records if record.name.startswith("imgtag_rekognition")]


async def test_labels_have_parents_synonyms_and_places(make):
    """Parents become ancestors, from the specific to the general; boxes end at the edge of the image."""
    async with make() as classifier:
        raw = Raw.of_detections(require_detections(await classifier.classify(image())))
    shown = open_vocabulary("rekognition@1", LabelPolicy())
    car = next(each for each in raw.detections if each.name == "Car")

    assert [label.name for label in shown.select_labels(raw)] == ["car", "road"]
    assert [label.name for label in shown.ancestors_of(raw)] == ["vehicle", "transportation"]
    assert car.parents == ("Vehicle", "Transportation")
    assert car.synonyms == ("Automobile",)
    assert car.category == "Vehicles and Automotive"
    assert car.boxes == (Box(0.1, 0.2, 0.25, 0.5), Box(0.9, 0.0, 0.1, 0.2))
    assert Raw.decode(raw.encode()) == raw


async def test_the_threshold_is_asked_for(make, server):
    """Nothing is paid for labels that are thrown away; there are as many as are kept."""
    async with make(min_confidence=0.7, boxes=False) as classifier:
        detections = await classifier.classify(image())

    ((action, parameters),) = server.asked
    assert (action, parameters["MinConfidence"], parameters["MaxLabels"]) == ("DetectLabels", 70, 20)
    assert {each.name for each in detections} == {"Car", "Vehicle", "Transportation"}
    assert {each.boxes for each in detections} == {()}


async def test_moderation_labels_share_an_ancestor(make, server):
    """So that one word finds them all; they keep their own parents."""
    async with make(moderation=True) as classifier:
        raw = Raw.of_detections(require_detections(await classifier.classify(image())))
    ancestors = {label.name: label.confidence for label in open_vocabulary("m@1", LabelPolicy()).ancestors_of(raw)}

    assert [action for action, _ in server.asked] == ["DetectModerationLabels", "DetectLabels"]
    assert (ancestors["moderation"], ancestors["violence"]) == (0.81, 0.81)
    assert "weapons" in {label.name for label in open_vocabulary("m@1", LabelPolicy()).select_labels(raw)}


async def test_an_object_of_aws_is_named_and_not_sent(make, server):
    """With its version, where the store is S3 in the same region; the rest is sent."""
    server.objects["photos/a/red.jpg"] = image().data
    async with make(store=AWS, region="eu-west-1") as classifier:
        assert classifier.by_reference(STATE, "JPEG")
        assert not classifier.by_reference(STATE, "WebP")
        await classifier.classify(RemoteImage(data=b"", width=120, height=100, state=STATE))

    ((_, parameters),) = server.asked
    assert parameters["Image"] == {"S3Object": {"Bucket": "photos", "Name": "a/red.jpg", "Version": "v1"}}


@pytest.mark.parametrize(
    ("store", "settings"),
    [(None, {}), (AWS, {}), (AWS, {"region": "eu-west-1", "read_store": False})],
    ids=["no store", "another region", "switched off"],
)
async def test_elsewhere_pictures_are_sent(make, store, settings):
    """AWS sees only what a worker made."""
    async with make(store=store, **settings) as classifier:
        assert not classifier.by_reference(STATE, "JPEG")


async def test_what_aws_cannot_read_is_sent_after_all(make, server, caplog):
    """By a pool, which has the bytes; and no further object is named."""
    data = encoded(Image.new("RGB", (300, 200), "red"), "PNG")
    caplog.set_level(logging.WARNING)
    classifier = make(store=AWS, region="eu-west-1")
    async with RemotePool(ModelSpec(entry="x:y"), classifier, WorkerPool((), 1)) as pool:
        for _ in range(2):
            inference = await pool.classify(data, LIMITS, state=STATE)
        small = await pool.classify(encoded(Image.new("RGB", (40, 30)), "PNG"), LIMITS, state=STATE)

    assert "Car" in {each.name for each in inference.raw.detections}
    assert "Car" in {each.name for each in small.raw.detections}
    kinds = [next(iter(parameters["Image"])) for _, parameters in server.asked]
    assert kinds == ["S3Object", "Bytes", "Bytes", "Bytes"]
    assert events(caplog) == ["rekognition_cannot_read_store"]


async def test_a_throttled_call_is_made_again_more_slowly(make, server):
    """And is not counted, as it is not charged."""
    server.next_answers.extend([refusal("ThrottlingException"), refusal("ProvisionedThroughputExceededException")])
    async with make() as classifier:
        await classifier.classify(image())
        rate = classifier._pace.rate
    assert rate < 150
    async with make() as classifier:
        assert await classifier._budget.used() == 1


async def test_a_service_that_stays_busy_makes_the_picture_wait(make, server):
    """It is no failure of the picture."""
    server.next_answers.extend([refusal("ThrottlingException")] * 5)
    async with make() as classifier:
        with pytest.raises(Unavailable) as caught:
            await classifier.classify(image())
    assert caught.value.code == "throttled"


@pytest.mark.parametrize(
    ("kind", "status", "hint"),
    [
        ("AccessDeniedException", 400, "imgtag policy rekognition"),
        ("UnrecognizedClientException", 400, "access_key"),
        ("InternalServerError", 500, "nothing is lost"),
    ],
)
async def test_other_refusals_say_what_to_do(make, server, kind, status, hint):
    """The picture waits meanwhile."""
    server.next_answers.append(refusal(kind, "no", status))
    async with make() as classifier:
        with pytest.raises(Unavailable) as caught:
            await classifier.classify(image())
    assert hint in caught.value.hint


async def test_an_outage_spends_nothing(make, server):
    """Each picture is tried again and again: what AWS does not answer must not use up the budget."""
    async with make(moderation=True) as classifier:
        await classifier.classify(image())
        await server.take_away()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await classifier.classify(image())
        await server.bring_back()
        server.next_answers.append(refusal("InternalServerError", "no", 500))
        with pytest.raises(Unavailable):
            await classifier.classify(image())
    async with make() as classifier:
        assert await classifier._budget.used() == 2


async def test_an_answer_that_does_not_come_is_counted(make, server):
    """AWS may have done its work."""

    class Slow(Response):
        async def __call__(self, scope, receive, send):
            await anyio.sleep(1)

    server.next_answers.append(Slow())
    async with make(timeout=0.2) as classifier:
        with pytest.raises(Unavailable):
            await classifier.classify(image())
    async with make() as classifier:
        assert await classifier._budget.used() == 1


async def test_a_picture_that_aws_refuses_is_a_failure_of_the_object(make):
    """With AWS' own words."""
    async with make() as classifier:
        with pytest.raises(Undecodable) as caught:
            await classifier.classify(RemoteImage(data=b"no picture", width=1, height=1))
    assert caught.value.code == "server_refuses"


@pytest.mark.parametrize(
    "answer", [{}, {"Labels": [{}]}, {"Labels": 5}, {"Labels": [{"Name": "a", "Confidence": "x"}]}]
)
async def test_an_answer_that_is_none_makes_the_picture_wait(make, answer, tmp_path):
    """AWS may change its API."""
    with JsonServer(lambda body: answer) as other:
        async with make(endpoint=other.url) as classifier:
            with pytest.raises(Unavailable) as caught:
                await classifier.classify(image())
    assert caught.value.code == "invalid_answer"


async def test_nothing_is_bought_beyond_the_budget(make, server):
    """Two calls of a tenth of a cent; the third picture waits."""
    async with make(monthly_budget=0.002) as classifier:
        for _ in range(2):
            await classifier.classify(image())
        with pytest.raises(Unavailable) as caught:
            await classifier.classify(image())
        checks = {check.check: check async for check in classifier.checks()}

    assert caught.value.code == "budget_spent"
    assert len(server.asked) == 3  # the last one is of the check, which AWS refuses
    assert not checks["budget"].ok
    assert checks["budget"].message == "$0.00 of $0.00 are spent this month"


async def test_the_cost_is_told_before(make):
    """With what is left of the budget."""
    async with make(moderation=True, price=0.8, calls_per_second=4) as classifier:
        cost = await classifier.cost(10_000)

    assert (cost.dollars, cost.seconds) == (16.0, 5000)
    assert "$5.00 of this month's budget are left" in cost.note
    assert "next month" in cost.note


async def test_a_new_version_of_the_model_is_another_model(make, server, caplog):
    """Noted in the state folder, so that all commands name the same one; said once."""
    caplog.set_level(logging.WARNING)
    async with make() as classifier:
        await classifier.classify(image())
        first = classifier.info
        server.label_version = "4.0"
        for _ in range(2):
            await classifier.classify(image())
        second = classifier.info
    async with make() as classifier:
        third = classifier.info

    assert first.id != second.id
    assert second == third
    assert events(caplog) == ["rekognition_model_changed"]


async def test_doctor_asks_without_paying(make, server):
    """By what is no picture; it names every permission that is missing."""
    server.next_answers.append(refusal("AccessDeniedException", "not authorized"))
    async with make(moderation=True) as classifier:
        checks = [check async for check in classifier.checks()]
        used = await classifier._budget.used()

    assert [(check.check, check.ok) for check in checks] == [
        ("rekognition", False),
        ("rekognition", True),
        ("privacy", True),
        ("budget", True),
    ]
    assert used == 0


def test_policy_names_the_actions(make):
    """And the objects, where AWS reads them itself."""
    sent, read = (json.loads(make(store=store, region="eu-west-1", moderation=True).policy()) for store in (None, AWS))

    assert [statement["Action"] for statement in sent["Statement"]] == [
        ["rekognition:DetectLabels", "rekognition:DetectModerationLabels"]
    ]
    assert read["Statement"][1]["Resource"] == ["arn:aws:s3:::photos/*"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "monthly_budget"),
        ({"monthly_budget": 0}, "monthly_budget"),
        ({"monthly_budget": 1, "access_key": "a"}, "belong together"),
        ({"monthly_budget": 1, "session_token": "a"}, "needs access_key"),
        ({"monthly_budget": 1, "endpoint": "eu-west-1"}, "write it as a URL"),
    ],
)
def test_settings_that_cannot_work_are_findings(settings, message):
    """Above all, nobody pays without having said how much."""
    with pytest.raises(ValidationError, match=message):
        SPEC.settings.model_validate(settings)


@pytest.fixture(scope="module")
def moto():
    """Moto's server, which answers every DetectLabels with a mobile phone."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


async def test_moto_is_understood(make, moto):
    """An implementation of the same API by other people."""
    async with make(endpoint=moto) as classifier:
        raw = Raw.of_detections(require_detections(await classifier.classify(image())))
        checks = [check async for check in classifier.checks()]
        info = classifier.info

    (phone,) = raw.detections
    assert (phone.name, phone.parents, phone.synonyms) == ("Mobile Phone", ("Phone",), ("Cell Phone",))
    assert phone.category == "Technology and Computing"
    assert phone.boxes
    assert all(check.ok for check in checks)
    assert info.name == "rekognition"


def test_without_the_extra(monkeypatch, tmp_path):
    """Whoever names the classifier is told what to install."""
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)

    with pytest.raises(PluginError) as failure:
        SPEC.load()(SPEC.settings(monthly_budget=1.0), PluginContext(site="here", state_dir=tmp_path))

    assert "imgtag-sidecar[aws]" in failure.value.hint
