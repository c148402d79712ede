"""What a backfill would do, said before anything is touched.

The listing and the index tell which objects it would look at (`imgtag.jobs.standing`). Of these, a random sample or all
are looked at by a HEAD, and the rule and the store decide about each as they would in the backfill, short of the write.
A few are read and classified, which gives the time, and the size of the entries that would be written.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import ceil, floor, sqrt
from typing import NamedTuple

import anyio
from anyio import to_thread

from imgtag.assembly import make_indexer, make_pool, make_store, worker_count
from imgtag.config.configuration import Config
from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.engine import make_reconciler
from imgtag.errors import Conflict, Unavailable, Undecodable, Unreadable, WriteRefused
from imgtag.flow.pages import divide
from imgtag.jobs.backfill import PAGE, Selection
from imgtag.jobs.standing import Judge, Standing, judge_by
from imgtag.models.resolver import DEFAULT, ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.classifier import Cost
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Forecast
from imgtag.reconcile import Judgement, Reconciler
from imgtag.stages.annotate import prepare_change
from imgtag.stages.fetch import fetch
from imgtag.types.document import Document, document_id
from imgtag.types.metadata import Entries
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool

SAMPLE = 1_000
"""Objects that are looked at, by default."""
SEED = 1
MAX_EXAMPLES = 3
CALIBRATION_IMAGES = 24
"""Images that are read and classified."""
CALIBRATION_SECONDS = 15.0
"""Seconds, at most, that this takes."""
LOOKS = 16
"""Objects that are looked at at once."""
_Z = 1.96
"""Standard deviations on either side of the mean that hold 95 % of a normal distribution."""
_WRITE_LOOKS = 3
"""Requests of an object besides its bytes, each taken to last as long as a look: HEAD, HEAD before the write, write."""


class Kind(NamedTuple):
    """What is found of an object; an object can have several. ``code`` tells apart what a kind sums up."""

    name: str
    code: str = ""


TO_LABEL, REINDEX, INDEX_ONLY = Kind("to_label"), Kind("reindex"), Kind("index_only")
NEW_VERSION, REPLICATED, LAST_MODIFIED = Kind("new_version"), Kind("replicated"), Kind("last_modified")
TYPE_UNKNOWN = Kind("type_unknown")
_READ, _SENT = Kind("read"), Kind("sent")
"""Not findings: the bytes of these objects are read, and sent again."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """How many objects are of a kind, and their bytes; ``low`` and ``high`` bound the objects with 95 % confidence.

    Both equal ``objects`` where all were looked at.
    """

    kind: Kind
    objects: int
    bytes: int
    low: int
    high: int
    examples: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a backfill of ``objects`` would do, by a look at ``sampled`` of the ``candidates`` among them."""

    objects: int
    bytes: int
    candidates: int
    sampled: int
    seed: int
    findings: tuple[Finding, ...]
    seconds: float
    """How long it would take, by the speed of ``calibrated`` images."""
    calibrated: int
    bytes_read: int
    """Of images."""
    bytes_sent: int
    """Of images, to the store again."""
    cost: Cost | None = None
    """What the classifier's server takes for it, where each image costs money; then none was classified now."""

    def count(self, name: str) -> int:
        """Objects of a kind, whatever the code."""
        return sum(finding.objects for finding in self.findings if finding.kind.name == name)

    def of_kind(self, name: str) -> tuple[Finding, ...]:
        """The findings of a kind, the most objects first."""
        return tuple(finding for finding in self.findings if finding.kind.name == name)


@dataclass
class Tally:
    """Counts objects of each kind as they are seen."""

    objects: Counter[Kind] = field(default_factory=Counter)
    bytes: Counter[Kind] = field(default_factory=Counter)
    examples: defaultdict[Kind, list[str]] = field(default_factory=lambda: defaultdict(list))
    reasons: dict[Kind, str] = field(default_factory=dict)
    all_objects: int = 0
    all_bytes: int = 0

    def add(self, listed: Listed, kinds: Mapping[Kind, str]) -> None:
        """Count an object of these kinds, each with a reason or none."""
        self.all_objects += 1
        self.all_bytes += listed.size
        for kind, reason in kinds.items():
            self.objects[kind] += 1
            self.bytes[kind] += listed.size
            self.reasons.setdefault(kind, reason)
            if len(self.examples[kind]) < MAX_EXAMPLES:
                self.examples[kind].append(str(listed.ref))

    def findings(self, objects: int, size: int) -> list[Finding]:
        """What is to be expected of so many objects with so many bytes, of which these are a random sample."""
        return [self.finding(kind, objects, size) for kind, _ in self.objects.most_common()]

    def finding(self, kind: Kind, objects: int, size: int) -> Finding:
        """As `findings`, of one kind."""
        count, missing = self.objects[kind], self.all_objects - self.objects[kind]
        share = count / self.all_objects if self.all_objects else 0.0
        low, high = wilson(count, self.all_objects) if self.all_objects < objects else (share, share)
        return Finding(
            kind=kind,
            objects=round(share * objects),
            bytes=round(self.bytes[kind] / self.all_bytes * size) if self.all_bytes else 0,
            # What was seen is certain.
            low=max(count, floor(low * objects)),
            high=min(objects - missing, ceil(high * objects)),
            examples=tuple(self.examples[kind]),
            reason=self.reasons.get(kind, ""),
        )


