"""What an inference server is sent, and how its answer is read; over real HTTP."""

import base64
import json
import math

import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin import PluginContext, RemoteImage
from imgtag.testing.conformance.remote_classifier import _image
from imgtag.types.detections import Box
from imgtag_http import SPEC
from servers.inference import JsonServer, V2Server

pytestmark = pytest.mark.anyio

LABELS = "black\nwhite\ngrey\nred\ngreen\nblue\nyellow\ncyan\nmagenta\ndark red\n"


@pytest.fixture
def make(tmp_path):
    """Make a classifier of these settings."""

    def make(**settings):
        settings = SPEC.settings.model_validate({"model": "colours", **settings})
        return SPEC.load()(settings, PluginContext(site="home", state_dir=tmp_path))

    return make


def image(classifier, colour=(250, 10, 10), size=(40, 30)):
    made = _image(classifier, colour)
    return made if classifier.order.format == "rgb" else RemoteImage(data=made.data, width=size[0], height=size[1])


def best(detections):
    return max(detections, key=lambda each: each.confidence).name


@pytest.mark.parametrize("tensors", ["json", "binary"])
@pytest.mark.parametrize(
    ("datatype", "shape"),
    [("BYTES", (-1, 1)), ("UINT8", (-1, 20, 10, 3)), ("FP32", (-1, 3, 20, 10)), ("FP32", (1, 20, 10, 3))],
)
async def test_v2_takes_a_file_or_pixels(make, datatype, shape, tensors):
    """As the model's metadata say, and in either form."""
    with V2Server(datatype, shape) as server:
        async with make(url=server.url, tensors=tensors) as classifier:
            colours = [(250, 10, 10), (5, 5, 240), (128, 128, 128)]
            names = [best(await classifier.classify(image(classifier, colour))) for colour in colours]

    assert names == ["red", "blue", "grey"]


async def test_v2_names_the_classes_by_a_file(make, tmp_path):
    """Where the model answers with numbers alone."""
    file = tmp_path / "labels.txt"
    file.write_text(LABELS)
    with V2Server(names=False) as server:
        async with make(url=server.url, labels=file, min_confidence=0.1) as classifier:
            detections = await classifier.classify(image(classifier))
            info = classifier.info

    assert best(detections) == "red"
    assert min(each.confidence for each in detections) >= 0.1
    assert info.labels == tuple(LABELS.split("\n")[:-1])


@pytest.mark.parametrize(
    ("server", "settings", "message"),
    [
        (V2Server(names=False), {}, "answers with numbers alone"),
        (V2Server(), {"input": "picture"}, "the model has: image"),
        (V2Server(), {"output": "names"}, "the model has: scores"),
        (V2Server("INT64", (1, 3, 8, 8)), {}, "has the type INT64"),
        (V2Server("FP32", (1, 1, 8, 8)), {}, r"has the shape \[1, 1, 8, 8\]"),
        (V2Server("FP32", (-1, 3, -1, -1)), {}, r"has the shape \[-1, 3, -1, -1\]"),
    ],
)
async def test_v2_says_which_setting_is_missing(make, server, settings, message):
    """Before any picture is sent."""
    with server, pytest.raises(ConfigError, match=message):
        async with make(url=server.url, **settings):
            pass


async def test_v2_follows_the_version_of_the_model(make):
    """It is a part of the model's name in marks; another one is another model."""
    with V2Server() as server:
        async with make(url=server.url) as classifier:
            first = classifier.info
            await classifier.classify(image(classifier))
            same = classifier.info
            server.versions = ["2"]
            await classifier.classify(image(classifier))
            second = classifier.info
        async with make(url=server.url) as classifier:
            again = classifier.info
        async with make(url=server.url, version="1") as classifier:
            asked = classifier.info
        paths = {path for path, _, _ in server.requests}

    assert first == same == asked
    assert second == again
    assert first.id != second.id
    assert "/v2/models/colours/versions/1" in paths


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"outputs": []},
        {"outputs": [{"name": "scores", "data": ["x"]}, {"name": "names", "data": ["a"]}]},
        {"outputs": [{"name": "scores", "data": [0.1, 0.2]}, {"name": "names", "data": ["a"]}]},
        {"outputs": [{"name": "scores", "data": ["NaN"]}, {"name": "names", "data": ["a"]}]},
        {"outputs": [{"name": "scores", "data": [10**400]}, {"name": "names", "data": ["a"]}]},
        {"outputs": [{"name": "scores", "data": [-0.5]}, {"name": "names", "data": ["a"]}]},
    ],
)
async def test_v2_does_not_guess(make, answer):
    """What is not as described is the server's fault, and the picture waits."""
    with V2Server() as server:
        async with make(url=server.url) as classifier:

            async def handle(request, body):
                return JSONResponse(answer)

            server.handle = handle
            with pytest.raises(Unavailable) as caught:
                await classifier.classify(image(classifier))

    assert caught.value.code == "invalid_answer"


