"""Label what is in the store already: the rule of `imgtag.reconcile` over a listing or a list.

What is current is passed over without a request of its own, from the listing and the index. A job that is killed goes
on from its checkpoint.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from imgtag.engine import JobParts
from imgtag.flow.backoff import until_answered
from imgtag.flow.pages import divide
from imgtag.flow.read_ahead import read_ahead
from imgtag.jobs.candidates import Candidate
from imgtag.jobs.checkpoint import CheckpointFile, Watermark
from imgtag.jobs.listing import list_through_outages
from imgtag.jobs.report import Report, Row
from imgtag.jobs.standing import JUDGED_FIELDS, Judge, Standing
from imgtag.plugin.store import Store
from imgtag.reconcile import Outcome
from imgtag.types.document import Document, document_id
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import Listed, Scope
from imgtag.types.result import Result

PAGE = 1_000
"""Objects whose documents are read at once, and that a killed job may do again."""
SAVE_PERIOD = 2.0
"""Seconds between two checkpoints."""
_INTENTS = {
    Standing.MISSING: Intent.NORMAL,
    Standing.DIFFERING: Intent.NORMAL,
    Standing.FAILED: Intent.RETRY,
    Standing.REFUSED: Intent.RETRY,
    Standing.STALE: Intent.STALE,
    Standing.INCOMPLETE: Intent.INCOMPLETE,
}
"""How an object is looked at that stands so; others are passed over."""
_Page: TypeAlias = list[tuple[str, Listed]]
_Judgeable: TypeAlias = list[tuple[str, Listed, Document | None]]
"""Objects, each with its position."""
_COUNTS = {
    Result.LABELLED: "labelled",
    Result.RELABELLED: "labelled",
    Result.UNLABELLED: "labelled",
    Result.REFUSED: "refused",
    Result.FAILED: "failed",
}


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which objects are worked on: those that stand so, and whose size and time are within the bounds."""

    standings: frozenset[Standing] = frozenset({Standing.MISSING, Standing.DIFFERING})
    rule: int | None = None
    """Index among the rules."""
    min_size: int = 0
    max_size: int | None = None
    modified_after: float | None = None
    """Seconds since 1970."""
    modified_before: float | None = None

    def includes(self, listed: Listed) -> bool:
        """Whether size and time are within the bounds."""
        return (
            listed.size >= self.min_size
            and (self.max_size is None or listed.size <= self.max_size)
            and (self.modified_after is None or listed.modified >= self.modified_after)
            and (self.modified_before is None or listed.modified < self.modified_before)
        )


