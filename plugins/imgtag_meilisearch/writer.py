"""Changes sent, confirmed and, where a task fails, divided until the document at fault is found.

The server processes many tasks as one batch, and some errors of one document fail all of them with the same
message. So a failed task says nothing about its own documents until it has failed alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgtag.errors import DocumentError, ImgtagError, Unavailable
from imgtag.plugin import Delete, Outcome, Upsert
from imgtag_meilisearch.batches import Entry, Payload, divide
from imgtag_meilisearch.client import IndexClient, Task
from imgtag_meilisearch.document import decode, encode
from imgtag_meilisearch.errors import TooLarge, map_task_error
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.tasks import Tasks

MAX_TRIES = 3  # of one change that is lost, or fails but never alone
MAX_IDS = 500  # of one request

Errors = dict[str, ImgtagError]


@dataclass(frozen=True, slots=True)
class Sent:
    """A payload, and the task that carries it."""

    payload: Payload
    uid: int
    note: str


class Writer:
    """Applies changes; calls may overlap."""

    def __init__(self, client: IndexClient, tasks: Tasks, settings: MeilisearchSettings) -> None:
        self._client = client
        self._tasks = tasks
        self._settings = settings

    async def apply(self, changes: Sequence[Upsert | Delete]) -> list[Outcome]:
        """Make the changes; durable on return. Raises Unavailable; what was done may be done again."""
        encoded = await self._client.run(lambda: [_encode(change) for change in changes])
        # Puts and deletions go in separate requests, so only the last change of an id may be sent.
        last = {entry.id: entry for entry in encoded if isinstance(entry, Entry)}
        limits = self._settings
        payloads = divide(list(last.values()), max_bytes=limits.batch_bytes, max_entries=limits.batch_documents)
        errors = await self._write(payloads)
        return [entry if isinstance(entry, Outcome) else Outcome(entry.id, errors.get(entry.id)) for entry in encoded]

    async def _write(self, payloads: Iterable[Payload], attempt: int = 0) -> Errors:
        sent, errors = await self._send(payloads)
        tasks = await self._tasks.wait({part.uid: part.note for part in sent}, self._settings.task_deadline)
        for part in sent:
            errors |= await self._confirm(part, tasks.get(part.uid), attempt)
        return errors

    async def _send(self, payloads: Iterable[Payload]) -> tuple[list[Sent], Errors]:
        """Send everything without waiting; what is too large is sent in halves."""
        sent: list[Sent] = []
        errors: Errors = {}
        left = list(payloads)[::-1]  # the first is popped first
        while left:
            payload, note = left.pop(), self._tasks.new_note()
            try:
                sent.append(Sent(payload, await self._client.run(self._client.send, payload, note), note))
            except TooLarge as error:
                left += payload.halves()
                errors |= {} if payload.halves() else {payload.ids[0]: error}
        return sent, errors

    async def _confirm(self, sent: Sent, task: Task | None, attempt: int) -> Errors:
        if task is None:
            # Send what the index lacks. The server may lose a task: it was restored, or has deleted old tasks.
            left: list[Entry] = []
            for start in range(0, len(sent.payload.entries), MAX_IDS):
                left += await self._undone(sent.payload.entries[start : start + MAX_IDS])
            return await self._retry(Payload(sent.payload.kind, tuple(left)), attempt) if left else {}
        if task.status == "succeeded":
            return {}
        if task.status == "canceled":
            raise Unavailable("somebody cancelled the tasks of the sidecar", hint="They are sent again.")
        error = map_task_error(task.error)
        if not isinstance(error, DocumentError):
            raise error
        # Send the payload once more by itself, then its halves, until one document fails in a batch of its own.
        halves = sent.payload.halves()
        if not halves and task.batch is not None and await self._client.run(self._client.batch_size, task.batch) == 1:
            return {sent.payload.ids[0]: error}
        if attempt == 0:
            return await self._write([sent.payload], 1)
        if halves:
            parts = [await self._write([half], 1) for half in halves]
            return {id_: fault for part in parts for id_, fault in part.items()}
        return await self._retry(sent.payload, attempt)

    async def _retry(self, payload: Payload, attempt: int) -> Errors:
        if attempt == MAX_TRIES:
            raise Unavailable("Meilisearch keeps failing these documents together with those of other clients")
        return await self._write([payload], attempt + 1)

    async def _undone(self, entries: Sequence[Entry]) -> list[Entry]:
        ids = [entry.id for entry in entries]
        answer = await self._client.run(self._client.fetch, ids=ids, limit=len(ids), retrieveVectors=True)
        there = {document["id"]: decode(document) for document in answer["results"]}
        return [
            entry
            for entry in entries
            if there.get(entry.id) != (decode(json.loads(entry.line)) if entry.line else None)
        ]


def _encode(change: Upsert | Delete) -> Entry | Outcome:
    if isinstance(change, Delete):
        return Entry(change.id)
    try:
        return Entry(change.id, encode(change.document))
    except DocumentError as error:
        return Outcome(str(change.document.get("id", "")), error)
