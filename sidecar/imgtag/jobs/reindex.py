"""Rebuild the index beside the one in use, from what is on the objects, and put it in its place.

No image is read, and nothing is written on an object: the rule's own code makes each document from the headers. The
document of an object that carries nothing is taken over from the index in use.

Sidecars go on working meanwhile and know nothing of it: they write to the index in use, and what they change there is
looked at again before the swap, and once more after it. docs/design/20261127-reindex.md
"""

from __future__ import annotations

import fcntl
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from imgtag.engine import JobParts
from imgtag.errors import BucketAbsent, ConfigError, Conflict, Unreadable
from imgtag.flow.backoff import until_answered
from imgtag.flow.pages import divide
from imgtag.jobs.backfill import PAGE, SAVE_PERIOD, Gate, ListedScope
from imgtag.jobs.checkpoint import CheckpointFile, Watermark
from imgtag.plugin.indexer import Delete, Indexer, Rebuilder, SearchRequest, Upsert
from imgtag.query import Is, Not, Query
from imgtag.reconcile import Reconciler
from imgtag.stages.compare import is_of_content, require_right_bucket
from imgtag.types.document import Document, document_id
from imgtag.types.event import Hint
from imgtag.types.folding import normalise
from imgtag.types.image_names import is_called_image
from imgtag.types.metadata import MARK
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

MAX_PAGES = 4
"""Pages in work at once: while the index confirms one, the objects of others are looked at."""
MAX_PASSES = 5
"""Comparisons of the two indexes before the swap, at most."""
FEW = 50
"""Documents that a comparison changed, so few that the next one may come after the swap."""
MAX_SETTLING = 16
"""Objects that are looked at at once after the swap."""
MAX_LOOKS = 3
"""Looks at one object after the swap."""
MAX_LOSS = 0.05
"""Part of the documents in use that the new index may lack without a question."""
COMPARED = ("etag", "revision", "status", "code", "model", "rules", "labelled")
"""Fields that change whenever a sidecar looks at an object and indexes it anew."""

State: TypeAlias = ObjectState | Unreadable | Conflict | None
"""An object as a look showed it: it, why it could not be seen, or None where it is absent."""


class Fate(StrEnum):
    """What becomes of an object in the new index."""

    INDEXED = "indexed"
    """Its document was made from its headers."""
    TAKEN_OVER = "taken_over"
    """Its document is the one that the index in use has of this content."""
    MISSING = "missing"
    """It should have a document, and nothing says which."""
    SKIPPED = "skipped"
    """It has no document: no rule admits it, it is no image, or it is gone."""
    FAILED = "failed"
    """The index rejects its document."""


@dataclass(frozen=True, slots=True)
class Derived:
    """The document that an object has in the new index, or why it has none."""

    fate: Fate
    document: Document | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An object that the new index lacks: ``not_labelled``, ``unproven``, ``unreadable``, or what rejects it."""

    ref: ObjectRef
    fate: Fate
    reason: str


@dataclass(kw_only=True)
class Progress:
    """The counts from ``indexed`` to ``failed`` are disjoint and sum to ``listed``."""

    listed: int = 0
    indexed: int = 0
    taken_over: int = 0
    missing: int = 0
    skipped: int = 0
    failed: int = 0
    changed: int = 0
    """Of those with a document: it is not the one that the index in use has."""
    caught_up: int = 0
    """Documents that were put right because a sidecar changed them meanwhile; those of other sites were copied."""
    documents: int = 0
    """That the index in use had, of this site."""
    kept: int = 0
    """Of these, while the new index is built: it has one of that object, too."""
    lost: int = 0
    """Of these, in the end: the new index has none of that object."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For checkpoints and JSON."""
        return dict(vars(self))


def derive(reconcile: Reconciler, ref: ObjectRef, state: State, known: Sequence[Document]) -> Derived:
    """The document of an object from its headers, else the one of this content among those ``known``, newest first."""
    if reconcile.policy_of(ref) is None:
        return Derived(Fate.SKIPPED, reason="not_admitted")
    if state is None:
        return Derived(Fate.SKIPPED, reason="absent")
    if isinstance(state, ObjectState):
        return _derive_from_headers(reconcile, state, known)
    # Not even whether it exists can be known, so the index keeps what it knows.
    return Derived(Fate.TAKEN_OVER, known[0]) if known else Derived(Fate.MISSING, reason="unreadable")


