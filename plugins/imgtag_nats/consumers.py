"""Pulling from one durable consumer.

There are three kinds. Notifications are pulled in batches. Hints that somebody published come one at a time; they yield
to notifications that wait, yet never so long that they starve. Parked hints wait for the index as well: for a time
after they were parked, and whenever one of them is to come again all of them wait, because they all wait for the same
thing.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from nats.aio.msg import Msg

from imgtag.errors import EventError, Unavailable
from imgtag.plugin import Delivery, Hint
from imgtag.plugin.hint_messages import decode
from imgtag.plugin.notifications import Content, parse
from imgtag_nats.answers import Answers
from imgtag_nats.audience import Audience
from imgtag_nats.client import Link
from imgtag_nats.delivery import ACK, NAK, NatsDelivery, Position, nak_after
from imgtag_nats.errors import CONNECTION_ERRORS, ConsumerGone
from imgtag_nats.jetstream import SECOND, JetStream
from imgtag_nats.setup import Topology

PULL_EXPIRES = 5.0
"""Seconds that a pull waits for messages, after which the consumer is checked for having been deleted."""
PULL_GRACE = 2.0
"""Seconds after that in which the server says that the pull has ended."""
DRAIN_TIMEOUT = 2.0
"""Seconds for messages to arrive that the server sent before we stopped to listen."""
MAX_YIELD = 5.0
"""Seconds that one hint waits for notifications to be worked off."""
MIN_INTERVAL = 0.02
"""Seconds between two hints while they are given back: thousands may be deferred, and each costs a millisecond."""
NO_MORE_MESSAGES = "408"
"""What the server says when a pull has expired; other codes refuse it.

