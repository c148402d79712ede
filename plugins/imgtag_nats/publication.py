"""The publisher's side of a distributed backfill."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import anyio

from imgtag.errors import Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.plugin import Hint
from imgtag.plugin.hint_messages import to_fields
from imgtag_nats.backfill_records import PUBLISHER, Records, Stored
from imgtag_nats.errors import STORE_FAILED, WRONG_LAST_SEQUENCE, JetStreamError
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names

RETRY = Backoff(first=0.5, maximum=15.0)
ROOM_PAUSE = 0.5
"""Seconds until a full stream is tried again."""
FULL = "the queue is full: sidecars must work off some objects first"


class Publication:
    """Publishes the hints of one backfill, part by part.

    The record names the part that is being published, with a number for each hint: another process that takes over
    publishes just that part again. It is stored only over the record that was read or stored last, so that of two
    publishers only one goes on.
    """

    def __init__(
        self,
        jetstream: JetStream,
        names: Names,
        records: Records,
        id_: str,
        record: Stored | None,
        description: Mapping[str, Any],
    ) -> None:
        """``record`` is that of the publisher before this one, if there was one."""
        self._jetstream = jetstream
        self._subject = f"{names.backfill}.{id_}"
        self._records = records
        self._id = id_
        self._sequence = record.sequence if record else 0
        self._trouble = ""
        new = {
            "run": uuid4().hex,
            "description": dict(description),
            "started": time.time(),
            "position": "",
            "counts": {},
            "first": 0,
            "part": [],
            "complete": False,
        }
        self._record: dict[str, Any] = {**new, **(record.fields if record else {}), "owner": uuid4().hex}
        self._is_part_of_another = bool(self._record["part"])
        """Whether the publisher before may have published its last part only in part."""

    @property
    def position(self) -> str:
        """How far the backfill is published."""
        return str(self._record["position"])

    @property
    def trouble(self) -> str:
        """What is waited for; empty for nothing."""
        return self._trouble

    async def take_over(self) -> bool:
        """Store who publishes now. False where another process does."""
        return await self._store()

    async def publish(self, hints: Sequence[Hint], position: str, counts: Mapping[str, int]) -> bool:
        """Store what is to be published, then publish it. False where another process publishes now."""
        if not await self._send_part_of_another():
            return False
        record = self._record
        record["complete"] = False
        record["counts"] = dict(Counter(record["counts"]) + Counter(counts))
        record["position"] = position
        record["first"] += len(record["part"])
        record["part"] = [to_fields(hint) for hint in hints]
        return await self._store() and await self._send_part(again=False)

    async def complete(self) -> bool:
        """Store that no hints follow. False where another process publishes now."""
        if not await self._send_part_of_another():
            return False
        self._record |= {"first": self._record["first"] + len(self._record["part"]), "part": [], "complete": True}
        return await self._store()

    async def _store(self) -> bool:
        """Store the record, however long it takes; False where it is not ours to store."""
        failures = 0
        while True:
            try:
                self._sequence = await self._records.write(self._id, PUBLISHER, self._record, self._sequence)
            except Unavailable as error:
                if isinstance(error, JetStreamError) and error.err_code == WRONG_LAST_SEQUENCE:
                    stored = await self._read_own()
                    if stored is None:
                        return False
                    self._sequence = stored.sequence  # the answer to it was lost
                    continue
                failures += 1
                await self._wait(error.message, RETRY.delay(failures))
            else:
                self._trouble = ""
                return True

    async def _send_part_of_another(self) -> bool:
        """Publish the last part of the publisher before. Not when taking over: the queue may be full for long."""
        if self._is_part_of_another and not await self._send_part(again=True):
            return False
        self._is_part_of_another = False
        return True

    async def _send_part(self, *, again: bool) -> bool:
        """Publish the part, however long it takes; False where it is no longer ours to publish."""
        left, failures = list(enumerate(self._record["part"], self._record["first"])), 0
        while left:
            problems = await asyncio.gather(*(self._send(number, hint, again=again) for number, hint in left))
            left = [item for item, problem in zip(left, problems, strict=True) if problem]
            if left:
                failures += 1
                problem = next(filter(None, problems))
                await self._wait(problem, ROOM_PAUSE if problem == FULL else RETRY.delay(failures))
                with suppress(Unavailable):
                    if await self._read_own() is None:
                        return False
        self._trouble = ""
        return True

    async def _send(self, number: int, hint: Mapping[str, Any], *, again: bool) -> str:
        """Publish one hint; why that was not possible, or nothing. ``again``: it may have been published before."""
        message = {"hint": hint, "run": self._record["run"], "number": number, "again": again}
        data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            await self._jetstream.publish(self._subject, data, f"{self._id} {self._record['run']} {number}")
        except Unavailable as error:
            is_full = isinstance(error, JetStreamError) and error.err_code == STORE_FAILED
            return FULL if is_full else error.message
        return ""

    async def _read_own(self) -> Stored | None:
        """The stored record, if it is ours. Raises Unavailable."""
        stored = await self._records.read(self._id, PUBLISHER)
        return stored if stored and stored.fields["owner"] == self._record["owner"] else None

    async def _wait(self, trouble: str, seconds: float) -> None:
        self._trouble = trouble
        await anyio.sleep(seconds)
