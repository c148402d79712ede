"""A pipeline over the in-memory plugins, with a model that is a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

import anyio
import pytest

from imgtag.config.policy import ObjectPolicy
from imgtag.errors import Undecodable
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.taxonomy import Taxonomy
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.pipeline import Pipeline, PipelineLimits
from imgtag.plugin.classifier import ModelInfo
from imgtag.plugin.source import SourceFeatures
from imgtag.reconcile import Reconciler
from imgtag.stages.annotate import Annotator, WriteLimit
from imgtag.stages.classify import EntryBuilder
from imgtag.stages.compare import find_differences
from imgtag.stages.document import DocumentOptions
from imgtag.stages.index import Index
from imgtag.stages.receive import OwnWrites
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.types.mark import content_digest
from imgtag.types.metadata import MetadataCodec
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.ref import ObjectRef, ObjectState, Scope
from imgtag.workers.answers import Inference
from picture_limits import LIMITS

SITE = "test"
BUCKET = "pictures"
JPEG = b"\xff\xd8\xff"


def picture(name: str) -> bytes:
    """Something that looks like a JPEG and that the table model knows as ``name``."""
    return JPEG + name.encode()


@dataclass
class TablePool:
    """Classifies by the bytes behind the magic: names of labels are what it says of them."""

    name: str = "table"
    labels: tuple[str, ...] = ("red fox", "kit fox", "café", "nothing")
    words: Taxonomy = field(default_factory=Taxonomy)
    others: list[ModelInfo] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    said: bytes | None = None
    """What it says is the digest of an image, where it lies."""
    remote = None

    @property
    def info(self) -> ModelInfo:
        names = {"labels": self.labels, "display": self.labels, "taxonomy": self.words}
        return ModelInfo(name=self.name, digest="0" * 64, size=(8, 8), projection="svd1", **names)

    @property
    def known(self) -> dict[str, ModelInfo]:
        return {info.id: info for info in (self.info, *self.others)}

    def in_use(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def classify(
        self, data: bytes, limits: PictureLimits, state: ObjectState, digest: bytes | None = None
    ) -> Inference:
        self.asked.append(data)
        await anyio.lowlevel.checkpoint()
        self.meanwhile()
        content = data.removeprefix(JPEG).decode().split("#")[0]
        if content == "broken":
            raise Undecodable("the JPEG is damaged", code="undecodable")
        classes = () if content == "nothing" else ((self.labels.index(content), 0.9), (1, 0.05))
        return Inference(
            raw=Raw(classes),
            facts=Facts(width=10, height=5, taken=1_700_000_000),
            digest=digest or self.said or sha256(data).digest(),
            decode=0.0,
            infer=0.0,
            vec=content_digest(data).encode().ljust(128, b"\xff"),
        )


@dataclass
class Bench:
    """Everything, and short ways to use it."""

    store: MemoryStore
    source: MemorySource
    indexer: MemoryIndexer
    pool: TablePool = field(default_factory=TablePool)
    metrics: Metrics = field(default_factory=Metrics)
    health: Health = field(default_factory=Health)
    codec: MetadataCodec = field(default_factory=lambda: MetadataCodec(keys=(b"key",)))
    policy: LabelPolicy = field(default_factory=LabelPolicy)
    strategy: str = "auto"
    shadow: TablePool | None = None
    max_bytes: int = 1000
    concurrency: int = 4
    admitted: Callable[[ObjectRef], bool] = lambda _: True
    suffix_decides: bool = False

    def __post_init__(self) -> None:
        self.limit = WriteLimit()
        self.own_writes = OwnWrites()

    def reconciler(self) -> Reconciler:
        return Reconciler(
            site=SITE,
            entry_builder=EntryBuilder(site=SITE),
            document_options=DocumentOptions(),
            policy_of=self.policy_of,
            models=lambda: {"": self.pool, "shadow": self.shadow},
            store=self.store,
            index=Index(self.indexer, self.health),
            annotator=Annotator(store=self.store, limit=self.limit, metrics=self.metrics),
            budget=ByteBudget(10_000),
            metrics=self.metrics,
            health=self.health,
            own_writes=self.own_writes,
            suffix_decides=self.suffix_decides,
        )

    def policy_of(self, ref: ObjectRef) -> ObjectPolicy | None:
        if not self.admitted(ref):
            return None
        return ObjectPolicy(
            shadow="shadow" if self.shadow else None,
            labels=self.policy,
            codec=self.codec,
            strategy=self.strategy,
            max_bytes=self.max_bytes,
            limits=LIMITS,
        )

    def pipeline(self, source: MemorySource | None = None, drain: float = 5.0) -> Pipeline:
        reconcile = self.reconciler()
        return Pipeline(
            source=source or self.source,
            reconcile=reconcile,
            find_differences=partial(
                find_differences, self.store, self.indexer, SITE, may_need_document=reconcile.may_need_document
            ),
            is_own_write=lambda hint: self.own_writes.reports(hint, SITE, self.codec),
            take_unconfirmed=self.own_writes.take_unconfirmed,
            metrics=self.metrics,
            limits=PipelineLimits(concurrency=self.concurrency, backoff=Backoff(first=0.01, maximum=0.05), drain=drain),
            health=self.health,
        )

    async def work_off(self) -> None:
        """Run until everything that was sent is acknowledged."""
        self.source.finish()
        with anyio.fail_after(60):
            await self.pipeline().run(anyio.Event())

    def document(self, key: str):
        return self.indexer.documents.get(document_id(SITE, ObjectRef(BUCKET, key)))

    def metadata(self, key: str):
        return self.store.peek(f"{BUCKET}/{key}").metadata

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def bench() -> Bench:
    store = MemoryStore(BUCKET)
    source = MemorySource(features=SourceFeatures())
    store.notify = source.send
    return Bench(store, source, MemoryIndexer())


@pytest.fixture
def everything() -> Scope:
    return Scope(BUCKET)
