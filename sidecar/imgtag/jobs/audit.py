"""Compare store, labels and index, and mend what differs.

Objects, their versions and the documents come in the order of their keys, so memory does not grow with their number.
Nothing is believed at first sight: listing and index are read at different moments, so each finding is confirmed by
another look at its object and its document.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, get_args

import anyio
from anyio import to_thread

from imgtag.engine import JobParts
from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable
from imgtag.flow.backoff import until_answered
from imgtag.flow.pages import divide
from imgtag.jobs.backfill import Gate, ListedScope
from imgtag.jobs.report import Report, Row
from imgtag.jobs.standing import Judge, Standing, carries_mark
from imgtag.plugin.indexer import SearchRequest
from imgtag.plugin.store import VersionLister
from imgtag.query import Is, Query
from imgtag.stages.compare import require_right_bucket
from imgtag.types.document import Document, document_id
from imgtag.types.event import Hint
from imgtag.types.folding import normalise
from imgtag.types.image_formats import is_image
from imgtag.types.image_names import is_called_image
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope, outermost

PAGE = 1_000
"""Keys that are judged together."""
MAX_DELETIONS = 0.05
"""Part of the documents in scope that a repair deletes without asking."""
FIELDS = ("etag", "revision", "status", "code", "model", "rules", "labelled", "labels", "scores", "space", "width")
"""Of a document, what is compared."""

Kind: TypeAlias = Literal["missing", "orphaned", "differing"]
Count: TypeAlias = Literal["current", "stale", "unlabelled", "refused", "failed", "missing"]
_COUNTS: Mapping[Standing, Count] = {
    Standing.CURRENT: "current",
    Standing.INCOMPLETE: "current",
    Standing.STALE: "stale",
    Standing.UNLABELLED: "unlabelled",
    Standing.REFUSED: "refused",
    Standing.FAILED: "failed",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A key where store and index do not agree, and in what.

    ``reason`` is ``no_document``; ``object_gone`` or ``no_rule`` of an orphaned document; ``hides_newer`` of a version
    of ours that hides a newer upload or delete marker; else what differs, as `Judge.compare` names it.
    """

    kind: Kind
    ref: ObjectRef
    reason: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be said of one key: how its object is counted, None where it is not; and a finding, if any."""

    ref: ObjectRef
    count: Count | None = None
    finding: Finding | None = None


@dataclass(kw_only=True)
class Counts:
    """The counts from ``current`` to ``missing`` are disjoint and sum to ``objects``: the images that rules admit.

    They say how the index describes an object; ``differing`` counts those that it describes wrongly.
    """

    objects: int = 0
    current: int = 0
    stale: int = 0
    unlabelled: int = 0
    refused: int = 0
    failed: int = 0
    missing: int = 0
    orphaned: int = 0
    differing: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether there is no finding."""
        return not any(self.findings.values())

    @property
    def findings(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {kind: getattr(self, kind) for kind in get_args(Kind)}

    def add(self, verdict: Verdict, number: int = 1) -> None:
        """Count a key; -1 takes it back."""
        if verdict.count:
            self.objects += number
            setattr(self, verdict.count, getattr(self, verdict.count) + number)
        if verdict.finding and verdict.finding.kind != "missing":
            setattr(self, verdict.finding.kind, getattr(self, verdict.finding.kind) + number)

    def as_dict(self) -> dict[str, int]:
        """For JSON and metrics."""
        return asdict(self)


@dataclass(slots=True)
class _Pair:
    """What store and index have of one key."""

    ref: ObjectRef
    listed: Listed | None
    document: Document | None
    is_misplaced: bool = False


class Spool:
    """Findings in a file without a name in ``folder``, because there may be as many as objects. Blocking."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, verdicts: Sequence[Verdict]) -> None:
        """Keep verdicts with findings."""
        self._file.writelines(json.dumps(asdict(verdict)).encode() + b"\n" for verdict in verdicts)

    def read(self, place: int) -> list[bytes]:
        """Up to a page of what was kept, one a line, from this byte on."""
        self._file.seek(place)
        return list(islice(self._file, PAGE))


@dataclass(kw_only=True)
class Audit:
    """One comparison, and then perhaps a repair of what it found.

    ``gate`` admits each look at a single object, ``show`` gets each finding, ``report`` a row for each key. With
    ``quick`` a labelled object is believed without a request of its own where the listing has no metadata. ``spool``
    keeps the findings until they are repaired or compared again; None where that is not wanted.
    """

    parts: JobParts
    judge: Judge
    gate: Gate
    buckets: Collection[str]
    """Those that rules name: of another one, no object is admitted, and none is listed."""
    show: Callable[[Finding], None] = lambda _finding: None
    report: Report | None = None
    quick: bool = False
    spool: Spool | None = None
    counts: Counts = field(default_factory=Counts)
    documents: int = 0
    """In scope."""
    repaired: int = 0

    async def compare(self, scopes: Sequence[Scope]) -> None:
        """Look at everything in the scopes.

        Raises BucketAbsent where a bucket is not there and the index has documents of it, Unavailable where the index
        does not answer, and any other ImgtagError that waiting does not mend.
        """
        for scope in outermost(scopes):
            pairs = self._pairs(scope)
            while page := await self._next_page(pairs):
                await self._judge_page(page)

    @property
    def deletes_many(self) -> bool:
        """Whether a repair would delete more of the index than it may without a question."""
        return self.counts.orphaned > MAX_DELETIONS * self.documents

    async def repair(self) -> None:
        """Work off what `compare` found, then `compare_again`. What is merely stale is not labelled again.

        Raises ImgtagError where it cannot go on.
        """
        if self.spool is None:
            return
        pending = anyio.Semaphore(PAGE, fast_acquire=True)
        async with anyio.create_task_group() as beside:
            beside.start_soon(self.parts.pipeline.confirm_writes)
            async with anyio.create_task_group() as work:
                async for verdict in self._found():
                    await pending.acquire()
                    work.start_soon(self._repair_one, verdict, pending)
            beside.cancel_scope.cancel("done")
        await self.compare_again()

    async def compare_again(self) -> None:
        """Compare just those keys where `compare` found something; `counts` are then those of that look.

        ``show`` gets what is still found. Raises ImgtagError where it cannot go on.
        """
        async for page in divide(self._found(), PAGE):
            await self._compare_page_again(page)

    async def _repair_one(self, verdict: Verdict, pending: anyio.Semaphore) -> None:
        finding = verdict.finding
        if finding is None:
            return
        try:
            # Of an orphan, and of what is hidden, the bucket was seen: that the object is gone is proven.
            is_proven = finding.kind == "orphaned" or finding.reason == "hides_newer"
            async with self.gate.admit(finding.size):
                await self.parts.pipeline.process_until_done(Hint(ref=finding.ref, removed=is_proven))
            self.repaired += 1
        finally:
            pending.release()

    async def _compare_page_again(self, page: Sequence[Verdict]) -> None:
        """Count these keys as they are now."""
        pairs = [_Pair(verdict.ref, None, None) for verdict in page]
        for before, pair in zip(page, pairs, strict=True):
            if before.finding and before.finding.reason == "hides_newer":
                pair.is_misplaced = await self._is_misplaced(before.ref)
        for before, verdict in zip(page, await self._look_at(pairs), strict=True):
            self.counts.add(before, -1)
            self.counts.add(verdict)
            if verdict.finding:
                self.show(verdict.finding)

    async def _is_misplaced(self, ref: ObjectRef) -> bool:
        misplaced = self._list_misplaced(Scope(ref.bucket, ref.key))
        return ref in [other async for other in misplaced if other.key == ref.key]

    def _list_misplaced(self, scope: Scope) -> AsyncIterator[ObjectRef]:
        store = self.parts.store
        return store.list_misplaced(scope) if isinstance(store, VersionLister) else _nothing()

    async def _pairs(self, scope: Scope) -> AsyncIterator[_Pair]:
        """What store and index have of each key, in order. Raises BucketAbsent, Unavailable."""
        documents = aiter(self.parts.indexer.scan(self.parts.site, scope, fields=FIELDS))
        document = await self._next_document(documents)
        is_named = scope.bucket in self.buckets
        if document is not None and is_named:
            await require_right_bucket(self.parts.store, scope.bucket)
        try:
            misplaced = self._list_misplaced(scope) if is_named else _nothing()
            hidden = await anext(misplaced, None)
            async for _, listed in ListedScope(self.parts.store, scope).objects("") if is_named else _nothing():
                ref, place = listed.ref, listed.ref.key.encode()
                while document is not None and document["key"].encode() < place:
                    yield _Pair(ObjectRef(scope.bucket, document["key"]), None, document)
                    document = await self._next_document(documents)
                while hidden is not None and hidden.key.encode() < place:
                    hidden = await anext(misplaced, None)
                same = document is not None and document["key"] == ref.key
                yield _Pair(ref, listed, document if same else None, is_misplaced=hidden == ref)
                if same:
                    document = await self._next_document(documents)
        except BucketAbsent:
            if document is not None:
                raise
        while document is not None:
            yield _Pair(ObjectRef(scope.bucket, document["key"]), None, document)
            document = await self._next_document(documents)

    async def _next_page(self, pairs: AsyncIterator[_Pair]) -> list[_Pair]:
        """The next pairs, as soon as bulk work may go on: a listing is a load, too, and may be all that there is."""
        page = []
        async with self.gate.admit():
            async for pair in pairs:
                page.append(pair)
                if len(page) == PAGE:
                    break
        return page

    async def _next_document(self, documents: AsyncIterator[Document]) -> Document | None:
        document = await anext(documents, None)
        self.documents += document is not None
        return document

    async def _judge_page(self, page: Sequence[_Pair]) -> None:
        """Judge keys, confirm what is found, and count, show and keep it in order."""
        await self._for_each([pair for pair in page if self._needs_head(pair)], self._read_head)
        verdicts = [self._judge(pair) for pair in page]
        suspects = [
            pair for pair, verdict in zip(page, verdicts, strict=True) if verdict.finding and not pair.is_misplaced
        ]
        confirmed = {verdict.ref: verdict for verdict in await self._look_at(suspects)}
        verdicts = [confirmed.get(verdict.ref, verdict) for verdict in verdicts]
        for verdict in verdicts:
            self.counts.add(verdict)
            ref, finding = verdict.ref, verdict.finding
            if finding:
                self.show(finding)
            if self.report and (verdict.count or finding):
                outcome, reason = (finding.kind, finding.reason) if finding else (verdict.count or "", "")
                self.report.add(Row(bucket=ref.bucket, key=ref.key, outcome=outcome, reason=reason))
        await to_thread.run_sync(self._save, [verdict for verdict in verdicts if verdict.finding])

    def _needs_head(self, pair: _Pair) -> bool:
        """Whether only a request for the object itself shows whether labels and mark are there."""
        if self.quick or pair.listed is None or pair.document is None or pair.listed.metadata is not None:
            return False
        policy = self.judge.policy_of(pair.ref)
        labelled = pair.document["status"] not in {"refused", "failed"}
        return labelled and policy is not None and carries_mark(pair.document, policy)

    async def _read_head(self, pair: _Pair) -> None:
        """Put what a look at the object shows in the place of what the listing did."""
        with suppress(Unreadable, Conflict):
            state = await self._stat(pair.ref)
            pair.listed = _listed(state) if state else None

    def _judge(self, pair: _Pair) -> Verdict:
        """What is to be said of a key by what was read of it."""
        policy, ref, document = self.judge.policy_of(pair.ref), pair.ref, pair.document
        if policy is None or pair.listed is None:
            reason = "no_rule" if policy is None else "object_gone"
            return Verdict(ref=ref, finding=Finding(kind="orphaned", ref=ref, reason=reason) if document else None)
        if document is None:
            if is_called_image(ref.key, "") is False:
                return Verdict(ref=ref)
            return Verdict(ref=ref, count="missing", finding=self._finding("missing", pair.listed, "no_document"))
        standing, difference = self.judge.compare(pair.listed, document, policy)
        reason = "hides_newer" if pair.is_misplaced else difference
        finding = self._finding("differing", pair.listed, reason) if reason else None
        return Verdict(ref=ref, count=_COUNTS[standing], finding=finding)

    async def _look_at(self, pairs: Sequence[_Pair]) -> Sequence[Verdict]:
        """Judge these keys by a look at each object, and by the documents that there are now."""
        if not pairs:
            return ()
        ids = [document_id(self.parts.site, pair.ref) for pair in pairs]
        # The object first: a sidecar that works on it indexes it after it has written on it.
        verdicts: dict[ObjectRef, Verdict] = {}
        states: dict[ObjectRef, ObjectState | Unreadable | None] = {}

        async def read(pair: _Pair) -> None:
            try:
                states[pair.ref] = await self._stat(pair.ref)
            except Unreadable as error:
                states[pair.ref] = error

        await self._for_each([pair for pair in pairs if pair.ref.bucket in self.buckets], read)
        documents = await until_answered(lambda: self.parts.indexer.get(ids))

        async def judge(pair: _Pair) -> None:
            state, document = states.get(pair.ref), documents.get(document_id(self.parts.site, pair.ref))
            if isinstance(state, Unreadable):
                # Not even whether it exists can be known; the index keeps what it knows.
                verdicts[pair.ref] = Verdict(ref=pair.ref, count="refused")
            elif state and document is None and not await self._is_image(state):
                verdicts[pair.ref] = Verdict(ref=pair.ref)
            else:
                listed = _listed(state) if state else None
                verdicts[pair.ref] = self._judge(_Pair(pair.ref, listed, document, pair.is_misplaced))

        await self._for_each(pairs, judge)
        return [verdicts[pair.ref] for pair in pairs]

    async def _stat(self, ref: ObjectRef) -> ObjectState | None:
        async with self.gate.admit():
            with self.parts.metrics.stage("inspect"):  # from which a governor learns how fast the store answers
                return await until_answered(lambda: self.parts.store.stat(ref))

    async def _is_image(self, state: ObjectState) -> bool:
        """Whether an object that the index lacks should be in it: if nothing else tells, its first bytes do."""
        policy, is_called = self.judge.policy_of(state.ref), is_called_image(state.ref.key, state.content_type)
        if policy is None or is_called is not None or state.size > policy.max_bytes:
            return policy is not None and is_called is True
        try:
            async with self.gate.admit(state.size), self.parts.store.open(state.ref) as body:
                return body is not None and is_image(await body.read(policy.max_bytes))
        except Unreadable:
            return True  # a look at it would say so in a document
        except (Conflict, Unavailable):
            return False  # it changes at this moment, so that an event is on its way

    async def _for_each(self, pairs: Sequence[_Pair], work: Callable[[_Pair], Coroutine[Any, Any, None]]) -> None:
        async with anyio.create_task_group() as tasks:
            for pair in pairs:
                tasks.start_soon(work, pair)

    def _finding(self, kind: Kind, listed: Listed, reason: str) -> Finding:
        return Finding(kind=kind, ref=listed.ref, reason=reason, size=listed.size)

    def _save(self, verdicts: Sequence[Verdict]) -> None:
        if self.report:
            self.report.write(self.report.take())
        if self.spool:
            self.spool.add(verdicts)

    async def _found(self) -> AsyncIterator[Verdict]:
        """What was found, from the beginning."""
        place = 0
        while self.spool and (lines := await to_thread.run_sync(self.spool.read, place)):
            place += sum(map(len, lines))
            for line in lines:
                fields = json.loads(line)
                ref = ObjectRef(**fields["ref"])
                yield Verdict(ref=ref, count=fields["count"], finding=Finding(**{**fields["finding"], "ref": ref}))


async def find_scopes(parts: JobParts, buckets: Sequence[str], *, has_rules: bool) -> list[Scope]:
    """Everything to compare: the buckets that rules name, and those of which the index has documents all the same.

    Without rules, everything in the store is admitted, and a document of another bucket is from another store.
    """
    request = SearchRequest(query=Query("", Is("site", (normalise(parts.site),))), limit=0, facets=("bucket",))
    indexed = (await parts.indexer.search(request)).facets["bucket"] if has_rules else {}
    return [Scope(bucket) for bucket in dict.fromkeys((*buckets, *sorted(indexed)))]


def _listed(state: ObjectState) -> Listed:
    return Listed(
        ref=state.ref,
        etag=state.etag,
        size=state.size,
        modified=state.modified,
        revision=state.revision,
        metadata=state.metadata,
    )


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