async def test_logits_become_confidences(make):
    """By the activation that the settings name."""
    data = {"outputs": [{"name": "scores", "data": [2.0, 0.0]}, {"name": "names", "data": ["a", "b"]}]}
    confidences = {}
    with V2Server() as server:
        for activation in ("softmax", "sigmoid"):
            async with make(url=server.url, activation=activation) as classifier:
                server.next_answers.append(JSONResponse(data))
                shown = await classifier.classify(image(classifier))
                confidences[activation] = [round(each.confidence, 3) for each in shown]

    assert confidences == {"softmax": [0.881, 0.119], "sigmoid": [0.881, 0.5]}


async def test_json_sends_the_picture_itself(make):
    """Without a body in the settings; what it answers is read by the default paths."""
    with JsonServer(lambda body: {"predictions": [{"label": "Kit fox", "confidence": 0.8}]}) as server:
        async with make(url=f"{server.url}/tags", protocol="json", token="secret") as classifier:
            sent = image(classifier)
            detections = await classifier.classify(sent)
        ((path, headers, body),) = server.requests

    assert [(each.name, each.confidence) for each in detections] == [("Kit fox", 0.8)]
    assert path == "/tags"
    assert headers["content-type"] == "image/jpeg"
    assert headers["authorization"] == "Bearer secret"
    assert body == sent.data


async def test_json_fills_a_body_and_follows_paths(make):
    """Percent, nested keys, boxes in pixels by their corners."""
    answer = {"result": {"tags": [{"tag": {"en": "fox"}, "score": 61, "at": [10, 6, 30, 21]}]}}
    settings = {
        "protocol": "json",
        "method": "PUT",
        "body": {"instances": [{"image": {"b64": "$image"}, "n": 5}]},
        "items": "result.tags[*]",
        "label": "tag.en",
        "confidence": "score",
        "confidence_max": 100,
        "box": "at",
        "box_form": "xyxy",
        "box_unit": "pixels",
        "token": "secret",
        "token_header": "X-Api-Key",
    }
    with JsonServer(lambda body: answer) as server:
        async with make(url=f"{server.url}/tags", **settings) as classifier:
            sent = image(classifier)
            (fox,) = await classifier.classify(sent)
        ((_, headers, body),) = server.requests

    assert (fox.name, fox.confidence, fox.boxes) == ("fox", 0.61, (Box(0.25, 0.2, 0.5, 0.5),))
    assert json.loads(body) == {"instances": [{"image": {"b64": base64.b64encode(sent.data).decode()}, "n": 5}]}
    assert headers["x-api-key"] == "secret"


async def test_json_reads_an_object_of_confidences(make):
    """By the keys and values of its entries."""
    paths = {"items": "scores[*]", "label": "@key", "confidence": "@value"}
    with JsonServer(lambda body: {"scores": {"dog": 0.9, "grass": 0.4}}) as server:
        async with make(url=f"{server.url}/tags", protocol="json", **paths) as classifier:
            detections = await classifier.classify(image(classifier))

    assert [(each.name, each.confidence) for each in detections] == [("dog", 0.9), ("grass", 0.4)]


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [{"label": 5, "confidence": 0.5}]},
        {"predictions": [{"label": "a", "confidence": "0.5"}]},
        {"predictions": [{"label": "a", "confidence": True}]},
        {"predictions": [{"label": "a"}]},
        {"predictions": [{"label": "a", "confidence": -3.2}]},
        {"predictions": [{"label": "a", "confidence": 0.9}, {"label": "b", "confidence": math.nan}]},
        {"prediction": []},
    ],
)
async def test_json_does_not_guess(make, answer):
    """What is not where the settings say, or of another type, is the server's fault."""
    text = json.dumps(answer)  # with NaN, as servers write it
    with JsonServer(lambda body: Response(text, media_type="application/json")) as server:
        async with make(url=f"{server.url}/tags", protocol="json") as classifier:
            with pytest.raises(Unavailable) as caught:
                await classifier.classify(image(classifier))

    assert caught.value.code == "invalid_answer"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "http://user:pass@x/v1"}, "token"),
        ({"items": "$..tags"}, "is not a path"),
        ({"body": {"image": "base64"}}, "no image would be sent"),
        ({"protocol": "json"}, "the whole URL"),
        ({"std": [0, 1, 1]}, "std"),
        ({"size": [5000, 5000]}, "from 1 to"),
    ],
)
def test_settings_that_cannot_work_are_findings(settings, message):
    """Each names what to write."""
    with pytest.raises(ValidationError, match=message):
        SPEC.settings.model_validate({"url": "http://x:1", "model": "m", **settings})


async def test_the_model_is_named_by_what_shapes_its_labels(make):
    """A new address, token or timeout makes no label stale; other preparation does."""
    with V2Server() as server, V2Server() as other:
        infos = []
        for more in ({}, {"url": other.url, "token": "t", "timeout": 3}, {"max_side": 512}):
            async with make(**{"url": server.url, **more}) as classifier:
                infos.append(classifier.info.id)

    assert infos[0] == infos[1] != infos[2]
