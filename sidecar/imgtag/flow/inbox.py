"""Hints that other processes leave for the running sidecar, where no broker carries them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import Unavailable
from imgtag.files.records import Records
from imgtag.flow.local_queue import LocalQueue
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks into the folder."""
MAX_WAITING = 10_000
"""Hints that may wait in memory before more are taken."""

T = TypeVar("T")


class Inbox:
    """One file for each hint, kept until the hint is done.

    File names are never reused, so removing a hint that is done never removes a newer one.
    """

    def __init__(self, folder: Path, limiter: CapacityLimiter) -> None:
        self._folder = folder
        self._records = Records(folder)
        self._limiter = limiter
        self._taken: set[str] = set()
        self._unreadable: set[str] = set()
        """Files that failed at the last look."""
        self._is_open = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Within the context, a hint that is acknowledged is removed. An answer that comes later does nothing."""
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    async def put(self, hints: Sequence[Hint]) -> None:
        """Leave hints; durable on return. Raises Unavailable."""
        try:
            await self._run(lambda: self._write(hints))
        except OSError as error:
            raise Unavailable(f"{self._folder}: {error.strerror or error}") from error

    async def feed(self, queue: LocalQueue) -> None:
        """Move hints to a queue as they come, until cancelled; each is removed once it is acknowledged there."""
        while True:
            if len(queue) < MAX_WAITING:
                try:
                    for name, hint in await self._run(lambda: self._take(MAX_WAITING)):
                        queue.put(hint, done=partial(self._drop, name))
                except OSError as error:
                    log.warning("inbox_unreadable", extra={"reason": str(error)})
            await anyio.sleep(INTERVAL)

    async def _drop(self, name: str) -> None:
        if not self._is_open:
            return
        try:
            await self._run(lambda: self._records.drop(name))
        except OSError as error:
            log.warning("inbox_hint_not_removed", extra={"reason": str(error)})
        else:
            self._taken.discard(name)

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)

    def _write(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            record = {name: value for name, value in asdict(hint).items() if value is not None}
            if hint.metadata is not None:
                record["metadata"] = dict(hint.metadata)
            self._records.put(f"{time.time_ns():020d}-{uuid4().hex}", record)

    def _take(self, limit: int) -> list[tuple[str, Hint]]:
        """Hints that this process has not taken yet, each with the name to drop it by; the oldest first."""
        self._records.sweep()
        known = self._taken.copy()  # before the folder is listed: what is dropped meanwhile is neither new nor broken
        taken: list[tuple[str, Hint]] = []
        failures: dict[str, OSError] = {}
        for name in sorted(name for name in self._records.names() if name not in known):
            try:
                record = self._records.get(name)
            except OSError as error:  # the file may be fine, and is tried again
                failures[name] = error
                continue
            hint = _decode(record) if record is not None else None
            if hint is None:
                log.warning("inbox_file_unreadable", extra={"file": name})
            else:
                taken.append((name, hint))
            self._taken.add(name)
            if len(taken) == limit:
                break
        self._report(failures)
        return taken

    def _report(self, failures: Mapping[str, OSError]) -> None:
        """Log once what fails: the same files may fail at every look."""
        if new := failures.keys() - self._unreadable:
            log.warning("inbox_unreadable", extra={"reason": str(failures[min(new)])})
        self._unreadable = set(failures)


def _decode(record: Mapping[str, Any]) -> Hint | None:
    try:
        ref = ObjectRef(record["ref"]["bucket"], record["ref"]["key"])
        intent = Intent(record["intent"])
    except (KeyError, TypeError, ValueError):
        return None
    known = ("removed", "version", "sequencer", "etag", "metadata", "at")
    return Hint(ref=ref, intent=intent, **{name: record[name] for name in known if name in record})