def _derive_from_headers(reconcile: Reconciler, state: ObjectState, known: Sequence[Document]) -> Derived:
    policy = reconcile.policy_of(state.ref)
    assert policy is not None, "`derive` has asked"
    judgements = [reconcile.judge(state, policy, document) for document in known or (None,)]
    if judgements[0].is_excluded:
        return Derived(Fate.SKIPPED, reason="no_image")
    for judgement in judgements:
        if judgement.is_believed:
            return Derived(Fate.INDEXED, judgement.document)
    for document in sorted(known, key=lambda each: not is_of_content(each, state)):  # of this revision first
        if document["etag"] == state.etag:
            return Derived(Fate.TAKEN_OVER, document)
    inspected = judgements[0].inspected
    if inspected.image is None and not known and not inspected.is_genuine:
        return Derived(Fate.SKIPPED, reason="no_image")  # only its bytes could tell
    is_unproven = inspected.is_genuine and inspected.etag_matches
    return Derived(Fate.MISSING, reason="unproven" if is_unproven else "not_labelled")


def require_rebuilder(indexer: Indexer) -> Rebuilder:
    """The indexer, which can build another index beside the one in use. Raises ConfigError."""
    if not hasattr(indexer, "open_spare"):
        hint = "Its plugin has to offer `imgtag.plugin.Rebuilder`. `imgtag audit --repair` mends the index in use."
        raise ConfigError("this indexer cannot build a new index beside the one in use", hint=hint)
    return cast("Rebuilder", indexer)


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Let one rebuild work at a time with this state folder. Blocking; raises ConfigError where another one does."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("another `imgtag reindex` is at work", hint="Wait for it, or end it.") from None
        yield


