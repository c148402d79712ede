"""The rule: look at the object as it is now, and make its metadata and its document agree with it.

An event is a hint, the store is the truth. Redelivery, reordering, crash recovery and repair are
all this one function:

    absent, and its bucket is there      -> delete its document
    not admitted by the rules            -> no document
    marked, and the mark holds           -> document from headers and entries alone
    known to the index as done or poison -> nothing, until the content changes or a retry is requested
    otherwise                            -> read, classify, write back, document, index
"""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property

import anyio

from imgtag.config.policy import ObjectPolicy
from imgtag.errors import Conflict, ImgtagError, Unavailable, Undecodable, Unreadable
from imgtag.flow.budget import ByteBudget
from imgtag.labels.difference import compare_labels
from imgtag.labels.vocabulary import Vocabulary
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.classifier import ModelInfo
from imgtag.plugin.indexer import Delete, Upsert
from imgtag.plugin.store import Body, Store
from imgtag.stages.annotate import Annotator
from imgtag.stages.classify import EntryBuilder, Vocabularies
from imgtag.stages.compare import NoImages, is_of_content, may_pass, require_right_bucket
from imgtag.stages.document import DocumentOptions, build_document
from imgtag.stages.fetch import fetch
from imgtag.stages.index import Index
from imgtag.stages.inspect import Inspected, inspect
from imgtag.stages.receive import OwnWrites, reports_write_with_mark
from imgtag.types.document import Document, Problem, document_id
from imgtag.types.event import Hint, Intent
from imgtag.types.image_formats import is_image
from imgtag.types.image_names import is_called_image
from imgtag.types.labels import Label, Raw
from imgtag.types.mark import content_digest, encode_digest, owner_digest
from imgtag.types.metadata import MARK, Entries
from imgtag.types.ref import Listed, ObjectRef, ObjectState
from imgtag.types.result import Result
from imgtag.types.signature import Trust
from imgtag.workers.answers import Inference
from imgtag.workers.generations import LoadedModel
from imgtag.workers.pool import hash_image

log = logging.getLogger(__name__)

MAX_RESTARTS = 3
"""Attempts on an object that keeps changing before it waits in line again."""
_MARKLESS = frozenset({"none", "tags"})
"""Strategies that leave no mark on the object: its document stands in for it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one look came to; ``not_written`` says why labels are in the index but not on the object."""

    result: Result
    not_written: Problem | None = None
    failed_before: Problem | None = None
    """Why this content could not be labelled earlier; nothing was tried again."""
    labels: tuple[Label, ...] = ()
    """What was found on the object, where it was labelled now."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a look concludes from the headers and the document of an object, before it reads any bytes."""

    inspected: Inspected
    is_excluded: bool
    """Whether it is no image, or too large to tell: then it has no document."""
    is_believed: bool
    """Whether the mark proves that these labels belong to this content."""
    stale: tuple[str, ...]
    """Why the object would be labelled again on demand: ``model``, ``rules``, ``signature``; empty without a mark."""
    document: Document
    """The document that follows from headers and entries."""


