"""What is in memory passes the suites that it is shipped with."""

import pytest

from imgtag.plugin.source import SourceFeatures
from imgtag.testing.broker import MemoryBroker
from imgtag.testing.classifier import ColourClassifier, ColourSettings
from imgtag.testing.conformance import (
    ClassifierConformance,
    IndexerConformance,
    SourceConformance,
    SourceUser,
    StoreConformance,
    StoreUser,
)
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef


class MemoryStoreUser(StoreUser):
    """Acts on a store in memory."""

    bucket = "photos"

    def __init__(self, store):
        self._store = store

    async def put(self, key, data, metadata=None):
        self._store.put(ObjectRef(self.bucket, key), data, metadata=metadata, tags={"project": "a"})

    async def delete(self, key):
        self._store.delete(ObjectRef(self.bucket, key))

    async def take_away(self):
        self._store.take_away(self.bucket)

    async def bring_back(self):
        self._store.bring_back(self.bucket)

    async def lock(self, key):
        self._store.lock(ObjectRef(self.bucket, key), "retention")
        return True


class MemorySourceUser(SourceUser):
    """Makes notifications."""

    bucket = "photos"

    def __init__(self, source):
        self._source = source

    async def change(self, key):
        self._source.send(Hint(ref=ObjectRef(self.bucket, key)))

    async def remove(self, key):
        self._source.send(Hint(ref=ObjectRef(self.bucket, key), removed=True))
        return True


class TestMemoryStore(StoreConformance):
    @pytest.fixture(params=["unversioned", "enabled", "suspended"])
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

    @pytest.fixture(params=[None, 0.5], ids=["waits for ever", "ack_wait 0.5"])
    def connect(self, request):
        broker = MemoryBroker()
        features = SourceFeatures(parks=True, ack_wait=request.param)
        return lambda: MemorySource(broker, features=features)

    @pytest.fixture
    def user(self, connect):
        return MemorySourceUser(connect())


class TestMemoryIndexer(IndexerConformance):
    @pytest.fixture
    def connect(self):
        documents = {}
        return lambda: MemoryIndexer(documents)


class TestColourClassifier(ClassifierConformance):
    @pytest.fixture
    def classifier(self):
        return ColourClassifier(ColourSettings())