https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md
"""
ACKS = "$JS.ACK."
"""What reply subjects of messages begin with."""

_MAX_PAYLOAD = 1 << 16
"""Bytes of a message that are kept with its dead letter."""


@dataclass
class Priority:
    """Whether notifications wait on the server; hints yield to them."""

    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_idle(self) -> bool:
        """Whether no notifications wait, as far as the server has said."""
        return self._idle.is_set()

    def note_waiting(self, count: int) -> None:
        """So many notifications wait on the server."""
        if count == 0:
            self._idle.set()
        elif self._idle.is_set():
            self._idle = asyncio.Event()

    async def yield_to_notifications(self) -> None:
        """Wait until none wait, for some time at most."""
        with anyio.move_on_after(MAX_YIELD):
            await self._idle.wait()


@dataclass(kw_only=True, slots=True, eq=False)
class Fetched:
    """A message that was fetched and waits for the pipeline. ``moment`` is that of `Audience.count`."""

    consumer: Consumer
    reply: str
    data: bytes
    position: Position
    moment: int


class WaitingLine:
    """What was fetched and waits for the pipeline, in order of arrival."""

    def __init__(self) -> None:
        self._line: deque[Fetched] = deque()
        self._news = asyncio.Event()

    def __iter__(self) -> Iterator[Fetched]:
        return iter(tuple(self._line))

    def __len__(self) -> int:
        return len(self._line)

    def put(self, fetched: Fetched) -> None:
        """Add a message."""
        self._line.append(fetched)
        self._news.set()

    async def take(self) -> Fetched:
        """The next message, as soon as there is one."""
        while not self._line:
            self._news = asyncio.Event()
            await self._news.wait()
        return self._line.popleft()

    def remove(self, fetched: Fetched) -> None:
        """Forget a message."""
        self._line.remove(fetched)


@dataclass(frozen=True, kw_only=True)
class ConsumerContext:
    """What all consumers of a source share."""

    jetstream: JetStream
    topology: Topology
    answers: Answers
    audience: Audience
    line: WaitingLine = field(default_factory=WaitingLine)
    priority: Priority = field(default_factory=Priority)


@dataclass(eq=False)
class Consumer:
    """Messages of one durable consumer: notifications of the store.

    At most ``batch`` of them wait in the line. One pull is open at a time: between two pulls nothing is on its way
    here, so that `Audience` can count.
    """

    context: ConsumerContext
    durable: str
    batch: int = 1

    _waiting: int = field(default=0, init=False)
    """Messages of ours in the line."""
    _expected: int = field(default=0, init=False)
    """Messages that the open pull may still bring."""
    _status: str = field(default="", init=False)
    """How the server ended the last pull, if not with the last message."""
    _progress: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _created: str | None = field(default=None, init=False)

    async def pull(self, link: Link) -> None:
        """Put message after message in the line. Raises ConsumerGone, Unavailable, or one of CONNECTION_ERRORS."""
        context, listening = self.context, True

        async def receive(message: Msg) -> None:
            if listening:
                self._receive(message)

        inbox = link.client.new_inbox()
        subscription = await link.client.subscribe(inbox, cb=receive)
        try:
            config = await self._look_at_consumer()
            subject = f"{context.jetstream.prefix}.CONSUMER.MSG.NEXT.{context.topology.stream}.{self.durable}"
            # An admin may have limited what one pull asks for.
            expires = min(PULL_EXPIRES * SECOND, config.get("max_expires") or math.inf)
            batch = min(self.batch, config.get("max_batch") or math.inf)
            while True:
                while self._waiting > batch // 2:
                    await self._wait_for_progress()
                await self.wait_for_turn()
                self._expected, self._status = int(batch) - self._waiting, ""
                request = json.dumps({"batch": self._expected, "expires": int(expires)})
                await link.client.publish(subject, request.encode(), inbox)
                with anyio.move_on_after(PULL_EXPIRES + PULL_GRACE):
                    while self._expected > 0:
                        await self._wait_for_progress()
                if self._expected > 0:
                    self._status = "a pull got no answer"
                if self._status or not context.audience.is_counting(self.durable):
                    await self._look_at_consumer()
                if self._status and not self._status.startswith(NO_MORE_MESSAGES):
                    raise Unavailable(f"consumer {self.durable}: {self._status}")
        finally:
            context.audience.forget(self.durable)
            with anyio.move_on_after(DRAIN_TIMEOUT, shield=True), suppress(*CONNECTION_ERRORS):
                await subscription.drain()  # type: ignore[no-untyped-call]  # what the server has sent still arrives
            listening = False

    def deliver(self, fetched: Fetched) -> Delivery | None:
        """The delivery of a message that was taken from the line; None if there is nothing to do."""
        self._leave_line()
        try:
            content = self.read(fetched.data)
        except EventError as error:
            content = Content(problem=EventError(error.message, payload=fetched.data[:_MAX_PAYLOAD]))
        if not content:
            self.context.answers.send(fetched.reply, ACK)
            return None
        is_alone = partial(self.context.audience.is_alone_since, fetched.moment)
        attempt = fetched.position.attempt
        return NatsDelivery(content, attempt, fetched.reply, self.context.answers, self.on_nak, is_alone)

    def give_back(self, fetched: Fetched) -> None:
        """Let the server deliver a message again, at once."""
        self.context.line.remove(fetched)
        self._leave_line()
        self.context.answers.send(fetched.reply, NAK)

    async def wait_for_turn(self) -> None:
        """Wait until this consumer may pull."""

    def note_waiting(self, count: int) -> None:
        """So many more messages wait for this consumer."""
        self.context.priority.note_waiting(count)

    def read(self, data: bytes) -> Content:
        """The content of a message, as the store or another publisher sent it."""
        return parse(data)

    def accept(self, fetched: Fetched) -> None:
        """Put a message that arrived in the line."""
        self._waiting += 1
        self.context.line.put(fetched)

    def on_nak(self, delay: float) -> None:
        """A message of this consumer is to come again after ``delay`` seconds."""

    def _receive(self, message: Msg) -> None:
        if not message.reply.startswith(ACKS):
            self._receive_status(message.headers or {})
            return
        position = Position.parse(message.reply)
        moment = self.context.audience.count(self.durable, position.sequence)
        self.note_waiting(position.pending)
        fetched = Fetched(consumer=self, reply=message.reply, data=message.data, position=position, moment=moment)
        self.accept(fetched)
        self._expected -= 1
        if self._expected <= 0:
            self._progress.set()

    def _receive_status(self, headers: Mapping[str, str]) -> None:
        self._status = f"{headers.get('Status')} {headers.get('Description')}"
        self._expected = 0
        self._progress.set()

    def _leave_line(self) -> None:
        self._waiting -= 1
        self._progress.set()

    async def _wait_for_progress(self) -> None:
        self._progress = asyncio.Event()
        await self._progress.wait()

    async def _look_at_consumer(self) -> Mapping[str, Any]:
        """A pull from a consumer that was deleted gets no answer: https://github.com/nats-io/nats-server/issues/4061.

        To be called while no pull is open. Returns the consumer's configuration. Raises ConsumerGone, Unavailable.
        """
        info = await self.context.topology.consumer(self.durable)
        if info is None:
            raise ConsumerGone(f"consumer {self.durable} is gone")
        self.note_waiting(info.get("num_pending", 0))
        self.context.audience.compare_at_rest(self.durable, info)
        if self._created not in {None, info["created"]}:
            # Their answers would be taken for those to other messages. The new consumer delivers all of them again.
            for fetched in self.context.line:
                if fetched.consumer is self:
                    self.context.line.remove(fetched)
                    self._leave_line()
        self._created = info["created"]
        config: Mapping[str, Any] = info["config"]
        return config


@dataclass(eq=False)
class HintConsumer(Consumer):
    """Hints that somebody published, and resyncs."""

    _until: float = field(default=-math.inf, init=False)

    async def wait_for_turn(self) -> None:
        """Notifications first."""
        while (pause := self._until - time.monotonic()) > 0:  # noqa: ASYNC110 - the moment moves meanwhile
            await anyio.sleep(pause)
        await self.context.priority.yield_to_notifications()

    def on_nak(self, delay: float) -> None:
        """There is no room for hints: the next one waits a little."""
        self._pause(min(delay, MIN_INTERVAL))

    def _pause(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)

    def note_waiting(self, count: int) -> None:
        """Nothing yields to hints."""

    def read(self, data: bytes) -> Content:
        """What a sidecar, or `imgtag` on the command line, published."""
        decoded = decode(data)
        return Content(hints=[decoded]) if isinstance(decoded, Hint) else Content(resync=decoded)


@dataclass(eq=False, kw_only=True)
class ParkedConsumer(HintConsumer):
    """Hints that wait for the index, ``park`` seconds or longer."""

    park: float

    def on_nak(self, delay: float) -> None:
        """The index is not back yet: all parked hints wait."""
        self._pause(delay)

    def accept(self, fetched: Fetched) -> None:
        """Put it in the line unless it was parked just now: the index has hardly come back since."""
        age = time.time() - fetched.position.stored
        if fetched.position.attempt > 1 or age >= self.park:
            super().accept(fetched)
            return
        delay = min(self.park, self.park - age)  # clocks may differ
        self.context.answers.send(fetched.reply, nak_after(delay))
        self._pause(delay)