class Poison(Exception):
    """An object that cannot be labelled; its document says so already."""

    def __init__(self, ref: ObjectRef, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.ref = ref
        self.problem = problem


@dataclass(frozen=True, kw_only=True)
class Reconciler:
    """Applies the rule to one hint at a time; the caller keeps hints of one key in sequence."""

    site: str
    entry_builder: EntryBuilder
    document_options: DocumentOptions
    policy_of: Callable[[ObjectRef], ObjectPolicy | None]
    models: Callable[[], Mapping[str, LoadedModel]]
    """The models in use now, by the names that rules give them."""
    store: Store
    index: Index
    annotator: Annotator
    budget: ByteBudget
    metrics: Metrics
    health: Health
    own_writes: OwnWrites
    vocabularies: Vocabularies = field(default_factory=Vocabularies)
    no_images: NoImages = field(default_factory=NoImages)
    suffix_decides: bool = False
    """Whether the suffix of another kind of file is enough in a listing, which has no content types."""

    async def __call__(self, hint: Hint, *, is_new: bool = False) -> Outcome:
        """Look at the object of ``hint``. Raises Poison, and any error after which to try again.

        ``is_new``: the hint is the event of an upload that nobody has worked on, so the index can know nothing of it.
        """
        for _ in range(MAX_RESTARTS):
            try:
                return await self._look(hint, is_new=is_new)
            except Conflict:
                self.metrics.conflicts.inc()
        raise Conflict(f"{hint.ref} keeps changing", hint="It is retried once it has come to rest.")

    async def _look(self, hint: Hint, *, is_new: bool) -> Outcome:
        policy = self.policy_of(hint.ref)
        if policy is None:
            return await self.delete_document(hint.ref, Result.SKIPPED)
        models = self.models()
        model, shadow = models[policy.model], models[policy.shadow] if policy.shadow else None
        with model.in_use():
            async with AsyncExitStack() as held, AsyncExitStack() as opened:
                reserved = self._reserve(hint, policy, held) if is_new else 0
                try:
                    with self.metrics.stage("inspect"), self.health.calls("store"):
                        body = await opened.enter_async_context(self.store.open(hint.ref, read_ahead=reserved))
                except Unreadable:
                    # Not even whether it exists can be known, so the index keeps what it knows.
                    return Outcome(result=Result.REFUSED)
                if body is None:
                    # A removal event is proof enough; without one, an empty bucket may be that of a wrong server.
                    return await self.delete_document(hint.ref, Result.ABSENT, is_proven=hint.removed)
                inspected = inspect(body.state, policy.codec)
                is_new = is_new and (hint.etag or "").strip('"') == body.state.etag.strip('"')
                look = Look(self, hint, policy, model, shadow, inspected, held, is_new=is_new)
                return await look.settle_from_headers() or await look.process(body, opened, reserved)

    def _reserve(self, hint: Hint, policy: ObjectPolicy, held: AsyncExitStack) -> int:
        """Memory for the bytes of an upload, if there is any now: they are then read in the request that looks."""
        size = min(hint.size or 0, policy.max_bytes)
        if hint.metadata is None or MARK in hint.metadata or is_called_image(hint.ref.key, "") is False:
            return 0
        return size if self.budget.reserve_now(size, hint.ref.uploader, held) else 0

    async def delete_document(self, ref: ObjectRef, otherwise: Result, *, is_proven: bool = True) -> Outcome:
        """Remove the document where there is one. Raises Unavailable where the index cannot say.

        Where it is not ``is_proven`` that the object is gone, raises BucketAbsent if its bucket shows nothing.
        """
        document = await self.index.read(document_id(self.site, ref))
        if document is None:
            return Outcome(result=otherwise)
        if not is_proven:
            await require_right_bucket(self.store, ref.bucket)
        with self.metrics.stage("index"):
            await self.index.apply(Delete(document_id(self.site, ref)))
        return Outcome(result=Result.DELETED)

    def may_need_document(self, listed: Listed) -> bool:
        """Whether an object that has no document may have to get one, as far as a listing tells."""
        if self.policy_of(listed.ref) is None or listed in self.no_images:
            return False
        return not self.suffix_decides or is_called_image(listed.ref.key, "") is not False

    def judge(self, state: ObjectState, policy: ObjectPolicy, indexed: Document | None) -> Judgement:
        """What a look at this object would conclude. Nothing is read or changed."""
        inspected = inspect(state, policy.codec)
        model, held = self.models()[policy.model], AsyncExitStack()
        look = Look(self, Hint(ref=state.ref), policy, model, None, inspected, held, is_new=False)
        look.indexed = indexed
        return look.judge()

    async def upsert(self, document: Document) -> None:
        """Index a document; durable on return."""
        with self.metrics.stage("index"):
            await self.index.apply(Upsert(document))


@dataclass
class Look:
    """One look at one object that is there and that a rule admits."""

    reconciler: Reconciler
    hint: Hint
    policy: ObjectPolicy
    model: LoadedModel
    shadow: LoadedModel | None
    """A second model, which only reports."""
    inspected: Inspected
    held: AsyncExitStack
    """Holds memory for the bytes, once there is some."""
    _: KW_ONLY
    is_new: bool
    """Whether the index can know nothing of this content."""
    indexed: Document | None = field(default=None, init=False)
    """The document, where it was read and is there."""
    data: bytes | None = field(default=None, init=False, repr=False)
    """The bytes, from when they were read until nothing needs them any more."""

    async def settle_from_headers(self) -> Outcome | None:
        """What headers and index decide; None where the bytes are needed."""
        if self._is_excluded:
            return await self._skip()
        if self.inspected.entries.mark or not self.is_new or self.policy.strategy in _MARKLESS:
            # Labelling goes on without the index; only a change of it has to wait.
            with suppress(Unavailable):
                self.indexed = await self.reconciler.index.read(document_id(self.reconciler.site, self.hint.ref))
        if self._is_believed and not self._wants_relabel:
            return await self._index_marked()
        document = self.indexed
        if self.hint.intent is Intent.NORMAL and document is not None and self._is_checkpointed(document):
            if document["status"] not in {"refused", "failed"}:
                return Outcome(result=Result.CURRENT)
            problem = Problem(code=document["code"], reason=document["reason"], status=document["status"])
            return Outcome(result=Result.CURRENT, failed_before=problem)
        return None

    async def process(self, body: Body, opened: AsyncExitStack, reserved: int) -> Outcome:
        """Read the bytes, label them, write back and index. ``opened`` holds ``body`` and is closed once it is read.

        Memory for ``reserved`` bytes is held already. Raises Poison, once the document says so, for what cannot be
        read or decoded.
        """
        parts, state, policy = self.reconciler, self.inspected.state, self.policy
        try:
            size = min(state.size, policy.max_bytes)
            if reserved < size:
                await self.held.aclose()  # never waits for memory while it holds some
                await self.held.enter_async_context(parts.budget.reserve(size, state.ref.uploader))
            if self._is_believed and (entries := self._relabel()):
                await opened.aclose()  # its labels follow from kept scores, so its bytes are not needed
                return await self._write(entries)
            with parts.metrics.stage("fetch"), parts.health.calls("store"):
                self.data = await fetch(body, policy.max_bytes)
            parts.metrics.bytes_read.inc(len(self.data))
            await opened.aclose()  # the connection is free again while the picture is classified
            if self.inspected.image is None and not is_image(self.data):
                return await self._skip()
            labelled_before = self._is_believed or await self._is_made_from(self.data)
            if labelled_before and not self._wants_relabel:
                # The event of this write needs no further read, however often it comes.
                parts.own_writes.remember(replace(state, request=self.hint.request))
                return await self._index_marked()
            if labelled_before and (entries := self._relabel()):
                return await self._write(entries)
            entries, inference = await self._classify(self.data)
            outcome = await self._write(entries, inference)
            if self.shadow is not None:
                await self._compare_with_shadow(self.shadow, inference.raw, self.data)
        except (Unreadable, Undecodable) as error:
            problem = Problem.of(error, "refused" if isinstance(error, Unreadable) else "failed")
            await parts.upsert(self._document(state, Entries(), problem))
            raise Poison(state.ref, problem) from error
        return outcome

    async def _skip(self) -> Outcome:
        """It is no image, or too large to tell: it has no document."""
        outcome = await self.reconciler.delete_document(self.hint.ref, Result.SKIPPED)
        self.reconciler.no_images.remember(self.inspected.state)
        return outcome

    async def _write(self, entries: Entries, inference: Inference | None = None) -> Outcome:
        """Write the entries back and index them. A store that has to send bytes that were not read reads them."""
        parts, state = self.reconciler, self.inspected.state
        digest = inference.digest if inference else None
        with parts.metrics.stage("annotate"), parts.health.calls("store"):
            user = self.inspected.user
            annotated = await parts.annotator.annotate(state, user, entries, self.policy, self.data, digest)
        if annotated.written:
            parts.own_writes.remember(annotated.state)
        if self.shadow is None:
            self.data = None  # many images may wait for the index, and no longer need memory for their bytes
            await self.held.aclose()
        await parts.upsert(self._document(annotated.state, annotated.entries, annotated.problem))
        labels = annotated.entries.labels
        if inference is None:
            facts = {"bucket": state.ref.bucket, "key": state.ref.key}
            log.info("object_relabelled", extra={**facts, "reason": "new rules applied to kept scores; no inference"})
            result = Result.RELABELLED
        else:
            result = Result.LABELLED if labels else Result.UNLABELLED
        return Outcome(result=result, not_written=annotated.problem, labels=labels)

    async def _index_marked(self) -> Outcome:
        """Bring the index in line with a labelled object: no body, no inference, no write.

        A mark that holds is taken as it is, also one of another model or of other rules: two sidecars in the middle of
        an upgrade would otherwise undo each other's labels for ever.
        """
        if self._stale:
            self.reconciler.metrics.stale.inc()
        document = self._document_of_mark()
        if self.indexed == document:
            return Outcome(result=Result.CURRENT)
        await self.reconciler.upsert(document)
        return Outcome(result=Result.REINDEXED)

    def judge(self) -> Judgement:
        """See `Reconciler.judge`."""
        return Judgement(
            inspected=self.inspected,
            is_excluded=self._is_excluded,
            is_believed=self._is_believed,
            stale=self._stale,
            document=self._document_of_mark(),
        )

    def _document_of_mark(self) -> Document:
        entries = self.inspected.entries
        if self.inspected.trust is Trust.LABELS and not self._is_believed:
            entries = replace(entries, raw=None)  # in the first format they are not signed: labels must do
        return self._document(self.inspected.state, entries)

    async def _classify(self, data: bytes) -> tuple[Entries, Inference]:
        metrics, health, state = self.reconciler.metrics, self.reconciler.health, self.inspected.state
        # The mark signs it, so a worker is believed only where the store will refuse to write a wrong one.
        digest = None if self.reconciler.store.features.verifies_digest or self.model.remote else await hash_image(data)
        answering = health.calls("classifier") if self.model.remote else nullcontext()
        with metrics.stage("classify"), answering:
            inference = await self.model.classify(data, self.policy.limits, state, digest)
        metrics.observe_stage("wait", inference.waited)
        metrics.observe_stage("decode", inference.decode)
        metrics.observe_stage("infer", inference.infer)
        builder = self.reconciler.entry_builder
        return builder.build(state, inference, self.model.info, self._vocabulary), inference

    def _relabel(self) -> Entries | None:
        """Entries by the present rules from the scores that this model gave; None where these were not kept, or where
        more than labels is missing.
        """
        if self.hint.intent is Intent.INCOMPLETE:
            return None
        mark, raw = self.inspected.entries.mark, self.inspected.entries.raw
        if mark is None or raw is None or self.inspected.trust is not Trust.ALL or mark.model != self._vocabulary.model:
            return None
        builder = self.reconciler.entry_builder
        return builder.rebuild(self.inspected.state, self.inspected.entries, mark, raw, self._vocabulary)

    async def _compare_with_shadow(self, shadow: LoadedModel, raw: Raw, data: bytes) -> None:
        """Count what the shadow model would have changed. Its failures are no concern of the object."""
        metrics = self.reconciler.metrics
        try:
            with metrics.stage("shadow"):
                inference = await shadow.classify(data, self.policy.limits, self.inspected.state)
        except ImgtagError:
            metrics.shadow_pictures.labels(shadow.info.id, "failed").inc()
            return
        vocabulary = self.reconciler.vocabularies(shadow.info, self.policy.labels)
        difference = compare_labels(self._vocabulary.select_labels(raw), vocabulary.select_labels(inference.raw))
        metrics.count_shadow(shadow.info.id, difference)

    def _document(self, state: ObjectState, entries: Entries, problem: Problem | None = None) -> Document:
        """The document, in the vocabulary of the model that labelled the object where that model is known."""
        info, known = self.model.info, self.model.known
        if entries.mark:
            info = known.get(entries.mark.model, info)
        if not self.policy.codec.keys and not info.open:
            # Without a key anybody can write a mark, so no label name is indexed that no model here has: each new name
            # takes one of the 65,535 fields of a Meilisearch index for good. An open vocabulary has no list of names.
            names = [self._vocabulary.labels, self._vocabulary.ancestors, *(each.names() for each in known.values())]
            named = tuple(label for label in entries.labels if any(label.name in some for some in names))
            raw = None if entries.raw and entries.raw.detections else entries.raw
            entries = replace(entries, labels=named, raw=raw)
        return build_document(
            self.reconciler.site,
            state,
            entries,
            self.inspected.user,
            self.reconciler.document_options,
            problem,
            self._vocabulary_of(entries, info),
        )

    def _vocabulary_of(self, entries: Entries, info: ModelInfo) -> Vocabulary:
        """The vocabulary of the labels of an object; kept detections are understood without their model."""
        if entries.mark and entries.raw and entries.raw.detections:
            return self.reconciler.vocabularies.of_detections(entries.mark.model, self.policy.labels)
        return self.reconciler.vocabularies(info, self.policy.labels)

    async def _is_made_from(self, data: bytes) -> bool:
        """Whether a genuine mark was made from these bytes.

        The ETag may differ: with a store that changes ETags, with a copy, and with a second upload of the same file.
        """
        mark = self.inspected.entries.mark
        if mark is None or not self.inspected.is_genuine:
            return False
        return mark.content == await anyio.to_thread.run_sync(content_digest, data)

    def _is_checkpointed(self, document: Document) -> bool:
        """Whether the document stands in for a mark: nothing could be, or was to be, written on this content."""
        state = self.inspected.state
        if not is_of_content(document, state):
            return False
        if may_pass(self.reconciler.store, document) and document["code"] not in {state.unreadable, state.readonly}:
            return False
        return self.policy.strategy in _MARKLESS or "code" in document

    @property
    def _is_excluded(self) -> bool:
        is_too_large_to_tell = self.inspected.image is None and self.inspected.state.size > self.policy.max_bytes
        return self.inspected.image is False or is_too_large_to_tell

    @cached_property
    def _is_believed(self) -> bool:
        """Whether the mark proves, without the bytes, that these labels belong to this content.

        With a key, an ETag is a hint and not a proof: two files can have one MD5, and a file's time can be set back.
        What proves it is that nobody wrote on the object since a sidecar did: as this process remembers it, or as the
        document says that was indexed after that write. A checksum that the store computed itself does as well.
        """
        state, mark, document = self.inspected.state, self.inspected.entries.mark, self.indexed
        if mark is None or not self.inspected.etag_matches:
            return False
        if not self.policy.codec.keys:
            return True
        if self.inspected.trust is Trust.NONE or mark.owner != owner_digest(self.reconciler.site, state.ref):
            return False
        # Without versions a revision may be a time in seconds. Then it does not tell this event's write from an earlier
        # one of the same second.
        indexed = (
            document is not None
            and (document["etag"], document.get("labelled")) == (state.etag, mark.at)
            and not (state.version is None and reports_write_with_mark(self.hint))
        )
        indexed_revision = document.get("revision") if document is not None and indexed else None
        if self.inspected.trust is Trust.UNSIGNED:
            # From before there was a key; a forged mark has no such document. Older documents have no revision.
            return indexed and indexed_revision in {None, state.revision}
        return (
            self.reconciler.own_writes.is_unchanged(state, self.hint)
            or (indexed_revision is not None and indexed_revision == state.revision)
            or (state.sha256 is not None and encode_digest(b64decode(state.sha256)) == mark.content)
        )

    @property
    def _wants_relabel(self) -> bool:
        if self.hint.intent is Intent.INCOMPLETE:
            # A model without a vector would be asked again for ever.
            possible = self.policy.codec.keep - (frozenset() if self.model.info.projection else {"vec"})
            return self.inspected.entries.is_incomplete(possible)
        return self.hint.intent is Intent.STALE and bool(self._stale)

    @property
    def _stale(self) -> tuple[str, ...]:
        """What of the mark differs from what would be written now."""
        mark = self.inspected.entries.mark
        if mark is None:
            return ()
        is_changed = {
            # It is missing or of the first format: labelling again signs everything.
            "signature": self.inspected.trust is not Trust.ALL,
            "model": mark.model != self._vocabulary.model,
            "rules": mark.rules != self._vocabulary.digest,
        }
        return tuple(part for part, changed in is_changed.items() if changed)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return self.reconciler.vocabularies(self.model.info, self.policy.labels)
