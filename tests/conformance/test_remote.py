"""Classifiers that ask a server pass their suite, over real HTTP."""

import pytest

from imgtag.plugin import PluginContext
from imgtag.testing import MemoryRemoteClassifier, RemoteClassifierConformance
from imgtag_http import SPEC as HTTP
from imgtag_rekognition import SPEC as REKOGNITION
from servers.inference import JsonServer, V2Server
from servers.rekognition import RekognitionServer


class TestMemoryRemoteClassifier(RemoteClassifierConformance):
    @pytest.fixture
    def connect(self):
        return MemoryRemoteClassifier


@pytest.fixture(scope="module", params=["BYTES", "UINT8"])
def v2_server(request):
    with V2Server(request.param, (-1, 1) if request.param == "BYTES" else (-1, 3, 16, 16)) as server:
        yield server


class TestHttpV2(RemoteClassifierConformance):
    @pytest.fixture
    def server(self, v2_server):
        return v2_server

    @pytest.fixture
    def connect(self, v2_server, tmp_path):
        settings = HTTP.settings(url=v2_server.url, model="colours")
        return lambda: HTTP.load()(settings, PluginContext(site="home", state_dir=tmp_path))


@pytest.fixture(scope="module")
def json_server():
    with JsonServer(lambda body: {"predictions": [{"label": f"size {len(body) // 100}", "confidence": 0.5}]}) as server:
        yield server


class TestHttpJson(RemoteClassifierConformance):
    @pytest.fixture
    def server(self, json_server):
        return json_server

    @pytest.fixture
    def connect(self, json_server, tmp_path):
        settings = HTTP.settings(url=f"{json_server.url}/tags", protocol="json", model="sizes")
        return lambda: HTTP.load()(settings, PluginContext(site="home", state_dir=tmp_path))


@pytest.fixture(scope="module")
def rekognition_server():
    with RekognitionServer() as server:
        yield server


class TestRekognition(RemoteClassifierConformance):
    @pytest.fixture
    def server(self, rekognition_server):
        return rekognition_server

    @pytest.fixture
    def connect(self, rekognition_server, tmp_path):
        settings = REKOGNITION.settings(
            endpoint=rekognition_server.url,
            access_key="AKIDEXAMPLE",
            secret_key="secret",
            monthly_budget=100,
            calls_per_second=1000,
        )
        return lambda: REKOGNITION.load()(settings, PluginContext(site="home", state_dir=tmp_path))
