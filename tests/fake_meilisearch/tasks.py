"""The queue: one batch at a time, tasks of an index in the order of their uids.

crates/index-scheduler/src/scheduler/{autobatcher,create_batch,process_index_operation}.rs
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from fake_meilisearch.errors import Refusal
from fake_meilisearch.index import ExtractionError, Index

TOGETHER = frozenset({"documentAdditionOrUpdate", "documentDeletion"})
STAMP = "2026-11-21T00:00:00.123456789Z"


@dataclass
class Task:
    """One task, and what it does."""

    uid: int
    kind: str
    index: str
    data: Any
    note: str | None
    status: str = "enqueued"
    batch: int | None = None
    error: dict[str, Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)
    enqueued: datetime = field(default_factory=lambda: datetime.now(UTC))
    finished: datetime | None = None

    def view(self) -> dict[str, Any]:
        """As `GET /tasks` shows it."""
        shown = {"uid": self.uid, "batchUid": self.batch, "indexUid": self.index, "status": self.status}
        shown |= {"type": self.kind, "canceledBy": None, "details": self.details, "error": self.error}
        shown |= {"duration": None, "enqueuedAt": self.enqueued.isoformat(), "startedAt": None}
        shown |= {"finishedAt": self.finished and self.finished.isoformat()}
        return shown | ({"customMetadata": self.note} if self.note is not None else {})

    def fail(self, error: Refusal) -> None:
        self.status, self.error = "failed", error.body()


class Queue:
    """Works tasks off in a thread. ``held``: while it is set nothing is."""

    def __init__(self, indexes: dict[str, Index], failing: Callable[[Task], Refusal | None]) -> None:
        self.tasks: dict[int, Task] = {}
        self.lock = threading.RLock()
        self.held = threading.Event()
        self.delay = 0.005  # seconds that a batch takes
        self._indexes = indexes
        self._failing = failing
        self._next = self._batch = 0
        self._news = threading.Event()
        self._stop = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop = True
        self._news.set()
        self._thread.join()

    def add(self, kind: str, index: str, data: Any, note: str | None) -> dict[str, Any]:
        """Take a task; the answer is the 202."""
        with self.lock:
            task = Task(self._next, kind, index, data, note)
            self.tasks[task.uid] = task
            self._next += 1
        self._news.set()
        return {"taskUid": task.uid, "indexUid": index, "status": "enqueued", "type": kind, "enqueuedAt": STAMP}

    def release(self) -> None:
        """Go on."""
        self.held.clear()
        self._news.set()

    def _work(self) -> None:
        while not self._stop:
            if self.held.is_set() or not (batch := self._take()):
                self._news.wait(0.5)
                self._news.clear()
                continue
            threading.Event().wait(self.delay)
            with self.lock:
                self._process(batch)

    def _take(self) -> list[Task]:
        with self.lock:
            waiting = [task for task in self.tasks.values() if task.status == "enqueued"]
            if not waiting:
                return []
            first = waiting[0]
            same = [task for task in waiting if task.index == first.index]
            together = takewhile(lambda task: task.kind in TOGETHER, same)
            batch = list(together) if first.kind in TOGETHER else [first]
            for task in batch:
                task.status, task.batch = "processing", self._batch
            self._batch += 1
            return batch

    def _process(self, batch: Sequence[Task]) -> None:
        if error := next(filter(None, map(self._failing, batch)), None):
            for task in batch:
                task.fail(error)
        elif batch[0].kind in TOGETHER:
            self._change(batch)
        else:
            self._administer(batch[0])
        for task in batch:
            task.finished = datetime.now(UTC)

    def _change(self, batch: Sequence[Task]) -> None:
        index = self._indexes.get(batch[0].index)
        if index is None:
            creates = next(
                (task.data for task in batch if task.kind == "documentAdditionOrUpdate" and task.data["create"]), None
            )
            if creates is None:
                for task in batch:
                    task.fail(Refusal("index_not_found", f"Index `{task.index}` not found."))
                return
            index = self._indexes[batch[0].index] = Index(batch[0].index, creates["primaryKey"])
        good: list[tuple[Task, Any]] = []
        for task in batch:  # a bad id fails its own task
            try:
                good.append((task, task.data if task.kind == "documentDeletion" else index.parsed(task.data["body"])))
            except Refusal as error:
                task.fail(error)
        self._extract(index, good)

    def _extract(self, index: Index, good: Sequence[tuple[Task, Any]]) -> None:
        """What is found wrong now fails every task of the batch, with the same error."""
        try:
            for task, data in good:
                if task.kind != "documentDeletion":
                    index.check(data)
        except ExtractionError as error:
            message, code = error.args
            for task, _ in good:
                task.fail(Refusal(code, f"Index `{index.uid}`: {message}"))
            return
        for task, data in good:
            for document in data:
                index.delete(document) if task.kind == "documentDeletion" else index.put(document)
            task.status = "succeeded"

    def _administer(self, task: Task) -> None:
        try:
            self._administered(task)
            task.status = "succeeded"
        except Refusal as error:
            task.fail(error)

    def _administered(self, task: Task) -> None:
        there = task.index in self._indexes
        match task.kind:
            case "indexCreation":
                if there:
                    raise Refusal("index_already_exists", f"Index `{task.index}` already exists.")
                self._indexes[task.index] = Index(task.index, task.data)
            case "indexDeletion":
                if not there:
                    raise Refusal("index_not_found", f"Index `{task.index}` not found.")
                del self._indexes[task.index]
            case "indexSwap":
                # Only the names change places; each index keeps when it was created: apply_index_swap
                for missing in (name for names in task.data for name in names if name not in self._indexes):
                    raise Refusal("index_not_found", f"Index `{missing}` not found.")
                for one, other in task.data:
                    self._indexes[one], self._indexes[other] = self._indexes[other], self._indexes[one]
                    self._indexes[one].uid, self._indexes[other].uid = one, other
            case _:
                self._indexes.setdefault(task.index, Index(task.index, None)).change(task.data)


def listed(tasks: Mapping[int, Task], query: Mapping[str, str], sees: Callable[[str], bool]) -> dict[str, Any]:
    """`GET /tasks`: newest first, twenty where no limit is given, `total` of all that match."""
    wanted = {
        name: set(query[name].split(",")) for name in ("uids", "statuses", "batchUids", "indexUids") if name in query
    }
    found = [
        task.view()
        for task in sorted(tasks.values(), key=lambda task: -task.uid)
        if sees(task.index)
        and str(task.uid) in wanted.get("uids", {str(task.uid)})
        and task.status in wanted.get("statuses", {task.status})
        and str(task.batch) in wanted.get("batchUids", {str(task.batch)})
        and task.index in wanted.get("indexUids", {task.index})
    ]
    limit = int(query.get("limit", 20))
    return {"results": found[:limit], "total": len(found), "limit": limit, "from": None, "next": None}