def wilson(count: int, tried: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion, by Wilson's score: it holds for few and for rare ones as well.

    https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval#Wilson_score_interval
    """
    if not tried:
        return 0.0, 1.0
    share, spread = count / tried, _Z * _Z / tried
    middle = (share + spread / 2) / (1 + spread)
    margin = _Z / (1 + spread) * sqrt(share * (1 - share) / tried + spread / (4 * tried))
    return max(0.0, middle - margin), min(1.0, middle + margin)


class Candidate(NamedTuple):
    """An object that a backfill would look at, and its document."""

    listed: Listed
    document: Document | None
    standing: Standing


@dataclass
class Reservoir:
    """A random sample of ``size`` of all that is added, each as likely as any other (Vitter's algorithm R)."""

    size: int
    seed: int
    seen: int = 0
    kept: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - no secret

    def add(self, candidate: Candidate) -> None:
        """Keep it, perhaps in the place of another."""
        self.seen += 1
        if len(self.kept) < self.size:
            self.kept.append(candidate)
        elif (place := self._random.randrange(self.seen)) < self.size:
            self.kept[place] = candidate

    def drawn(self) -> list[Candidate]:
        """The sample in random order, so that the first few of it are a sample too."""
        return self._random.sample(self.kept, len(self.kept))


@dataclass
class Calibration:
    """How fast a few objects were read and classified, and the entries that they would get."""

    entries: dict[ObjectRef, Entries] = field(default_factory=dict)
    sizes: dict[ObjectRef, int] = field(default_factory=dict)
    """Characters of the entries."""
    failures: Tally = field(default_factory=Tally)
    seconds: float = 0.0

    @property
    def images(self) -> int:
        """Those that were tried."""
        return self.failures.all_objects

    def expected_entries(self, ref: ObjectRef) -> Entries:
        """The entries of this object where it was classified, else those of medium size; none where there are none."""
        if not self.entries:
            return Entries()
        medium = sorted(self.sizes, key=self.sizes.__getitem__)[len(self.sizes) // 2]
        return self.entries.get(ref, self.entries[medium])


@dataclass(kw_only=True)
class Planner:
    """Plans over parts that only look. ``sample``: objects that are looked at, 0 for all."""

    reconcile: Reconciler
    indexer: Indexer
    judge: Judge
    slots: int
    """Images that are classified at once."""
    selection: Selection = field(default_factory=Selection)
    sample: int = SAMPLE
    seed: int = SEED
    outage: str = ""
    """Why the index cannot be asked; then nothing counts as indexed."""
    listed: int = 0
    looked_at: int = 0

    def __post_init__(self) -> None:
        self._passed_over = Tally()
        self._tally = Tally()
        self._calibration = Calibration()
        self._unknown: dict[Kind, str] = {}
        self._looking = 0.0

    async def plan(self, scopes: Iterable[Scope]) -> Plan:
        """List these parts of the store and look. Raises Unavailable, BucketAbsent."""
        reservoir, count, size = Reservoir(self.sample, self.seed), 0, 0
        async for page in self._pages(scopes):
            candidates = []
            for listed, document in page:
                self.listed += 1
                standing = self._passes_over(listed, document)
                if isinstance(standing, Standing):
                    candidates.append(Candidate(listed, document, standing))
                    size += listed.size
                else:
                    self._passed_over.add(listed, {Kind("skipped", standing): ""})
            count += len(candidates)
            if self.sample:
                for candidate in candidates:
                    reservoir.add(candidate)
            elif candidates:
                await self._look_at(candidates)
        if self.sample:
            await self._look_at(reservoir.drawn())
        return await self._conclude(count, size)

    def _passes_over(self, listed: Listed, document: Document | None) -> Standing | str:
        """How an object stands that a backfill would look at, or why it would not."""
        policy = self.judge.policy_of(listed.ref)
        if policy and self.selection.rule not in {None, policy.rule}:
            return "other_rule"
        if not self.selection.includes(listed):
            return "not_selected"
        standing = self.judge.judge(listed, document, policy)
        return standing if standing in self.selection.standings else standing.value

    async def _pages(self, scopes: Iterable[Scope]) -> AsyncIterator[list[tuple[Listed, Document | None]]]:
        """The objects with their documents, many at a time."""
        store = self.reconcile.store
        objects = (listed for scope in scopes async for listed in store.list(scope, with_metadata=True))
        async for page in divide(objects, PAGE):
            ids = [document_id(self.reconcile.site, listed.ref) for listed in page]
            documents = {} if self.outage else await self.indexer.get(ids)
            yield [(listed, documents.get(id_)) for listed, id_ in zip(page, ids, strict=True)]

    async def _look_at(self, candidates: Sequence[Candidate]) -> None:
        """Look at them, after a few of them were classified."""
        if not self._calibration.images and self._ask_cost is None:
            await self._calibrate(candidates)
        started, slots = time.monotonic(), anyio.Semaphore(LOOKS)

        async def look(candidate: Candidate) -> None:
            try:
                self._tally.add(candidate.listed, await self._look(candidate))
                self.looked_at += 1
            finally:
                slots.release()

        async with anyio.create_task_group() as tasks:
            for candidate in candidates:
                await slots.acquire()
                tasks.start_soon(look, candidate)
        self._looking += time.monotonic() - started

    async def _look(self, candidate: Candidate) -> dict[Kind, str]:
        """What the backfill would do with an object."""
        listed, document, _ = candidate
        policy = self.judge.policy_of(listed.ref)
        assert policy is not None, "what no rule names stands as not admitted"
        try:
            state = await self.reconcile.store.stat(listed.ref)
        except Unreadable as error:
            return {Kind("refused", error.code): error.message}
        except Conflict:
            return {TO_LABEL: "", _READ: ""}  # it is being written, as the backfill would find it later
        if state is None:
            return {Kind("skipped", "absent"): ""}
        judgement = self.reconcile.judge(state, policy, document)
        ending = self._settle(candidate, state, judgement, policy)
        if ending is not None:
            return ending
        kinds = {TO_LABEL: ""}
        if not self._needs_no_bytes(candidate.standing, judgement):
            kinds |= {_READ: ""} | ({TYPE_UNKNOWN: ""} if judgement.inspected.image is None else {})
        return kinds | await self._forecast(state, judgement.inspected.user, policy)

    def _settle(
        self, candidate: Candidate, state: ObjectState, judgement: Judgement, policy: ObjectPolicy
    ) -> dict[Kind, str] | None:
        """What becomes of an object that is not labelled; None for one that is."""
        inspected = judgement.inspected
        if judgement.is_excluded:
            return {Kind("skipped", "no_image"): ""}
        if candidate.standing in {Standing.MISSING, Standing.DIFFERING}:
            if judgement.is_believed:
                return {REINDEX: ""}
            if state.unreadable is None and inspected.is_genuine and inspected.etag_matches:
                return {REINDEX: "", _READ: ""}  # its bytes must prove that the mark is of them
        if not self._needs_no_bytes(candidate.standing, judgement):
            if state.unreadable:
                return {Kind("refused", state.unreadable): ""}
            if state.size > policy.max_bytes:
                return {Kind("refused", "too_large"): f"over max_bytes ({policy.max_bytes:,})"}
        return None

    def _needs_no_bytes(self, standing: Standing, judgement: Judgement) -> bool:
        """Whether new labels follow from kept scores."""
        return (
            standing is Standing.STALE
            and judgement.is_believed
            and judgement.inspected.entries.raw is not None
            and not {"model", "signature"} & set(judgement.stale)
        )

    async def _forecast(self, state: ObjectState, user: Mapping[str, str], policy: ObjectPolicy) -> dict[Kind, str]:
        """What the write-back would do."""
        store = self.reconcile.store
        if policy.strategy == "none":
            return {INDEX_ONLY: ""}
        entries = self._calibration.expected_entries(state.ref)
        ask = getattr(store, "forecast", None)
        try:
            change, readable = prepare_change(state, user, entries, policy, store.features)
            forecast: Forecast = await ask(change) if ask else Forecast()
            if forecast.refusal:
                raise forecast.refusal
        except WriteRefused as error:
            return {Kind("not_written", error.code): error.message}
        except Conflict:
            return {}
        for what in forecast.unknown:
            self._unknown[Kind("unknown", what)] = ""
        is_set = {
            NEW_VERSION: forecast.makes_version,
            LAST_MODIFIED: forecast.changes_time,
            REPLICATED: forecast.replicas > 0,
            _SENT: forecast.bytes_sent > 0,
        }
        kinds = [kind for kind, value in is_set.items() if value]
        kept = policy.codec.kept(entries)
        kinds += [
            Kind("dropped", part)
            for part in ("vec", "facts", "raw")
            if getattr(kept, part) and not getattr(readable, part)
        ]
        if len(readable.labels) < len(kept.labels):
            kinds.append(Kind("dropped", "labels"))
        kinds += [Kind("lifecycle", rule) for rule in forecast.restarts]
        return dict.fromkeys(kinds, "")

    async def _calibrate(self, candidates: Sequence[Candidate]) -> None:
        """Read and classify a few, as many at once as there are workers."""
        limiter, calibration = anyio.CapacityLimiter(self.slots), self._calibration
        started = time.monotonic()

        async def classify(listed: Listed) -> None:
            async with limiter:
                kinds: dict[Kind, str] = {}
                try:
                    if not await self._classify(listed):
                        return
                except Undecodable as error:
                    kinds = {Kind("failed", error.code): error.message}
                except (Unreadable, Conflict):
                    return
            calibration.failures.add(listed, kinds)
            calibration.seconds = time.monotonic() - started

        with anyio.move_on_after(CALIBRATION_SECONDS):
            async with anyio.create_task_group() as tasks:
                for listed, _, _ in islice(candidates, CALIBRATION_IMAGES):
                    tasks.start_soon(classify, listed)

    async def _classify(self, listed: Listed) -> bool:
        """Find what would be written on an object; whether it was classified, well or not."""
        policy = self.judge.policy_of(listed.ref)
        assert policy is not None, "a candidate is admitted"
        async with self.reconcile.store.open(listed.ref) as body:
            if body is None:
                return False
            data = await fetch(body, policy.max_bytes)
        model = self.reconcile.models()[policy.model]
        with model.in_use():
            inference = await model.classify(data, policy.limits, body.state)
        vocabulary = self.reconcile.vocabularies(model.info, policy.labels)
        entries = self.reconcile.entry_builder.build(body.state, inference, model.info, vocabulary)
        metadata = policy.codec.pack(entries, {}, limit=None).metadata
        self._calibration.entries[listed.ref] = entries
        self._calibration.sizes[listed.ref] = sum(len(name) + len(value) for name, value in metadata.items())
        return True

    @property
    def _ask_cost(self) -> Callable[[int], Awaitable[Cost]] | None:
        """What tells the cost of images, where they cost money (`imgtag.plugin.Priced`)."""
        ask: Callable[[int], Awaitable[Cost]] | None = getattr(self.reconcile.models()[DEFAULT].remote, "cost", None)
        return ask

    async def _conclude(self, candidates: int, size: int) -> Plan:
        tally, calibration = self._tally, self._calibration
        read, sent = (tally.finding(kind, candidates, size) for kind in (_READ, _SENT))
        expected = [each for each in tally.findings(candidates, size) if each.kind not in {_READ, _SENT}]
        failed = calibration.failures.findings(read.objects, read.bytes)
        skipped = self._passed_over.findings(self._passed_over.all_objects, self._passed_over.all_bytes)
        if self.outage:
            self._unknown[Kind("unknown", "index")] = self.outage
        unknown = [
            Finding(kind=kind, objects=0, bytes=0, low=0, high=0, reason=reason)
            for kind, reason in sorted(self._unknown.items())
        ]
        classifying = calibration.seconds / calibration.images * read.objects if calibration.images else 0.0
        cost = await self._ask_cost(read.objects) if self._ask_cost else None
        classifying = cost.seconds if cost else classifying
        looking = self._looking / self.looked_at * candidates * _WRITE_LOOKS if self.looked_at else 0.0
        return Plan(
            objects=self.listed,
            bytes=size + self._passed_over.all_bytes,
            candidates=candidates,
            sampled=tally.all_objects,
            seed=self.seed,
            findings=(*expected, *failed, *skipped, *unknown),
            seconds=classifying + looking,
            calibrated=calibration.images,
            bytes_read=read.bytes,
            bytes_sent=sent.bytes,
            cost=cost,
        )


@asynccontextmanager
async def open_planner(config: Config, *, sample: int = SAMPLE, seed: int = SEED) -> AsyncIterator[Planner]:
    """A planner over read-only parts. Raises Unavailable, ModelError, PluginError, InvalidConfig."""
    workers = await to_thread.run_sync(worker_count, config)

    def make(specs: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool | RemotePool:
        return make_pool(config, workers, specs, known)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(make_store(config, read_only=True))
        indexer, outage = make_indexer(config, read_only=True), ""
        try:
            await stack.enter_async_context(indexer)
        except Unavailable as error:
            outage = error.message
        generations = await stack.enter_async_context(ModelGenerations(make))
        resolver = ModelResolver(config)
        specs = await to_thread.run_sync(resolver.resolve_all)
        await generations.replace(specs, await to_thread.run_sync(resolver.resolve_installed))
        policy_of = await to_thread.run_sync(PolicyResolver, config)
        reconcile = make_reconciler(config, policy_of, store, indexer, generations, metrics=Metrics(), health=Health())
        yield Planner(
            reconcile=reconcile,
            indexer=indexer,
            judge=judge_by(reconcile),
            slots=workers + 1,
            sample=sample,
            seed=seed,
            outage=outage,
        )
