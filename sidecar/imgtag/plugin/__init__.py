"""The public face for plugin authors: contracts, the values they exchange, and helpers that every plugin needs.

Import from here and from `imgtag.errors`; other modules of the sidecar may change between releases. Names are loaded
on first use, so that a command which never decodes an image does not load NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtag.lazy_names import lazy_names

if TYPE_CHECKING:
    from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
    from imgtag.plugin.classifier import Classifier, ModelInfo, RemoteClassifier, Scores
    from imgtag.plugin.image import Image
    from imgtag.plugin.indexer import (
        Delete,
        Indexer,
        Outcome,
        Page,
        SearchRequest,
        Similar,
        SimilarRequest,
        Upsert,
        count_values,
        field_values,
        vector_of,
    )
    from imgtag.plugin.service import Change, Check, Service, ServiceBase
    from imgtag.plugin.source import DeadLetters, Delivery, NotificationTarget, Source, SourceFeatures
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
    from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Order, Query, Score, StartsWith
    from imgtag.types.dead_letter import DeadLetter
    from imgtag.types.document import Document
    from imgtag.types.event import Hint, Intent
    from imgtag.types.folding import fold, normalise, words
    from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
    from imgtag.types.vector import cosine

_HOMES = {
    "imgtag.labels.taxonomy": ("AncestorTerms", "ClassTerms", "Taxonomy"),
    "imgtag.plugin.classifier": ("Classifier", "ModelInfo", "RemoteClassifier", "Scores"),
    "imgtag.plugin.image": ("Image",),
    "imgtag.plugin.indexer": (
        "Delete", "Indexer", "Outcome", "Page", "SearchRequest", "Similar", "SimilarRequest", "Upsert", "count_values",
        "field_values", "vector_of",
    ),
    "imgtag.plugin.service": ("Change", "Check", "Service", "ServiceBase"),
    "imgtag.plugin.source": ("DeadLetters", "Delivery", "NotificationTarget", "Source", "SourceFeatures"),
    "imgtag.plugin.spec": (
        "API_VERSION", "FROM_FILE", "Kind", "ModelSettings", "NoSettings", "PluginContext", "PluginSpec", "Settings",
    ),
    "imgtag.plugin.store": (
        "Body", "Copier", "Forecast", "Forecaster", "RangedBody", "Rewrite", "Store", "StoreFeatures", "VersionLister",
    ),
    "imgtag.query": ("And", "Compare", "Condition", "Is", "Near", "Not", "Or", "Order", "Query", "Score", "StartsWith"),
    "imgtag.types.dead_letter": ("DeadLetter",),
    "imgtag.types.document": ("Document",),
    "imgtag.types.event": ("Hint", "Intent"),
    "imgtag.types.folding": ("fold", "normalise", "words"),
    "imgtag.types.ref": ("Listed", "ObjectRef", "ObjectState", "Scope"),
    "imgtag.types.vector": ("cosine",),
}  # fmt: skip

__all__ = [
    "API_VERSION",
    "FROM_FILE",
    "AncestorTerms",
    "And",
    "Body",
    "Change",
    "Check",
    "ClassTerms",
    "Classifier",
    "Compare",
    "Condition",
    "Copier",
    "DeadLetter",
    "DeadLetters",
    "Delete",
    "Delivery",
    "Document",
    "Forecast",
    "Forecaster",
    "Hint",
    "Image",
    "Indexer",
    "Intent",
    "Is",
    "Kind",
    "Listed",
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
    "Query",
    "RangedBody",
    "RemoteClassifier",
    "Rewrite",
    "Scope",
    "Score",
    "Scores",
    "SearchRequest",
    "Service",
    "ServiceBase",
    "Settings",
    "Similar",
    "SimilarRequest",
    "Source",
    "SourceFeatures",
    "StartsWith",
    "Store",
    "StoreFeatures",
    "Taxonomy",
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
