"""The public face for plugin authors: contracts, the values they exchange, and helpers that every plugin needs.

Import from here and from `imgtag.errors`; other modules of the sidecar may change between releases. Names are loaded
on first use, so that a command which never decodes an image does not load NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtag.lazy_names import lazy_names

if TYPE_CHECKING:
    from imgtag.flow.local_queue import LocalQueue
    from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
    from imgtag.plugin.backfills import BackfillDelivery, BackfillPublication, Backfills, BackfillSource, SharedBackfill
    from imgtag.plugin.classifier import Classifier, Cost, ModelInfo, Priced, RemoteClassifier, RemoteImage, Scores
    from imgtag.plugin.image import Image
    from imgtag.plugin.indexer import (
        Delete,
        Indexer,
        Outcome,
        Page,
        Rebuilder,
        SearchRequest,
        Similar,
        SimilarRequest,
        TokenSigner,
        Upsert,
        count_values,
        field_values,
        vector_of,
    )
    from imgtag.plugin.local_source import LocalSource
    from imgtag.plugin.service import Change, Check, PolicyExtender, Service, ServiceBase
    from imgtag.plugin.source import DeadLetters, Delivery, NotificationTarget, RecordKeeper, Source, SourceFeatures
    from imgtag.plugin.spec import (
        API_VERSION,
        FROM_FILE,
        Kind,
        ModelSettings,
        NoSettings,
        PluginContext,
        PluginSpec,
        Settings,
    )
    from imgtag.plugin.store import (
        Body,
        Copier,
        Forecast,
        Forecaster,
        RangedBody,
        Rewrite,
        Store,
        StoreFeatures,
        VersionLister,
    )
    from imgtag.plugin.task_service import TaskService
    from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Order, Query, Score, StartsWith
    from imgtag.types.dead_letter import DeadLetter
    from imgtag.types.detections import Box, Detection
    from imgtag.types.document import Document
    from imgtag.types.event import Hint, Intent
    from imgtag.types.folding import fold, normalise, words
    from imgtag.types.prepared_image import ImageOrder
    from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
    from imgtag.types.shared_record import SharedRecord
    from imgtag.types.vector import cosine

_HOMES = {
    "imgtag.flow.local_queue": ("LocalQueue",),
    "imgtag.labels.taxonomy": ("AncestorTerms", "ClassTerms", "Taxonomy"),
    "imgtag.plugin.backfills": (
        "BackfillDelivery", "BackfillPublication", "BackfillSource", "Backfills", "SharedBackfill",
    ),
    "imgtag.plugin.classifier": (
        "Classifier", "Cost", "ModelInfo", "Priced", "RemoteClassifier", "RemoteImage", "Scores",
    ),
    "imgtag.plugin.image": ("Image",),
    "imgtag.plugin.indexer": (
        "Delete", "Indexer", "Outcome", "Page", "Rebuilder", "SearchRequest", "Similar", "SimilarRequest",
        "TokenSigner", "Upsert", "count_values", "field_values", "vector_of",
    ),
    "imgtag.plugin.local_source": ("LocalSource",),
    "imgtag.plugin.service": ("Change", "Check", "PolicyExtender", "Service", "ServiceBase"),
    "imgtag.plugin.source": (
        "DeadLetters", "Delivery", "NotificationTarget", "RecordKeeper", "Source", "SourceFeatures",
    ),
    "imgtag.plugin.spec": (
        "API_VERSION", "FROM_FILE", "Kind", "ModelSettings", "NoSettings", "PluginContext", "PluginSpec", "Settings",
    ),
    "imgtag.plugin.store": (
        "Body", "Copier", "Forecast", "Forecaster", "RangedBody", "Rewrite", "Store", "StoreFeatures", "VersionLister",
    ),
    "imgtag.plugin.task_service": ("TaskService",),
    "imgtag.query": ("And", "Compare", "Condition", "Is", "Near", "Not", "Or", "Order", "Query", "Score", "StartsWith"),
    "imgtag.types.dead_letter": ("DeadLetter",),
    "imgtag.types.detections": ("Box", "Detection"),
    "imgtag.types.document": ("Document",),
    "imgtag.types.event": ("Hint", "Intent"),
    "imgtag.types.folding": ("fold", "normalise", "words"),
    "imgtag.types.prepared_image": ("ImageOrder",),
    "imgtag.types.ref": ("Listed", "ObjectRef", "ObjectState", "Scope"),
    "imgtag.types.shared_record": ("SharedRecord",),
    "imgtag.types.vector": ("cosine",),
}  # fmt: skip

__all__ = [
    "API_VERSION",
    "FROM_FILE",
    "AncestorTerms",
    "And",
    "BackfillDelivery",
    "BackfillPublication",
    "BackfillSource",
    "Backfills",
    "Body",
    "Box",
    "Change",
    "Check",
    "ClassTerms",
    "Classifier",
    "Compare",
    "Condition",
    "Copier",
    "Cost",
    "DeadLetter",
    "DeadLetters",
    "Delete",
    "Delivery",
    "Detection",
    "Document",
    "Forecast",
    "Forecaster",
    "Hint",
    "Image",
    "ImageOrder",
    "Indexer",
    "Intent",
    "Is",
    "Kind",
    "Listed",
    "LocalQueue",
    "LocalSource",
    "ModelInfo",
    "ModelSettings",
    "Near",
    "NoSettings",
    "Not",
    "NotificationTarget",
    "ObjectRef",
    "ObjectState",
    "Or",
    "Order",
    "Outcome",
    "Page",
    "PluginContext",
    "PluginSpec",
    "PolicyExtender",
    "Priced",
    "Query",
    "RangedBody",
    "Rebuilder",
    "RecordKeeper",
    "RemoteClassifier",
    "RemoteImage",
    "Rewrite",
    "Scope",
    "Score",
    "Scores",
    "SearchRequest",
    "Service",
    "ServiceBase",
    "Settings",
    "SharedBackfill",
    "SharedRecord",
    "Similar",
    "SimilarRequest",
    "Source",
    "SourceFeatures",
    "StartsWith",
    "Store",
    "StoreFeatures",
    "TaskService",
    "Taxonomy",
    "TokenSigner",
    "Upsert",
    "VersionLister",
    "cosine",
    "count_values",
    "field_values",
    "fold",
    "normalise",
    "vector_of",
    "words",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
