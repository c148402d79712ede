"""The suites that a plugin must pass: one class of tests for each kind.

Subclass the one for your kind in a test module of yours, and give it the fixtures that its docstring names:

    import pytest
    from imgtag.testing.conformance import StoreConformance, StoreUser

    class Somebody(StoreUser):                  # changes objects behind the sidecar's back
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

``connect`` makes a new instance each time over the same things, not entered yet: suites open a second one to
see what outlives the first. Each test begins with things of its own (an empty bucket, queue or index). A test
that fails names the property that is missing.

The suites need pytest and anyio's plugin for it, which comes with anyio; they run on asyncio.
"""

import pytest

_SUITES = ("service", "store", "source", "search", "indexer", "classifier")
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _SUITES))

from imgtag.testing.conformance.classifier import ClassifierConformance  # noqa: E402 - once they are registered
from imgtag.testing.conformance.indexer import IndexerConformance  # noqa: E402
from imgtag.testing.conformance.source import SourceConformance, SourceUser  # noqa: E402
from imgtag.testing.conformance.store import StoreConformance, StoreUser  # noqa: E402

__all__ = [
    "ClassifierConformance",
    "IndexerConformance",
    "SourceConformance",
    "SourceUser",
    "StoreConformance",
    "StoreUser",
]
