"""Changes sent, confirmed, and where a task fails, parted until the document is found that it fails for.

The server works off many tasks as one batch, and some errors of one document fail all of them, with the same
message; so a failed task says nothing of its own documents until it has failed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgtag.errors import DocumentError, ImgtagError, Unavailable
from imgtag.plugin.indexer import Delete, Outcome, Upsert
from imgtag_meilisearch.batches import Entry, Payload, payloads
from imgtag_meilisearch.connection import Connection, Task
from imgtag_meilisearch.document import decode, encode
from imgtag_meilisearch.fault import TooLarge, failed
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.tasks import Tasks
from imgtag_meilisearch.threads import Threads

TRIES = 3  # of one change that is lost, or fails but never alone
FETCHED = 500  # documents read at a time

Errors = dict[str, ImgtagError]


@dataclass(frozen=True, slots=True)
class Sent:
    """A payload, and the task that has it."""

    payload: Payload
    uid: int
    note: str


class Writer:
    """Applies changes; several may be under way at once."""

    def __init__(self, settings: MeilisearchSettings, connection: Connection, threads: Threads, tasks: Tasks) -> None:
        self._settings = settings
        self._connection = connection
        self._threads = threads
        self._tasks = tasks

    async def apply(self, changes: Sequence[Upsert | Delete]) -> list[Outcome]:
        """Make the changes; durable on return. Raises Unavailable: what was done by then may be done again."""
        plans = await self._threads.run(lambda: [_entry(change) for change in changes])
        last = {entry.id: entry for entry in plans if isinstance(entry, Entry)}  # of an id only this one counts
        wanted = payloads(
            list(last.values()),
            most_bytes=self._settings.batch_bytes,
            most_entries=self._settings.batch_documents,
        )
        errors = await self._write(wanted)
        return [plan if isinstance(plan, Outcome) else Outcome(plan.id, errors.get(plan.id)) for plan in plans]

    async def _write(self, wanted: Iterable[Payload], attempt: int = 0) -> Errors:
        sent, errors = await self._send(wanted)
        tasks = await self._finished(sent)
        for one in sent:
            errors |= await self._judge(one, tasks.get(one.uid), attempt)
        return errors

    async def _send(self, wanted: Iterable[Payload]) -> tuple[list[Sent], Errors]:
        """Send everything without waiting; what is too large in halves."""
        sent: list[Sent] = []
        errors: Errors = {}
        left = list(wanted)[::-1]
        while left:
            payload, note = left.pop(), self._tasks.note()
            try:
                sent.append(Sent(payload, await self._threads.run(self._connection.send, payload, note), note))
            except TooLarge as error:
                left += payload.halves()
                errors |= {} if payload.halves() else {payload.ids[0]: error}
        return sent, errors

    async def _judge(self, sent: Sent, task: Task | None, attempt: int) -> Errors:
        if task is None:
            return await self._lost(sent.payload, attempt)
        if task.status == "succeeded":
            return {}
        if task.status == "canceled":
            raise Unavailable("somebody cancelled the tasks of the sidecar", hint="They are sent again.")
        error = failed(task.error)
        if not isinstance(error, DocumentError):
            raise error
        return await self._failed(sent.payload, task, error, attempt)

    async def _failed(self, payload: Payload, task: Task, error: DocumentError, attempt: int) -> Errors:
        """Send the payload once more by itself, then its halves; believe the error of one that failed alone."""
        halves = payload.halves()
        if not halves and await self._alone(task):
            return {payload.ids[0]: error}
        if attempt == 0:
            return await self._write([payload], 1)
        if halves:
            parts = [await self._write([half], 1) for half in halves]
            return {id_: found for part in parts for id_, found in part.items()}
        return await self._again(payload, attempt)

    async def _lost(self, payload: Payload, attempt: int) -> Errors:
        """The server does not know the task: it was restored, or has done a million since. Look at what it has."""
        left: list[Entry] = []
        for part in _chunks(payload.entries):
            left += await self._undone(part)
        return await self._again(Payload(payload.kind, tuple(left)), attempt) if left else {}

    async def _again(self, payload: Payload, attempt: int) -> Errors:
        if attempt == TRIES:
            raise Unavailable("Meilisearch fails what it is sent together with what others sent")
        return await self._write([payload], attempt + 1)

    async def _undone(self, entries: Sequence[Entry]) -> list[Entry]:
        ids = [entry.id for entry in entries]
        answer = await self._threads.run(self._connection.fetch, ids=ids, limit=len(ids), retrieveVectors=True)
        there = {document["id"]: decode(document) for document in answer["results"]}
        return [entry for entry in entries if there.get(entry.id) != (json.loads(entry.line) if entry.line else None)]

    async def _alone(self, task: Task) -> bool:
        return task.batch is not None and await self._threads.run(self._connection.batch_size, task.batch) == 1

    async def _finished(self, sent: Sequence[Sent]) -> dict[int, Task]:
        return await self._tasks.finished({one.uid: one.note for one in sent}, self._settings.task_deadline)


def _entry(change: Upsert | Delete) -> Entry | Outcome:
    if isinstance(change, Delete):
        return Entry(change.id)
    try:
        return Entry(change.id, encode(change.document))
    except DocumentError as error:
        return Outcome(str(change.document.get("id", "")), error)


def _chunks(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    return [entries[start : start + FETCHED] for start in range(0, len(entries), FETCHED)]
