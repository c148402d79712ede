"""The public face for tests: plugins in memory, the meaning of a query, and the suites that every plugin must pass.

The plugins in memory are real implementations of the contracts in `imgtag.plugin`, not mocks; the sidecar treats them
like all others. They fail on request, through ``faults``:

    store, source, indexer = MemoryStore("photos"), MemorySource(), MemoryIndexer()
    source.send(store.put("photos/fox.jpg", image))
    indexer.faults.fail(Unavailable(), times=3)
    store.before_rewrite(lambda: store.put("photos/fox.jpg", another))
    source.finish()

Names are loaded on first use, because the suites need pytest and the rest does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtag.lazy_names import lazy_names

if TYPE_CHECKING:
    from imgtag.plugin.matching import matches, metres, rank_documents
    from imgtag.query import parse
    from imgtag.registry import discover
    from imgtag.testing.broker import MemoryBroker
    from imgtag.testing.classifier import ColourClassifier, ColourSettings, HostileClassifier
    from imgtag.testing.conformance import (
        ClassifierConformance,
        IndexerConformance,
        RemoteClassifierConformance,
        RemoteServer,
        SourceConformance,
        SourceUser,
        StoreConformance,
        StoreUser,
    )
    from imgtag.testing.conformance.corpus import document
    from imgtag.testing.faults import Faults
    from imgtag.testing.indexer import MemoryIndexer
    from imgtag.testing.remote_classifier import MemoryRemoteClassifier, RemoteColourSettings
    from imgtag.testing.service import MemoryService
    from imgtag.testing.source import MemorySource
    from imgtag.testing.store import MemoryStore

_HOMES = {
    "imgtag.query": ("parse",),
    "imgtag.registry": ("discover",),
    "imgtag.testing.broker": ("MemoryBroker",),
    "imgtag.testing.classifier": ("ColourClassifier", "ColourSettings", "HostileClassifier"),
    "imgtag.testing.conformance": (
        "ClassifierConformance", "IndexerConformance", "RemoteClassifierConformance", "RemoteServer",
        "SourceConformance", "SourceUser", "StoreConformance", "StoreUser",
    ),
    "imgtag.testing.conformance.corpus": ("document",),
    "imgtag.plugin.matching": ("matches", "metres", "rank_documents"),
    "imgtag.testing.faults": ("Faults",),
    "imgtag.testing.indexer": ("MemoryIndexer",),
    "imgtag.testing.remote_classifier": ("MemoryRemoteClassifier", "RemoteColourSettings"),
    "imgtag.testing.service": ("MemoryService",),
    "imgtag.testing.source": ("MemorySource",),
    "imgtag.testing.store": ("MemoryStore",),
}  # fmt: skip

__all__ = [
    "ClassifierConformance",
    "ColourClassifier",
    "ColourSettings",
    "Faults",
    "HostileClassifier",
    "IndexerConformance",
    "MemoryBroker",
    "MemoryIndexer",
    "MemoryRemoteClassifier",
    "MemoryService",
    "MemorySource",
    "MemoryStore",
    "RemoteClassifierConformance",
    "RemoteColourSettings",
    "RemoteServer",
    "SourceConformance",
    "SourceUser",
    "StoreConformance",
    "StoreUser",
    "discover",
    "document",
    "matches",
    "metres",
    "parse",
    "rank_documents",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
