"""Distributed backfills: each has a subject and a consumer in a work queue apart, and records of its progress."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
from nats.aio.msg import Msg

from imgtag.errors import EventError, Unavailable
from imgtag.plugin import BackfillDelivery, BackfillPublication, Hint, SharedBackfill
from imgtag.plugin.hint_messages import read_message
from imgtag_nats.answers import Answers
from imgtag_nats.backfill_records import PUBLISHER, Ledger, Records
from imgtag_nats.client import Connection
from imgtag_nats.consumers import ACKS
from imgtag_nats.delivery import ACK, PROGRESS, Position, nak_after
from imgtag_nats.errors import CONNECTION_ERRORS, describe
from imgtag_nats.jetstream import SECOND, JetStream
from imgtag_nats.names import Names
from imgtag_nats.publication import Publication
from imgtag_nats.settings import NatsSettings
from imgtag_nats.setup import UNCHANGEABLE

PULL_EXPIRES = 0.5
"""Seconds that a pull waits for more messages."""
PULL_GRACE = 1.0
"""Seconds after that in which the server says that the pull has ended."""

log = logging.getLogger(__name__)


class StreamBackfills:
    """The backfills of a site, shared by its sidecars."""

    def __init__(
        self,
        connection: Connection,
        jetstream: JetStream,
        names: Names,
        answers: Answers,
        settings: NatsSettings,
        *,
        create_streams: Callable[[], Awaitable[object]],
        is_live_waiting: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._names = names
        self._answers = answers
        self._settings = settings
        self._create_streams = create_streams
        self._is_live_waiting = is_live_waiting
        self._records = Records(jetstream, names)
        self._writer = uuid4().hex
        """The last token of the subjects of our own records."""
        self._ledgers: dict[tuple[str, str], Ledger] = {}
        """By the id of a backfill and of its run."""
        self._done: dict[tuple[str, int], SharedBackfill] = {}
        """Those that were done, by id and publisher's record: nothing changes in them unless another one is begun."""

    async def list(self) -> Sequence[SharedBackfill]:
        """All backfills, the oldest first. Raises Unavailable."""
        all_writers = await self._records.list_writers()
        # In this order: what was published when we looked is among what is left, or was counted before it was not.
        publishers = {
            id_: await self._records.read(id_, PUBLISHER)
            for id_, writers in all_writers.items()
            if PUBLISHER in writers
        }
        if not publishers:
            return ()
        names = self._names
        left = await self._jetstream.count_by_subject(names.backfill_stream, f"{names.backfill}.*")
        all_writers = await self._records.list_writers()
        backfills, done = [], {}
        for id_, publisher in publishers.items():
            if publisher is None:  # dropped just now
                continue
            if known := self._done.get((id_, publisher.sequence)):
                done[id_, publisher.sequence] = known
                backfills.append(known)
                continue
            fields, counts, changed = publisher.fields, Counter(publisher.fields["counts"]), publisher.at
            for writer in all_writers.get(id_, ()):
                record = await self._records.read(id_, writer) if writer != PUBLISHER else None
                if record is not None and record.fields["run"] == fields["run"]:
                    counts.update(record.fields["counts"])
                    changed = max(changed, record.at)
            backfill = SharedBackfill(
                id=id_,
                description=fields["description"],
                started=fields["started"],
                changed=changed,
                is_published=fields["complete"],
                left=left.get(f"{names.backfill}.{id_}", 0),
                counts=counts,
            )
            backfills.append(backfill)
            if backfill.is_done:
                done[id_, publisher.sequence] = backfill
        self._done = done
        return sorted(backfills, key=lambda backfill: backfill.started)

    async def begin(self, id_: str, description: Mapping[str, Any]) -> BackfillPublication:
        """Begin, or go on where the last publisher was. Raises Unavailable."""
        await self._create_streams()
        for backfill in await self.list():
            if backfill.id == id_ and backfill.is_done:
                await self.drop(id_)
        record = await self._records.read(id_, PUBLISHER)
        if record is None:
            await self._remove(id_)  # what somebody counted or published after it was dropped
        publication = Publication(self._jetstream, self._names, self._records, id_, record, description)
        await self._create_consumer(id_)
        if not await publication.take_over():
            raise Unavailable("another process began the same backfill at the same moment", hint="Try again.")
        return publication

    async def take(self, id_: str, count: int) -> Sequence[BackfillDelivery]:
        """Pull messages, unless notifications wait. Raises Unavailable."""
        if self._is_live_waiting():
            return ()
        link = self._connection.current()
        messages: list[Msg] = []
        ended = asyncio.Event()

        async def receive(message: Msg) -> None:
            if message.reply.startswith(ACKS):
                messages.append(message)
            if len(messages) == count or not message.reply.startswith(ACKS):
                ended.set()

        inbox = link.client.new_inbox()
        durable = self._names.backfill_durable(id_)
        subject = f"{self._jetstream.prefix}.CONSUMER.MSG.NEXT.{self._names.backfill_stream}.{durable}"
        request = json.dumps({"batch": count, "expires": int(PULL_EXPIRES * SECOND)}).encode()
        try:
            subscription = await link.client.subscribe(inbox, cb=receive)
            try:
                await link.client.publish(subject, request, inbox)
                with anyio.move_on_after(PULL_EXPIRES + PULL_GRACE):
                    await ended.wait()
            finally:
                with anyio.CancelScope(shield=True), suppress(*CONNECTION_ERRORS):
                    await subscription.unsubscribe()
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"no answer from NATS on {subject}: {describe(error)}") from error
        deliveries = (self._deliver(id_, message) for message in messages)
        return [delivery for delivery in deliveries if delivery is not None]

    async def drop(self, id_: str) -> bool:
        """Remove the records, the consumer, and the messages. Raises Unavailable."""
        record = await self._records.read(id_, PUBLISHER)
        await self._remove(id_)
        return record is not None

    def _deliver(self, id_: str, message: Msg) -> NatsBackfillDelivery | None:
        """The delivery of a message; None where a stranger published something else there."""
        try:
            hint, fields = read_message(message.data)
            run, number, again = fields["run"], fields["number"], fields["again"]
            if not (isinstance(hint, Hint) and isinstance(run, str) and isinstance(number, int)):
                raise EventError("the message is no hint of a backfill")
        except (EventError, KeyError) as error:
            log.warning("backfill_message_unreadable", extra={"backfill": id_, "reason": str(error)})
            self._answers.send(message.reply, ACK)
            return None
        if (id_, run) not in self._ledgers:
            self._ledgers[id_, run] = Ledger(self._records, id_, run, self._writer)
        return NatsBackfillDelivery(
            hint=hint,
            attempt=Position.parse(message.reply).attempt,
            number=number,
            is_repeated=bool(again),
            reply=message.reply,
            answers=self._answers,
            ledger=self._ledgers[id_, run],
            ack_wait=self._settings.ack_wait,
        )

    async def _create_consumer(self, id_: str) -> None:
        stream, durable = self._names.backfill_stream, self._names.backfill_durable(id_)
        config = {
            "durable_name": durable,
            "filter_subject": f"{self._names.backfill}.{id_}",
            "ack_wait": int(self._settings.ack_wait * SECOND),
            "max_deliver": -1,
            "max_ack_pending": self._settings.max_ack_pending,
            **UNCHANGEABLE,
        }
        body = {"stream_name": stream, "config": config}
        await self._jetstream.call(f"CONSUMER.DURABLE.CREATE.{stream}.{durable}", body)

    async def _remove(self, id_: str) -> None:
        # The records first: the publisher then stops, and sidecars look for other work.
        await self._records.remove(id_)
        stream = self._names.backfill_stream
        await self._jetstream.find(f"CONSUMER.DELETE.{stream}.{self._names.backfill_durable(id_)}")
        await self._jetstream.find(f"STREAM.PURGE.{stream}", {"filter": f"{self._names.backfill}.{id_}"})


@dataclass(eq=False, kw_only=True)
class NatsBackfillDelivery:
    """A message of a backfill, and the answer to it. ``is_repeated``: it may have been published twice."""

    hint: Hint
    attempt: int
    number: int
    is_repeated: bool
    reply: str
    answers: Answers
    ledger: Ledger
    ack_wait: float
    extended: float = field(default_factory=time.monotonic)

    async def finish(self, counts: Mapping[str, int]) -> None:
        """Count it, then acknowledge it. Raises Unavailable."""
        is_late = time.monotonic() - self.extended > self.ack_wait  # it may be with another sidecar by now
        is_doubtful = self.is_repeated or self.attempt > 1 or is_late
        await self.ledger.count(self.number, counts, is_doubtful=is_doubtful)
        self.answers.send(self.reply, ACK)

    async def nak(self, delay: float) -> None:
        """Let it come again."""
        self.answers.send(self.reply, nak_after(delay))

    async def extend(self) -> None:
        """Keep it for another ``ack_wait``."""
        self.extended = time.monotonic()
        self.answers.send(self.reply, PROGRESS, optional=True)
