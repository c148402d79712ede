"""The rule: look at the object as it is now, and make its metadata and its document agree with it.

An event is a hint, the store is the truth. Redelivery, reordering, crash recovery and repair are
all this one function:

    absent, and its bucket is there      -> delete its document
    not admitted by the rules            -> no document
    marked, and the mark holds           -> document from headers and entries alone
    known to the index as done or poison -> nothing, until the content changes or somebody asks
    otherwise                            -> read, classify, write back, document, index
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum

import anyio

from imgtag.errors import Conflict, ImgtagError, Unavailable, Undecodable, Unreadable
from imgtag.flow.budget import ByteBudget
from imgtag.labels.difference import compare_labels
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.vocabulary import Vocabulary
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Delete, Upsert
from imgtag.plugin.store import Body, Store
from imgtag.stages.annotate import Annotated, Annotator, Way
from imgtag.stages.classify import EntryBuilder, Vocabularies
from imgtag.stages.compare import require_right
from imgtag.stages.document import DocumentOptions, build_document
from imgtag.stages.fetch import fetch
from imgtag.stages.index import Index
from imgtag.stages.inspect import Inspected, inspect
from imgtag.types.document import Document, Problem, document_id
from imgtag.types.event import Hint, Intent
from imgtag.types.image_formats import sniff
from imgtag.types.labels import Raw
from imgtag.types.mark import content_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.workers.generations import Model
from imgtag.workers.pool import PictureLimits

log = logging.getLogger(__name__)

_RESTARTS = 3
"""How often an object that changes under our hands is begun anew before it waits."""


_MARKLESS = frozenset({"none", "tags"})
"""Strategies that leave no mark on the object: its document stands in for it."""


class Result(StrEnum):
    """What one look at an object came to."""

    LABELLED = "labelled"
    RELABELLED = "relabelled"
    """From the scores that were kept, without inference; the strategy `put` sends the bytes again all the same."""
    UNLABELLED = "unlabelled"
    REINDEXED = "reindexed"
    CURRENT = "current"
    DELETED = "deleted"
    ABSENT = "absent"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Treatment:
    """What the rules say of one object."""

    model: Model
    policy: LabelPolicy
    way: Way
    max_bytes: int
    limits: PictureLimits
    settle: float = 0.0
    """Seconds to wait before the write, for clients that tag after they upload."""
    shadow: Model | None = None
    """A second model, which only reports."""


@dataclass(frozen=True, kw_only=True)
class IndexState:
    """What the index says: its document, None; or nothing at all, because it does not answer."""

    document: Document | None = None
    error: Unavailable | None = None


class Poison(Exception):
    """An object that cannot be labelled; its document says so already."""

    def __init__(self, ref: ObjectRef, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.ref = ref
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Applies the rule to one hint at a time; whoever calls keeps one key's hints in sequence."""

    author: EntryBuilder
    options: DocumentOptions
    treat: Callable[[ObjectRef], Treatment | None]
    store: Store
    index: Index
    annotator: Annotator
    budget: ByteBudget
    metrics: Metrics
    vocabularies: Vocabularies = field(default_factory=Vocabularies)

    async def __call__(self, hint: Hint) -> Result:
        """Look at the object of ``hint``. Raises Poison, and any error that is to be tried again."""
        for _ in range(_RESTARTS):
            try:
                return await self._look(hint)
            except Conflict:
                self.metrics.conflict()
        raise Conflict(f"{hint.ref} keeps changing", hint="It is tried again when it has come to rest.")

    async def _look(self, hint: Hint) -> Result:
        known = await self._known(hint.ref)
        treatment = self.treat(hint.ref)
        if treatment is None:
            return await self._undocumented(hint.ref, known, Result.SKIPPED)
        with treatment.model.used():
            return await self._treated(hint, treatment, known)

    async def _treated(self, hint: Hint, treatment: Treatment, known: IndexState) -> Result:
        async with AsyncExitStack() as stack:
            with self.metrics.stage("inspect"):
                body = await stack.enter_async_context(self.store.open(hint.ref))
            if body is None:
                return await self._absent(hint, known)
            found = inspect(body.state, treatment.way.codec)
            settled = await self._without_body(hint, found, treatment, known)
            if settled is not None:
                return settled
            return await self._with_body(hint, found, body, treatment, known, stack)

    async def _absent(self, hint: Hint, known: IndexState) -> Result:
        """A bucket without any object is believed where a deletion was heard of; else it may be the wrong server's."""
        if known.document is not None and not hint.removed:
            await require_right(self.store, hint.ref.bucket)
        return await self._undocumented(hint.ref, known, Result.ABSENT)

    async def _without_body(
        self, hint: Hint, found: Inspected, treatment: Treatment, known: IndexState
    ) -> Result | None:
        """What headers and the index decide; None where the bytes are needed."""
        if found.image is False:
            return await self._undocumented(hint.ref, known, Result.SKIPPED)
        if found.holds and not self._wanted_anew(hint, found, treatment):
            return await self._marked(found, treatment, known)
        if hint.intent is Intent.NORMAL and _checkpoint(known.document, found.state, treatment):
            return Result.CURRENT
        return None

    def _stale(self, found: Inspected, treatment: Treatment) -> bool:
        mark, said = found.entries.mark, self._vocabulary(treatment)
        return mark is not None and (mark.model, mark.rules) != (said.model, said.digest)

    def _wanted_anew(self, hint: Hint, found: Inspected, treatment: Treatment) -> bool:
        return hint.intent is Intent.STALE and self._stale(found, treatment)

    async def _marked(self, found: Inspected, treatment: Treatment, known: IndexState) -> Result:
        """A mark that holds is taken as it is, and counted where it is of another model or of other rules."""
        if self._stale(found, treatment):
            self.metrics.stale()
        return await self._indexed(found, treatment, known)

    async def _with_body(
        self, hint: Hint, found: Inspected, body: Body, treatment: Treatment, known: IndexState, stack: AsyncExitStack
    ) -> Result:
        size = min(found.state.size, treatment.max_bytes)
        async with self.budget.reserve(size):
            try:
                data = await self._read(body, treatment.max_bytes)
                await stack.aclose()
                if found.image is None and sniff(data) is None:
                    return await self._undocumented(found.state.ref, known, Result.SKIPPED)
                if not (found.holds or await self._same_content(found, data)):
                    return await self._labelled(found, data, treatment)
                if not self._wanted_anew(hint, found, treatment):
                    return await self._marked(found, treatment, known)
                return await self._relabelled(found, data, treatment)
            except (Unreadable, Undecodable) as error:
                raise await self._poisoned(found, treatment, error) from error

    async def _read(self, body: Body, limit: int) -> bytes:
        with self.metrics.stage("fetch"):
            data = await fetch(body, limit)
        self.metrics.read(len(data))
        return data

    async def _same_content(self, found: Inspected, data: bytes) -> bool:
        """Whether a mark was made from these bytes, though the ETag is another: a store that changes ETags, a
        copy, a second upload of the same file.
        """
        mark = found.entries.mark
        if mark is None or not found.genuine:
            return False
        return mark.content == await anyio.to_thread.run_sync(content_digest, data)

    async def _labelled(self, found: Inspected, data: bytes, treatment: Treatment) -> Result:
        with self.metrics.stage("classify"):
            inference = await treatment.model.classify(data, treatment.limits)
        self.metrics.observed("decode", inference.decode)
        self.metrics.observed("infer", inference.infer)
        entries = self.author.entries(found.state, inference, treatment.model.info, self._vocabulary(treatment))
        done = await self._annotate(found, entries, treatment, data)
        await self._shadowed(inference.raw, data, treatment)
        return Result.LABELLED if done.entries.labels else Result.UNLABELLED

    async def _shadowed(self, raw: Raw, data: bytes, treatment: Treatment) -> None:
        """Count what another model would have changed. Whatever becomes of that is nothing to the object."""
        shadow = treatment.shadow
        if shadow is None:
            return
        try:
            with self.metrics.stage("shadow"):
                other = await shadow.classify(data, treatment.limits)
        except ImgtagError:
            self.metrics.shadow_failed(shadow.info.id)
            return
        said = self._vocabulary(treatment).select_labels(raw)
        instead = self.vocabularies(shadow.info, treatment.policy).select_labels(other.raw)
        self.metrics.shadow(shadow.info.id, compare_labels(said, instead))

    async def _relabelled(self, found: Inspected, data: bytes, treatment: Treatment) -> Result:
        """By other rules, of the scores that this model gave; by inference where they are not there."""
        mark, raw, said = found.entries.mark, found.entries.raw, self._vocabulary(treatment)
        if mark is None or raw is None or mark.model != said.model:
            return await self._labelled(found, data, treatment)
        await self._annotate(
            found, self.author.relabelled(found.state, found.entries, mark, raw, said), treatment, data
        )
        facts = {"bucket": found.state.ref.bucket, "key": found.state.ref.key, "bytes": len(data)}
        log.info("labels made anew without inference; `put` sends the bytes again", extra=facts)
        return Result.RELABELLED

    async def _annotate(self, found: Inspected, entries: Entries, treatment: Treatment, data: bytes) -> Annotated:
        with self.metrics.stage("annotate"):
            done = await self._write(found, entries, treatment, data)
        await self._upsert(self._document(done.state, done.entries, found.user, treatment, done.problem))
        return done

    async def _write(self, found: Inspected, entries: Entries, treatment: Treatment, data: bytes) -> Annotated:
        if treatment.settle:
            await anyio.sleep(treatment.settle)
        done = await self.annotator.annotate(found.state, found.user, entries, treatment.way, data)
        if done.written:
            self.metrics.wrote()
        if done.problem:
            self.metrics.write_refused(done.problem.code)
        return done

    async def _indexed(self, found: Inspected, treatment: Treatment, known: IndexState) -> Result:
        """Bring the index in line with a labelled object: no body, no inference, no write."""
        document = self._document(found.state, found.entries, found.user, treatment)
        if known.document == document:
            return Result.CURRENT
        await self._upsert(document)
        return Result.REINDEXED

    async def _undocumented(self, ref: ObjectRef, known: IndexState, result: Result) -> Result:
        if known.error:
            raise known.error
        if known.document is None:
            return result
        with self.metrics.stage("index"):
            await self.index.apply(Delete(document_id(self.author.site, ref)))
        return Result.DELETED

    async def _poisoned(self, found: Inspected, treatment: Treatment, error: Unreadable | Undecodable) -> Poison:
        status = "refused" if isinstance(error, Unreadable) else "failed"
        problem = Problem.of(error, status)
        await self._upsert(self._document(found.state, Entries(), found.user, treatment, problem))
        return Poison(found.state.ref, problem)

    async def _known(self, ref: ObjectRef) -> IndexState:
        try:
            return IndexState(document=await self.index.lookup(document_id(self.author.site, ref)))
        except Unavailable as error:
            return IndexState(error=error)

    async def _upsert(self, document: Document) -> None:
        with self.metrics.stage("index"):
            await self.index.apply(Upsert(document))

    def _vocabulary(self, treatment: Treatment) -> Vocabulary:
        return self.vocabularies(treatment.model.info, treatment.policy)

    def _spoken(self, entries: Entries, treatment: Treatment) -> Vocabulary:
        """The vocabulary of the model that an object was labelled by; where that is not known, of the one in use."""
        model = treatment.model
        info = model.known.get(entries.mark.model, model.info) if entries.mark else model.info
        return self.vocabularies(info, treatment.policy)

    def _document(
        self,
        state: ObjectState,
        entries: Entries,
        user: Mapping[str, str],
        treatment: Treatment,
        problem: Problem | None = None,
    ) -> Document:
        said = self._spoken(entries, treatment)
        return build_document(self.author.site, state, entries, user, self.options, problem, said)


def _checkpoint(document: Document | None, state: ObjectState, treatment: Treatment) -> bool:
    """Whether the document stands in for a mark: nothing could be, or was to be, written on this content."""
    if document is None or document.get("etag") != state.etag:
        return False
    return document["status"] in {"refused", "failed"} or treatment.way.strategy in _MARKLESS or "code" in document
