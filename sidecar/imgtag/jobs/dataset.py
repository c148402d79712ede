"""Datasets from the index: which images belong to which label, and their copies in folders by label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import anyio
from anyio import to_thread

from imgtag.assembly import make_indexer, make_pool, make_store, worker_count
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.engine import make_reconciler
from imgtag.errors import Conflict, Undecodable, Unreadable, WriteRefused
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.plugin.matching import matches
from imgtag.plugin.store import Store
from imgtag.query import Query
from imgtag.reconcile import Reconciler
from imgtag.stages.document import build_document
from imgtag.stages.fetch import fetch
from imgtag.stages.inspect import inspect
from imgtag.types.document import Document, document_id
from imgtag.types.image_names import is_called_image
from imgtag.types.ref import Listed, ObjectRef, Scope
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool

PAGE = 1_000
COPIES = 8
"""Objects that are copied at once."""
MAX_NAME = 200
"""Bytes of the last part of a copy's key: file systems take 255."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An image of a dataset, under the label that it is there for."""

    ref: ObjectRef
    label: str
    confidence: float
    document: Document = field(repr=False)


def member_of(document: Document, query: Query, threshold: float = 0.0) -> Member | None:
    """A hit as a member: under the first label that the query names and it has, else under its best label.

    None where no such label reaches the threshold.
    """
    scores = document.get("scores", {})
    named = [label for label in query.ranking if scores.get(label, 0.0) >= max(threshold, 1e-9)]
    best = [label for label in document.get("labels", ()) if scores.get(label, 0.0) >= threshold]
    label = next(iter((*named, *best)), None)
    if label is None:
        return None
    ref = ObjectRef(document["bucket"], document["key"])
    return Member(ref=ref, label=label, confidence=scores[label], document=document)


async def find_members(indexer: Indexer, query: Query, threshold: float = 0.0) -> list[Member]:
    """All that the query finds, in the order of buckets and keys, whatever is indexed meanwhile. Raises QueryError."""
    documents: dict[str, Document] = {}
    offset, total = 0, 1
    while offset < total:
        page = await indexer.search(SearchRequest(query=query, limit=PAGE, offset=offset))
        if not page.hits:
            break
        documents |= {hit["id"]: hit for hit in page.hits}
        offset, total = offset + len(page.hits), page.total
    members = (member_of(document, query, threshold) for document in documents.values())
    return sorted((member for member in members if member), key=lambda member: member.ref)


def target_key(prefix: str, member: Member) -> str:
    """PREFIX/LABEL/NAME: the folders that torchvision's ImageFolder reads.

    NAME is bucket and key with ``~1`` for a slash and ``~0`` for a tilde (RFC 6901), so no two objects share one; one
    that is too long for a file is cut, with a digest of the whole.
    """
    name = _escape(str(member.ref))
    if len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        name = f"{name[: MAX_NAME // 8]}~{digest}{PurePosixPath(name).suffix[:6]}"
    folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
    return f"{folder}{_escape(member.label)}/{name}"


def _escape(text: str) -> str:
    return text.replace("~", "~0").replace("/", "~1")


@dataclass(kw_only=True)
class Misses:
    """Says when to stop looking: after ``in_a_row`` misses, or once hits are surely rarer than ``share``.

    The second is Wald's sequential test of the share against its half, which restarts where it decides for the share:
    with an ``error`` of 0.05 it stops wrongly in about one of twenty such decisions.
    https://en.wikipedia.org/wiki/Sequential_probability_ratio_test
    """

    in_a_row: int | None = None
    share: float | None = None
    error: float = 0.05
    row: int = 0
    evidence: float = 0.0

    def add(self, *, hit: bool) -> bool:
        """Note an object; whether to stop."""
        self.row = 0 if hit else self.row + 1
        if self.in_a_row is not None and self.row >= self.in_a_row:
            return True
        if self.share is None:
            return False
        half = self.share / 2
        self.evidence += math.log(half / self.share) if hit else math.log((1 - half) / (1 - self.share))
        bound = math.log((1 - self.error) / self.error)
        if self.evidence <= -bound:
            self.evidence = 0.0
        return self.evidence >= bound