class Targets(Protocol):
    """A list of objects. ``name`` tells it from other lists, for the checkpoint."""

    @property
    def name(self) -> str:
        """The same whenever the same list is meant."""
        ...

    def objects(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """The objects after the position ``after``, each with its position. Raises Unavailable, BucketAbsent."""
        ...


class Gate(Protocol):
    """Says when work on an object may begin, as `imgtag.flow.governor.Governor` does."""

    def admit(self, size: int = 0) -> AbstractAsyncContextManager[None]:
        """Wait until work on an object of ``size`` bytes may begin; the block is the work."""
        ...


@dataclass(frozen=True)
class ListedScope:
    """A bucket or a part of it, as the store lists it; a position is a key."""

    store: Store
    scope: Scope

    @property
    def name(self) -> str:
        """BUCKET/PREFIX."""
        return str(self.scope)

    async def objects(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """The objects with keys after ``after``; where the store stops answering, it is waited for."""
        async for listed in list_through_outages(self.store, self.scope, after=after, with_metadata=True):
            yield listed.ref.key, listed


@dataclass(frozen=True)
class NamedObjects:
    """Objects that a list or an inventory names; a position is their number. ``read`` begins at the beginning."""

    name: str
    read: Callable[[], AsyncIterator[Candidate]]

    async def objects(self, after: str) -> AsyncIterator[tuple[str, Listed]]:
        """The objects after the first ``after``; what is not known of them is empty."""
        number = 0
        async for candidate in self.read():
            number += 1
            if number > int(after or 0):
                yield (
                    str(number),
                    Listed(
                        ref=candidate.ref,
                        etag=candidate.etag or "",
                        size=candidate.size or 0,
                        modified=candidate.modified or 0.0,
                    ),
                )


@dataclass(kw_only=True)
class Progress:
    """What was done so far; the counts from labelled to failed are disjoint and sum to ``listed``."""

    listed: int = 0
    labelled: int = 0
    skipped: int = 0
    refused: int = 0
    failed: int = 0
    bytes: int = 0
    """Of the objects that were worked on."""
    unfinished: int = 0
    """Of those that failed: given up after several tries, for a reason outside the image."""
    not_written: Counter[str] = field(default_factory=Counter)
    """Of those labelled: code -> objects on which nothing was written."""
    skipped_as: Counter[str] = field(default_factory=Counter)
    """Of those skipped: why -> objects."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For checkpoints and JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Progress:
        """What `as_dict` gave."""
        counters = {name: Counter(fields[name]) for name in ("not_written", "skipped_as")}
        return cls(**{**fields, **counters})


@dataclass(frozen=True)
class _Done:
    """What became of one object."""

    row: Row
    count: str
    size: int = 0
    not_written: str = ""
    unfinished: bool = False


@dataclass(kw_only=True)
class Backfill:
    """Works off lists of objects. ``gate`` admits objects, ``report`` gets a row for each.

    With ``dry_run`` it only says what it would do, and read-only parts are enough.
    """

    parts: JobParts
    judge: Judge
    selection: Selection
    gate: Gate
    report: Report | None = None
    dry_run: bool = False
    progress: Progress = field(default_factory=Progress)
    stop: anyio.Event = field(default_factory=anyio.Event)
    """Set it to finish what is in work and end."""

    def resume(self, saved: Mapping[str, Any] | None) -> str:
        """Take over the counts of an earlier run; returns its position, which is empty where there was none."""
        if saved is None:
            return ""
        self.progress = Progress.from_dict(saved["progress"])
        return str(saved["position"])

    async def run(self, lists: Sequence[Targets], file: CheckpointFile | None = None, position: str = "") -> None:
        """Work off the lists, from ``position`` on, which is what the checkpoint ``file`` has.

        Raises ImgtagError where it cannot go on; the checkpoint stays then.
        """
        started = time.monotonic() - self.progress.seconds
        watermark = Watermark(room=PAGE, settle=self._settle, position=position)

        async def save() -> None:
            self.progress.seconds = time.monotonic() - started
            fields: dict[str, Any] = {"position": watermark.position, "progress": self.progress.as_dict()}
            if self.report:
                fields["report"] = await to_thread.run_sync(self.report.write, self.report.take())
            if file:
                await to_thread.run_sync(file.save, fields)

        async def keep_saving() -> None:
            while True:
                await anyio.sleep(SAVE_PERIOD)
                await save()

        beginning = anyio.CancelScope()

        async def stop_beginning() -> None:
            await self.stop.wait()
            beginning.cancel("stopped")

        try:
            async with anyio.create_task_group() as beside:
                beside.start_soon(keep_saving)
                beside.start_soon(stop_beginning)
                if not self.dry_run:
                    beside.start_soon(self.parts.pipeline.confirm_writes)
                async with anyio.create_task_group() as work:
                    with beginning:
                        await self._begin_all(lists, watermark, work)
                beside.cancel_scope.cancel("done")
        finally:
            with anyio.CancelScope(shield=True):
                await save()
        if file and not self.stop.is_set():
            await to_thread.run_sync(file.remove)

    async def _begin_all(self, lists: Sequence[Targets], watermark: Watermark[_Done], work: TaskGroup) -> None:
        """Begin with every object, in order, once the gate admits it; each ends in its own time."""
        async with self.open_pages(lists, watermark.position) as pages:
            async for page in pages:
                for position, listed, document in page:
                    if self.stop.is_set():  # where nothing is waited for, no scope is noticed
                        return
                    entry = await watermark.begin(position)
                    end = partial(watermark.end, entry)
                    intent = self.choose(listed, document)
                    if isinstance(intent, Intent) and not self.dry_run:
                        admitted = AsyncExitStack()
                        await admitted.enter_async_context(self.gate.admit(listed.size))
                        work.start_soon(self._process, listed, intent, end, admitted)
                    elif isinstance(intent, Intent):
                        end(_Done(_row(listed, "would_label", intent.value), "labelled", listed.size))
                    else:
                        end(_Done(_row(listed, "skipped", intent), "skipped"))

    @asynccontextmanager
    async def open_pages(self, lists: Sequence[Targets], after: str) -> AsyncIterator[AsyncIterator[_Judgeable]]:
        """The objects after a position, page by page, each with its position and its document.

        While the objects of one page are judged, the documents of the next one are read, and the one after is listed.
        """
        async with (
            read_ahead(divide(_objects(lists, after), PAGE)) as pages,
            read_ahead(self._with_documents(pages)) as pages_with_documents,
        ):
            yield pages_with_documents

    def choose(self, listed: Listed, document: Document | None) -> Intent | str:
        """How to look at an object, or why it is passed over."""
        policy = self.judge.policy_of(listed.ref)
        if policy and self.selection.rule not in {None, policy.rule}:
            return "other_rule"
        if not self.selection.includes(listed):
            return "not_selected"
        standing = self.judge.judge(listed, document, policy)
        if (
            not listed.etag
            and standing not in self.selection.standings
            and Standing.DIFFERING in self.selection.standings
        ):
            is_settled = standing in {Standing.CURRENT, Standing.UNLABELLED}
            return Intent.NORMAL if is_settled else standing.value  # only a look shows whether the content changed
        return _INTENTS[standing] if standing in self.selection.standings else standing.value

    async def _process(
        self, listed: Listed, intent: Intent, end: Callable[[_Done], None], admitted: AsyncExitStack
    ) -> None:
        async with admitted:
            started = time.monotonic()
            outcome = await self.parts.pipeline.process_until_done(Hint(ref=listed.ref, intent=intent))
        problem = outcome.not_written or outcome.failed_before
        count, not_written, unfinished = classify_outcome(outcome)
        row = Row(
            bucket=listed.ref.bucket,
            key=listed.ref.key,
            outcome=outcome.result.value,
            reason=f"{problem.code}: {problem.reason}" if problem else "",
            labels={label.name: round(label.confidence, 2) for label in outcome.labels},
            ms=round((time.monotonic() - started) * 1000),
        )
        end(_Done(row, count, listed.size, not_written=not_written, unfinished=unfinished))

    def _settle(self, done: _Done) -> None:
        """Count an object, once all before it are done too."""
        progress = self.progress
        progress.listed += 1
        setattr(progress, done.count, getattr(progress, done.count) + 1)
        progress.bytes += done.size
        progress.unfinished += done.unfinished
        if done.not_written:
            progress.not_written[done.not_written] += 1
        if done.count == "skipped":
            progress.skipped_as[done.row.reason or done.row.outcome] += 1
        if self.report:
            self.report.add(done.row)

    async def _with_documents(self, pages: AsyncIterable[_Page]) -> AsyncIterator[_Judgeable]:
        """The objects of pages with their documents; while the index does not answer, it is waited for."""
        async for page in pages:
            ids = [document_id(self.parts.site, listed.ref) for _, listed in page]
            documents = await until_answered(partial(self.parts.indexer.get, ids, fields=JUDGED_FIELDS))
            yield [(*item, documents.get(id_)) for item, id_ in zip(page, ids, strict=True)]


def classify_outcome(outcome: Outcome) -> tuple[str, str, bool]:
    """As what an object counts, the code for which nothing was written on it, and whether it was given up."""
    problem, count = outcome.not_written or outcome.failed_before, _COUNTS.get(outcome.result, "skipped")
    not_written = problem.code if problem and count == "labelled" else ""
    return count, not_written, outcome.result is Result.FAILED and problem is not None and problem.status is None


def _row(listed: Listed, outcome: str, reason: str) -> Row:
    return Row(bucket=listed.ref.bucket, key=listed.ref.key, outcome=outcome, reason=reason)


async def _objects(lists: Sequence[Targets], after: str) -> AsyncIterator[tuple[str, Listed]]:
    """The objects of the lists after a position, each with its own: the number of its list, and its place there."""
    first, _, start = after.partition(":")
    for number in range(int(first or 0), len(lists)):
        async for place, listed in lists[number].objects(start):
            yield f"{number}:{place}", listed
        start = ""
