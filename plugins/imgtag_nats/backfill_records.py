"""Records of distributed backfills: each process that takes part keeps one for each backfill, which it alone writes.

The publisher's has its position and the part that it publishes, a sidecar's what it has counted. Why that counts each
object once: docs/design/20261127-distributed-backfill.md.
"""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imgtag.flow.batcher import Batcher
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names

PUBLISHER = "publisher"
"""The last token of the subject of the publisher's record."""
MAX_RECENT = 1_000
"""Numbers of hints that a record remembers as counted: many more than are unanswered at once, or in one part."""
MAX_COUNTED = 200
COUNT_LINGER = 0.1
"""Seconds in which counts gather that one record stores."""


_COMMON = {"run": str, "counts": dict}
_FIELDS: Mapping[bool, Mapping[str, type | tuple[type, ...]]] = {
    False: {**_COMMON, "recent": list},
    True: {
        **_COMMON,
        "owner": str,
        "description": dict,
        "started": (int, float),
        "position": str,
        "first": int,
        "part": list,
        "complete": bool,
    },
}
"""What a record has, by whether it is the publisher's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """A record of the stream; ``at`` is when the server stored it, in seconds since 1970."""

    fields: Mapping[str, Any]
    sequence: int
    at: float


class Records:
    """The records of a site, in a stream that keeps the last message of each subject."""

    def __init__(self, jetstream: JetStream, names: Names) -> None:
        self._jetstream = jetstream
        self._names = names

    async def list_writers(self, id_: str = "*") -> dict[str, list[str]]:
        """Who keeps a record, by the id of the backfill. Raises Unavailable."""
        pattern = f"{self._names.progress}.{id_}.*"
        writers: dict[str, list[str]] = {}
        for subject in await self._jetstream.count_by_subject(self._names.progress_stream, pattern):
            backfill, writer = subject.split(".")[-2:]
            writers.setdefault(backfill, []).append(writer)
        return writers

    async def read(self, id_: str, writer: str) -> Stored | None:
        """The record of a process; None where there is none, or something else. Raises Unavailable."""
        subject = f"{self._names.progress}.{id_}.{writer}"
        message = await self._jetstream.read_last(self._names.progress_stream, subject)
        if message is None:
            return None
        try:
            fields = json.loads(b64decode(message.get("data", "")))
            _require(fields, _FIELDS[writer == PUBLISHER])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # Whoever may publish on the subject can send anything.
            log.debug("backfill_record_unreadable", extra={"subject": subject, "reason": type(error).__name__})
            return None
        return Stored(fields, message["seq"], datetime.fromisoformat(message["time"]).timestamp())

    async def write(self, id_: str, writer: str, fields: Mapping[str, Any], last_sequence: int | None = None) -> int:
        """Store a record, as `JetStream.publish` does. Raises JetStreamError, Unavailable."""
        subject = f"{self._names.progress}.{id_}.{writer}"
        data = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        return await self._jetstream.publish(subject, data, last_sequence=last_sequence)

    async def remove(self, id_: str) -> None:
        """Remove all records of a backfill. Raises Unavailable."""
        query = {"filter": f"{self._names.progress}.{id_}.*"}
        await self._jetstream.find(f"STREAM.PURGE.{self._names.progress_stream}", query)


class Ledger:
    """What this process has counted of one run of a backfill.

    The record holds sums, so that storing it again changes nothing, and the numbers that were counted last: a message
    whose acknowledgement was lost with its process is not counted by the next one.
    """

    def __init__(self, records: Records, id_: str, run: str, writer: str) -> None:
        self._records = records
        self._id = id_
        self._run = run
        self._writer = writer
        self._counts: Counter[str] = Counter()
        self._recent: deque[int] = deque(maxlen=MAX_RECENT)
        self._store = Batcher(self._store_all, MAX_COUNTED, COUNT_LINGER)

    async def count(self, number: int, counts: Mapping[str, int], *, is_doubtful: bool) -> None:
        """Add to the counts, durably, unless the number was counted. ``is_doubtful``: another process may have done it.

        Raises Unavailable.
        """
        await self._store((number, counts, is_doubtful))

    async def _store_all(self, items: Sequence[tuple[int, Mapping[str, int], bool]]) -> Sequence[None]:
        known = set(self._recent)
        if any(is_doubtful for _, _, is_doubtful in items):
            known |= await self._read_recent_of_others()
        for number, counts, _ in items:
            if number not in known:
                known.add(number)
                self._recent.append(number)
                self._counts.update(counts)
        record = {"run": self._run, "counts": self._counts, "recent": list(self._recent)}
        await self._records.write(self._id, self._writer, record)
        return [None] * len(items)

    async def _read_recent_of_others(self) -> set[int]:
        numbers: set[int] = set()
        for writer in (await self._records.list_writers(self._id)).get(self._id, ()):
            record = await self._records.read(self._id, writer) if writer not in {PUBLISHER, self._writer} else None
            if record is not None and record.fields["run"] == self._run:
                numbers.update(record.fields["recent"])
        return numbers


def _require(fields: Any, kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raises TypeError, KeyError for what is no record."""
    if not all(isinstance(fields[name], kind) for name, kind in kinds.items()):
        raise TypeError(kinds)
    numbers = [*fields["counts"].values(), *fields.get("recent", ())]
    if not all(type(number) is int for number in numbers):
        raise TypeError("a number")