@dataclass(kw_only=True)
class Copied:
    """What a copy came to; all but ``looked_at`` are disjoint."""

    looked_at: int = 0
    """Images, whether they match or not."""
    copied: int = 0
    present: int = 0
    """Copied before."""
    over_limit: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By code."""
    labels: Counter[str] = field(default_factory=Counter)
    """Copied now or before."""
    stopped_early: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


@dataclass(kw_only=True)
class CopyJob:
    """Copies members within the store. ``limit`` and ``limit_per_label``: at most so many, in all and of a label.

    ``rule_for`` names the rule that would have a copy labelled again, which is then refused; it is empty for none.
    """

    store: Store
    target: Scope
    limit: int | None = None
    limit_per_label: int | None = None
    dry_run: bool = False
    rule_for: Callable[[ObjectRef], str] = lambda _target: ""
    report: Callable[[Member, ObjectRef, str], None] = lambda _member, _target, _outcome: None
    done: Copied = field(default_factory=Copied)

    @property
    def is_full(self) -> bool:
        """Whether the limit in all is reached."""
        return self.limit is not None and self.done.labels.total() >= self.limit

    async def copy(self, member: Member) -> None:
        """Copy one, unless it is over a limit or there already. Raises Unavailable."""
        done = self.done
        is_over = self.limit_per_label is not None and done.labels[member.label] >= self.limit_per_label
        if self.is_full or is_over:
            done.over_limit += 1
            return
        done.labels[member.label] += 1  # at once, as others are copied meanwhile
        target = ObjectRef(self.target.bucket, target_key(self.target.prefix, member))
        try:
            if rule := self.rule_for(target):
                raise WriteRefused(f"{rule} admits {target}, so the copy would be labelled again", code="admitted")
            outcome = "would_copy" if self.dry_run else await self._copy(member, target)
        except (Conflict, Unreadable, WriteRefused) as error:
            done.refused[error.code] += 1
            done.labels -= Counter([member.label])
            self.report(member, target, f"{error.code}: {error.message}")
            return
        done.present += outcome == "present"
        done.copied += outcome != "present"
        self.report(member, target, outcome)

    async def copy_all(self, members: Iterable[Member]) -> None:
        """Copy these, several at once."""
        slots = anyio.Semaphore(COPIES)

        async def copy(member: Member) -> None:
            try:
                await self.copy(member)
            finally:
                slots.release()

        async with anyio.create_task_group() as tasks:
            for member in members:
                await slots.acquire()
                self.done.looked_at += 1
                tasks.start_soon(copy, member)

    async def _copy(self, member: Member, target: ObjectRef) -> str:
        state = await self.store.stat(member.ref)
        if state is None:
            raise Conflict(f"{member.ref} is gone", code="absent")
        if state.unreadable:
            raise Unreadable(f"its bytes cannot be read ({state.unreadable})", code=state.unreadable)
        copier: Any = self.store
        return "copied" if await copier.copy_object(state, target) else "present"


@dataclass(kw_only=True)
class Finder:
    """Finds by a query in a part of the store; what is not labelled is classified now, and nothing is written of it."""

    reconcile: Reconciler
    indexer: Indexer
    policies: PolicyResolver
    slots: int

    async def documents(self, scope: Scope) -> AsyncIterator[Document]:
        """The documents of all images there, in the order of their keys. Raises Unavailable, BucketAbsent."""
        batch: list[Listed] = []
        async for listed in self.reconcile.store.list(scope):
            if is_called_image(listed.ref.key, "") is not False:
                batch.append(listed)
            if len(batch) >= 2 * self.slots:
                for document in await self._documents(batch):
                    yield document
                batch = []
        for document in await self._documents(batch):
            yield document

    async def _documents(self, batch: Sequence[Listed]) -> list[Document]:
        ids = [document_id(self.reconcile.site, listed.ref) for listed in batch]
        indexed = await self.indexer.get(ids) if ids else {}
        found: list[Document | None] = [None] * len(batch)

        async def find(place: int) -> None:
            document = indexed.get(ids[place])
            if document is None or document["etag"] != batch[place].etag:
                document = await self._look(batch[place].ref)
            found[place] = document

        async with anyio.create_task_group() as tasks:
            for place in range(len(batch)):
                tasks.start_soon(find, place)
        return [document for document in found if document is not None]

    async def _look(self, ref: ObjectRef) -> Document | None:
        """From its mark, else from its bytes; None where it cannot be labelled."""
        reconcile = self.reconcile
        policy = self.policies(ref) or self.policies.general
        model = reconcile.models()[policy.model]
        vocabulary = reconcile.vocabularies(model.info, policy.labels)
        try:
            async with reconcile.store.open(ref) as body:
                if body is None:
                    return None
                inspected = inspect(body.state, policy.codec)
                entries = inspected.entries
                if not (inspected.is_genuine and inspected.etag_matches):
                    data = await fetch(body, policy.max_bytes)
                    with model.in_use():
                        inference = await model.classify(data, policy.limits, body.state)
                    entries = policy.codec.kept(
                        reconcile.entry_builder.build(body.state, inference, model.info, vocabulary)
                    )
        except (Conflict, Undecodable, Unreadable):
            return None
        options = reconcile.document_options
        return build_document(reconcile.site, body.state, entries, inspected.user, options, None, vocabulary)


async def copy_found(job: CopyJob, finder: Finder, scope: Scope, query: Query, threshold: float, stop: Misses) -> None:
    """Copy what the query finds in a part of the store, until a limit is reached or looking on is not worth it."""
    async for document in finder.documents(scope):
        job.done.looked_at += 1
        member = member_of(document, query, threshold) if matches(query.condition, document) else None
        if member:
            await job.copy(member)
        if stop.add(hit=member is not None):
            job.done.stopped_early = True
            return
        if job.is_full:
            return


@asynccontextmanager
async def open_finder(config: Config, store: Store, indexer: Indexer) -> AsyncIterator[Finder]:
    """A finder over parts that are entered. Raises ModelError, PluginError."""
    workers = await to_thread.run_sync(worker_count, config)

    def make(specs: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool | RemotePool:
        return make_pool(config, workers, specs, known)

    policies = await to_thread.run_sync(PolicyResolver, config)
    async with ModelGenerations(make) as generations:
        resolver = ModelResolver(config)
        specs = {"": await to_thread.run_sync(resolver.resolve), **await to_thread.run_sync(resolver.resolve_all)}
        await generations.replace(specs, await to_thread.run_sync(resolver.resolve_installed))
        reconcile = make_reconciler(config, policies, store, indexer, generations, metrics=Metrics(), health=Health())
        yield Finder(reconcile=reconcile, indexer=indexer, policies=policies, slots=workers + 1)


@asynccontextmanager
async def open_index_and_store(config: Config) -> AsyncIterator[tuple[Indexer, Store]]:
    """The index to look at, and the store. Raises Unavailable."""
    async with make_indexer(config, read_only=True) as indexer, make_store(config) as store:
        yield indexer, store