@dataclass(kw_only=True)
class Reindex:
    """One rebuild, in this order: `prepare`, `build`, `catch_up`, `swap`, `settle`, `finish`.

    ``gate`` admits each look at an object, ``show`` gets what the new index lacks. ``buckets`` are those that rules
    name. With ``dry_run`` only `build` is called, and nothing is written anywhere.
    """

    parts: JobParts
    gate: Gate
    buckets: Sequence[str]
    has_rules: bool
    file: CheckpointFile
    show: Callable[[Finding], None] = lambda _finding: None
    dry_run: bool = False
    progress: Progress = field(default_factory=Progress)
    is_swapped: bool = field(default=False, init=False)
    """Whether the new index is in use already, by a run that ended before its end."""

    def __post_init__(self) -> None:
        self._rebuilder = require_rebuilder(self.parts.indexer)
        self._position, self._spare_id = "", ""
        self._started = time.monotonic()

    @property
    def loses_many(self) -> bool:
        """Whether the new index lacks more of what is in use than it may without a question."""
        return self.progress.lost > MAX_LOSS * self.progress.documents

    async def prepare(self, *, restart: bool) -> None:
        """Find out how far an earlier run came. Raises ConfigError where it cannot be told, or a right is lacking.

        Nothing in use is changed, and with ``restart`` only the spare is deleted.
        """
        saved = None if restart else await to_thread.run_sync(self.file.load)
        in_use = await self.parts.indexer.index_id()
        self.is_swapped = saved is not None and saved["spare"] == in_use != ""
        if not self.is_swapped:
            await self._rebuilder.check_rebuild()
            if not in_use:
                await self.parts.indexer.setup(apply=True)
            if restart:
                await self._rebuilder.drop_spare()
                await to_thread.run_sync(self.file.remove)
                saved = None
            elif not await self._rebuilder.has_spare():
                saved = None
            elif saved and not saved["spare"]:
                await self._rebuilder.drop_spare()  # its creation is all that was begun
                saved = None
            else:
                await self._require_spare_of(saved)
        if saved is None:
            await self._save()
        else:
            self.progress = Progress(**saved["progress"])
            self._started -= self.progress.seconds
            self._position, self._spare_id = saved["position"], saved["spare"]

    async def build(self) -> None:
        """Fill the new index from the objects in the buckets. Raises BucketAbsent where one of them is not there."""
        if self.dry_run:
            await self._build(None)
            self.progress.lost = max(0, self.progress.documents - self.progress.kept)
            return
        async with self._rebuilder.open_spare() as spare:
            self._spare_id = await spare.index_id()
            await self._save()
            await self._build(spare)

    async def catch_up(self) -> None:
        """Put right what sidecars changed since, until a comparison finds little. Other sites' documents are copied."""
        async with self._rebuilder.open_spare() as spare:
            for _ in range(MAX_PASSES):
                self.progress.documents = self.progress.lost = changed = 0
                for site, scope in await self._indexed_scopes():
                    changed += await self._compare(spare, site, scope)
                self.progress.caught_up += changed
                await self._save()
                if changed <= FEW:
                    return

    async def swap(self) -> None:
        """Put the new index in the place of the one in use. Raises ImgtagError; `prepare` then tells whether it is."""
        async with self._rebuilder.open_spare() as spare:
            if await spare.index_id() != self._spare_id:
                message = f"another index is there than this run has filled: {self._rebuilder.spare}"
                raise ConfigError(message, hint="Run the command again, on one host at a time.")
        await self._save()
        await self._rebuilder.swap()
        self.is_swapped = True

    async def settle(self) -> None:
        """Put right what sidecars changed in the old index before the swap, after the last comparison of the two.

        They write to the new one by now. So each of these objects is looked at until a look changes nothing; one that
        somebody changes at this very moment is left to a sidecar, by a hint.
        """
        if not await self._rebuilder.has_spare():
            return  # a run that ended right after it was dropped had done this
        slots = anyio.Semaphore(MAX_SETTLING, fast_acquire=True)
        async with self._rebuilder.open_spare() as old, anyio.create_task_group() as work:

            async def settle(ref: ObjectRef) -> None:
                try:
                    await self._settle(ref, old)
                finally:
                    slots.release()

            for bucket in self.buckets:
                async for key, before, after in _pairs(old, self.parts.indexer, self.parts.site, Scope(bucket)):
                    if not _is_same(before, after):
                        await slots.acquire()
                        work.start_soon(settle, ObjectRef(bucket, key))

    async def finish(self, *, keep_old: bool) -> None:
        """Delete what was in use, unless it is to be kept, and forget the checkpoint."""
        if not keep_old:
            await self._rebuilder.drop_spare()
        await to_thread.run_sync(self.file.remove)

    async def _require_spare_of(self, saved: Mapping[str, Any] | None) -> None:
        async with self._rebuilder.open_spare() as spare:
            if saved is None or saved["spare"] != await spare.index_id():
                hint = (
                    "It was kept by --keep-old, or is of a rebuild on another host or with other settings. --restart "
                    "deletes it."
                )
                raise ConfigError(f"there is already another index: {self._rebuilder.spare}", hint=hint)

    async def _build(self, spare: Indexer | None) -> None:
        watermark: Watermark[Counter[str]] = Watermark(room=MAX_PAGES, settle=self._count, position=self._position)

        async def keep_saving() -> None:
            while True:
                await anyio.sleep(SAVE_PERIOD)
                self._position = watermark.position
                await self._save()

        try:
            async with anyio.create_task_group() as beside:
                if spare:
                    beside.start_soon(keep_saving)
                async with anyio.create_task_group() as work:
                    first, _, after = self._position.partition(":")
                    for number in range(int(first or 0), len(self.buckets)):
                        async with aclosing(self._objects(Scope(self.buckets[number]), after)) as objects:
                            async for page in divide(objects, PAGE):
                                entry = await watermark.begin(f"{number}:{page[-1].ref.key}")
                                work.start_soon(self._build_page, page, spare, partial(watermark.end, entry))
                        after = ""
                beside.cancel_scope.cancel("done")
        finally:
            self._position = watermark.position
            if spare:
                with anyio.CancelScope(shield=True):
                    await self._save()

    async def _objects(self, scope: Scope, after: str) -> AsyncGenerator[Listed]:
        """The objects of a bucket, which must be there if the index has documents of it."""
        indexed = await self.parts.indexer.count(self.parts.site, scope)
        if self.dry_run:
            self.progress.documents += indexed
        if indexed:
            await require_right_bucket(self.parts.store, scope.bucket)
        try:
            async for _, listed in ListedScope(self.parts.store, scope).objects(after):
                yield listed
        except BucketAbsent:
            if indexed:
                raise

    async def _build_page(
        self, page: Sequence[Listed], spare: Indexer | None, end: Callable[[Counter[str]], None]
    ) -> None:
        """Put the documents of these objects into the new index; ``end`` gets what became of how many."""
        known = await self._read(self.parts.indexer, [listed.ref for listed in page])
        states = await self._look_at([listed.ref for listed in page if self._needs_look(listed, known)])
        tally: Counter[str] = Counter()
        made: dict[str, tuple[ObjectRef, Derived]] = {}
        for ref in (listed.ref for listed in page):
            await checkpoint()  # a document takes some tenths of a millisecond
            before = [known[ref]] if ref in known else []
            derived = Derived(Fate.SKIPPED, reason="no_image")
            if ref in states:
                derived = derive(self.parts.pipeline.reconcile, ref, states[ref], before)
            tally[derived.fate] += 1
            if derived.document is None:
                self._report(ref, derived.fate, derived.reason)
                continue
            tally["kept"] += bool(before)
            tally["changed"] += not before or derived.document != before[0]
            made[derived.document["id"]] = ref, derived
        if spare and made:
            upserts = [Upsert(derived.document) for _, derived in made.values() if derived.document]
            for outcome in await until_answered(partial(spare.apply, upserts)):
                if outcome.error:
                    ref, derived = made[outcome.id]
                    tally[derived.fate] -= 1
                    tally[Fate.FAILED] += 1
                    self._report(ref, Fate.FAILED, outcome.error.message)
        end(tally)

    def _needs_look(self, listed: Listed, known: Mapping[ObjectRef, Document]) -> bool:
        """Whether the headers are needed: not where no rule admits the object, or where it cannot be an image."""
        if self.parts.policy_of(listed.ref) is None:
            return False
        may_be_marked = listed.metadata is not None and MARK in listed.metadata
        return listed.ref in known or may_be_marked or is_called_image(listed.ref.key, "") is not False

    async def _compare(self, spare: Indexer, site: str, scope: Scope) -> int:
        """Put right what the two indexes have differently of a part; returns how many documents were changed."""

        async def find_differing() -> AsyncIterator[ObjectRef]:
            async for key, before, after in _pairs(self.parts.indexer, spare, site, scope):
                self.progress.documents += before is not None and site == self.parts.site
                if not _is_same(before, after):
                    yield ObjectRef(scope.bucket, key)

        return sum([await self._refresh(spare, site, page) async for page in divide(find_differing(), PAGE)])

    async def _refresh(self, spare: Indexer, site: str, refs: Sequence[ObjectRef]) -> int:
        """Give these objects the documents that they should have now; returns how many were changed."""
        is_own = site == self.parts.site
        states = await self._look_at([ref for ref in refs if is_own and self.parts.policy_of(ref)])
        known = await self._read(self.parts.indexer, refs, site)
        there = await self._read(spare, refs, site)
        changes: list[Upsert | Delete] = []
        for ref in refs:
            document = known.get(ref)
            if is_own:
                before = [known[ref]] if ref in known else []
                document = derive(self.parts.pipeline.reconcile, ref, states.get(ref), before).document
                self.progress.lost += bool(before) and document is None
            if document is not None and document != there.get(ref):
                changes.append(Upsert(document))
            elif document is None and ref in there:
                changes.append(Delete(document_id(site, ref)))
        if changes:
            await until_answered(partial(spare.apply, changes))
        return len(changes)

    async def _settle(self, ref: ObjectRef, old: Indexer) -> None:
        """Look at an object until a look changes nothing in the index that is in use by now."""
        in_use, last, was_changed = self.parts.indexer, None, False
        if self.parts.policy_of(ref) is None:
            return  # another sidecar of this site may admit it
        for _ in range(MAX_LOOKS):
            state = (await self._look_at([ref]))[ref]
            if was_changed and state != last:
                break
            current = (await self._read(in_use, [ref])).get(ref)
            before = (await self._read(old, [ref])).get(ref)
            known = [document for document in (current, before) if document is not None]
            # The one of the old index is newer where a sidecar labelled the same content again before the swap.
            known.sort(key=lambda document: document.get("labelled", 0), reverse=True)
            derived = derive(self.parts.pipeline.reconcile, ref, state, known)
            if derived.document == current or (derived.fate is Fate.MISSING and current is not None):
                return
            change = Upsert(derived.document) if derived.document else Delete(document_id(self.parts.site, ref))
            await until_answered(partial(in_use.apply, [change]))
            self.progress.caught_up += 1
            last, was_changed = state, True
        await self.parts.source.publish([Hint(ref=ref)])

    async def _look_at(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, State]:
        """The headers of these objects, a few at a time."""
        states: dict[ObjectRef, State] = {}

        async def look(ref: ObjectRef) -> None:
            async with self.gate.admit():
                try:
                    with self.parts.metrics.stage("inspect"):  # from which a governor learns how fast the store answers
                        states[ref] = await until_answered(partial(self.parts.store.stat, ref))
                except (Unreadable, Conflict) as error:
                    states[ref] = error

        async with anyio.create_task_group() as tasks:
            for ref in refs:
                tasks.start_soon(look, ref)
        return states

    async def _read(
        self, indexer: Indexer, refs: Sequence[ObjectRef], site: str | None = None
    ) -> Mapping[ObjectRef, Document]:
        """The documents of these objects; while the index does not answer, it is waited for."""
        ids = {document_id(site or self.parts.site, ref): ref for ref in refs}
        documents = await until_answered(partial(indexer.get, list(ids)))
        return {ids[id_]: document for id_, document in documents.items()}

    async def _indexed_scopes(self) -> list[tuple[str, Scope]]:
        """The sites and buckets of which the index in use has documents, and the buckets of the rules."""
        own = Is("site", (normalise(self.parts.site),))
        others = await self._facet("site", Not(own))
        scopes = [(self.parts.site, Scope(bucket)) for bucket in self.buckets]
        for site in (*([self.parts.site] if self.has_rules else []), *sorted(others)):
            buckets = await self._facet("bucket", Is("site", (normalise(site),)))
            scopes += [(site, Scope(bucket)) for bucket in sorted(buckets)]
        return list(dict.fromkeys(scopes))

    async def _facet(self, name: str, condition: Is | Not) -> Collection[str]:
        request = SearchRequest(query=Query("", condition), limit=0, facets=(name,))
        return (await until_answered(partial(self.parts.indexer.search, request))).facets[name]

    def _count(self, tally: Counter[str]) -> None:
        """Count a page, once all before it are done too."""
        progress = self.progress
        for name, number in tally.items():
            setattr(progress, name, getattr(progress, name) + number)
        progress.listed += sum(tally[fate] for fate in Fate)

    def _report(self, ref: ObjectRef, fate: Fate, reason: str) -> None:
        if fate in {Fate.MISSING, Fate.FAILED}:
            self.show(Finding(ref=ref, fate=fate, reason=reason))

    async def _save(self) -> None:
        self.progress.seconds = time.monotonic() - self._started
        fields = {"position": self._position, "spare": self._spare_id, "progress": self.progress.as_dict()}
        await to_thread.run_sync(self.file.save, fields)


async def _pairs(
    old: Indexer, new: Indexer, site: str, scope: Scope
) -> AsyncIterator[tuple[str, Document | None, Document | None]]:
    """What two indexes have of each key, in the order of the keys."""
    olds, news = (aiter(index.scan(site, scope, fields=COMPARED)) for index in (old, new))
    before, after = await anext(olds, None), await anext(news, None)
    while before is not None or after is not None:
        key = min((each["key"] for each in (before, after) if each is not None), key=str.encode)
        in_old = before if before is not None and before["key"] == key else None
        in_new = after if after is not None and after["key"] == key else None
        yield key, in_old, in_new
        before = await anext(olds, None) if in_old is not None else before
        after = await anext(news, None) if in_new is not None else after


def _is_same(before: Document | None, after: Document | None) -> bool:
    """Whether both were made from the same look. Older documents have no revision."""
    if before is None or after is None:
        return before is after
    names = [name for name in COMPARED if name != "revision" or ("revision" in before and "revision" in after)]
    return all(before.get(name) == after.get(name) for name in names)
