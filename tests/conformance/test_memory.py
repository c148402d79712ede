"""What is in memory passes the suites that it is shipped with."""

import pytest

from conformance.users import MemorySourceUser, MemoryStoreUser
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.broker import MemoryBroker
from imgtag.testing.classifier import ColourClassifier, ColourSettings
from imgtag.testing.conformance import (
    ClassifierConformance,
    IndexerConformance,
    SourceConformance,
    StoreConformance,
)
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore


class TestMemoryStore(StoreConformance):
    def pytest_generate_tests(self, metafunc):
        """Looking and reading are the same whether there are versions or not; only what writes is run three times."""
        if "memory" in metafunc.fixturenames:
            writes = metafunc.function.__name__.startswith(("test_rewrite", "test_create", "test_erase"))
            modes = ["enabled", "unversioned", "suspended"] if writes else ["enabled"]
            metafunc.parametrize("memory", modes, indirect=True)

    @pytest.fixture
    def memory(self, request):
        store = MemoryStore()
        store.make_bucket("photos", request.param)
        return store

    @pytest.fixture
    def user(self, memory):
        return MemoryStoreUser(memory)

    @pytest.fixture
    def connect(self, memory):
        return lambda: memory


class TestMemoryStoreWithOtherETags(StoreConformance):
    @pytest.fixture
    def memory(self):
        return MemoryStore("photos", etags="rewrite")

    @pytest.fixture
    def user(self, memory):
        return MemoryStoreUser(memory)

    @pytest.fixture
    def connect(self, memory):
        return lambda: memory


class TestMemorySource(SourceConformance):
    patience = 3.0
    quiet = 0.2
    settle = 0.01

    @pytest.fixture(params=[None, 1.0], ids=["waits for ever", "ack_wait 1.0"])
    def connect(self, request):
        broker = MemoryBroker()
        features = SourceFeatures(parks=True, ack_wait=request.param)
        return lambda: MemorySource(broker, features=features)

    @pytest.fixture
    def user(self, connect):
        return MemorySourceUser(connect())


class TestMemoryIndexer(IndexerConformance):
    shares_processes = False

    @pytest.fixture
    def indexers(self):
        return []

    @pytest.fixture
    def connect(self, indexers):
        documents = {}

        def make():
            indexers.append(MemoryIndexer(documents))
            return indexers[-1]

        return make

    @pytest.fixture
    def delete_index(self, indexers):
        return lambda: [indexer.replace() for indexer in indexers]


class TestColourClassifier(ClassifierConformance):
    @pytest.fixture
    def classifier(self):
        return ColourClassifier(ColourSettings())
