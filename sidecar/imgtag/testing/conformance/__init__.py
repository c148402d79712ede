"""The suites that a plugin must pass: one class of tests for each kind.

Subclass the one for your kind in a test module of your own, and provide the fixtures that its docstring names:

    import pytest
    from imgtag.testing import StoreConformance, StoreUser

    class Somebody(StoreUser):                  # changes objects without the sidecar knowing
        bucket = "conformance"
        async def put(self, key, data, metadata=None): ...
        async def delete(self, key): ...
        async def take_away(self): ...
        async def bring_back(self): ...

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def user(self):
            return Somebody()

        @pytest.fixture
        def connect(self, user):
            return lambda: MyStore(MySettings(...), context)

``connect`` makes a new instance each time, over the same bucket, queue or index, and does not enter it: suites open a
second one to see what outlives the first. Each test starts with a bucket, queue or index of its own, which is empty.
The name of a failing test is the property that is missing.

The suites need pytest, and anyio's plugin for it, which comes with anyio. They run on asyncio.
"""

import pytest

_SUITES = ("service", "store", "source", "search", "rebuild", "indexer", "processes", "classifier", "remote_classifier")
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _SUITES))

from imgtag.testing.conformance.classifier import ClassifierConformance  # noqa: E402 - once they are registered
from imgtag.testing.conformance.indexer import IndexerConformance  # noqa: E402
from imgtag.testing.conformance.remote_classifier import RemoteClassifierConformance, RemoteServer  # noqa: E402
from imgtag.testing.conformance.source import SourceConformance, SourceUser  # noqa: E402
from imgtag.testing.conformance.store import StoreConformance, StoreUser  # noqa: E402

__all__ = [
    "ClassifierConformance",
    "IndexerConformance",
    "RemoteClassifierConformance",
    "RemoteServer",
    "SourceConformance",
    "SourceUser",
    "StoreConformance",
    "StoreUser",
]
