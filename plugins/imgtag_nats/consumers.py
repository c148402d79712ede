"""Pulling from one durable consumer, one message at a time.

There are three kinds. Notifications are pulled at once. Hints that somebody published yield to notifications that
wait, yet never so long that they starve. Parked hints wait for the index as well: for a time after they were parked,
and whenever one of them is to come again all of them wait, because they all wait for the same thing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout

from imgtag.errors import EventError
from imgtag.plugin import Delivery, Hint
from imgtag_nats.client import Connection, Link
from imgtag_nats.delivery import Content, NatsDelivery
from imgtag_nats.envelope import parse
from imgtag_nats.errors import CONNECTION_ERRORS, ConsumerGone
from imgtag_nats.jetstream import JetStream
from imgtag_nats.message import decode
from imgtag_nats.setup import Topology

PULL_TIMEOUT = 5.0
"""Seconds that a pull waits for a message, after which the consumer is checked for having been deleted."""
MAX_YIELD = 5.0
"""Seconds that one hint waits for notifications to be worked off."""
MIN_INTERVAL = 0.02
"""Seconds between two hints while they are given back: thousands may be deferred, and each costs a millisecond."""

_MAX_PAYLOAD = 1 << 16
"""Bytes of a message that are kept with its dead letter."""

Give: TypeAlias = Callable[[Delivery], Awaitable[None]]


@dataclass
class Priority:
    """Whether notifications wait on the server; hints yield to them."""

    _idle: anyio.Event = field(default_factory=anyio.Event)

    def note_waiting(self, count: int) -> None:
        """So many notifications wait on the server."""
        if count == 0:
            self._idle.set()
        elif self._idle.is_set():
            self._idle = anyio.Event()

    async def yield_to_notifications(self) -> None:
        """Wait until none wait, for some time at most."""
        with anyio.move_on_after(MAX_YIELD):
            await self._idle.wait()


@dataclass(frozen=True, kw_only=True)
class ConsumerContext:
    """What all consumers of a source share. ``extend_every`` is in seconds."""

    connection: Connection
    jetstream: JetStream
    topology: Topology
    extend_every: float
    priority: Priority = field(default_factory=Priority)


@dataclass
class Consumer:
    """Messages of one durable consumer, as deliveries: notifications of the store."""

    context: ConsumerContext
    durable: str

    async def pull(self, link: Link, give: Give) -> None:
        """Give message after message. Raises ConsumerGone, Unavailable, or one of CONNECTION_ERRORS."""
        await self._require_consumer()
        jetstream = self.context.jetstream.context(link)
        subscription = await jetstream.pull_subscribe_bind(self.durable, stream=self.context.topology.stream)
        try:
            while True:
                await self.wait_for_turn()
                try:
                    # One at a time: what a larger pull leaves unfetched is locked until `ack_wait` is over.
                    (message,) = await subscription.fetch(1, timeout=PULL_TIMEOUT)
                except NatsTimeout:
                    await self._require_consumer()
                    continue
                self.note_waiting(message.metadata.num_pending)
                try:
                    content = self.read(message)
                except EventError as error:
                    content = Content(problem=EventError(error.message, payload=message.data[:_MAX_PAYLOAD]))
                delivery = NatsDelivery(self.context.connection, message, content, self.on_nak)
                if content:
                    await self._offer(delivery, give)
                else:
                    await delivery.ack()
        finally:
            # The server would send a message to a pull that is still open, and nobody would take it.
            with anyio.CancelScope(shield=True), suppress(*CONNECTION_ERRORS):
                await subscription.unsubscribe()

    async def wait_for_turn(self) -> None:
        """Wait until this consumer may pull."""

    def note_waiting(self, count: int) -> None:
        """So many more messages wait for this consumer."""
        self.context.priority.note_waiting(count)

    def read(self, message: Msg) -> Content:
        """The content of a message, as the store or another publisher sent it."""
        return parse(message.data)

    async def _offer(self, delivery: NatsDelivery, give: Give) -> None:
        try:
            async with anyio.create_task_group() as extending:
                extending.start_soon(delivery.keep_extending, self.context.extend_every)
                await give(delivery)
                extending.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await delivery.nak(0.0)
            raise

    def on_nak(self, delay: float) -> None:
        """A message of this consumer is to come again after ``delay`` seconds."""

    async def _require_consumer(self) -> None:
        """A pull from a consumer that was deleted gets no answer: https://github.com/nats-io/nats-server/issues/4061.

        Raises ConsumerGone.
        """
        info = await self.context.topology.consumer(self.durable)
        if info is None:
            raise ConsumerGone(f"consumer {self.durable} is gone")
        self.note_waiting(info.get("num_pending", 0))


@dataclass
class HintConsumer(Consumer):
    """Hints that somebody published, and resyncs."""

    _until: float = field(default=-math.inf, init=False)

    async def wait_for_turn(self) -> None:
        """Notifications first."""
        while (pause := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110 - the moment moves meanwhile
            await anyio.sleep(pause)
        await self.context.priority.yield_to_notifications()

    def on_nak(self, delay: float) -> None:
        """There is no room for hints: the next one waits a little."""
        self._pause(min(delay, MIN_INTERVAL))

    def _pause(self, seconds: float) -> None:
        self._until = max(self._until, anyio.current_time() + seconds)

    def note_waiting(self, count: int) -> None:
        """Nothing yields to hints."""

    def read(self, message: Msg) -> Content:
        """What a sidecar, or `imgtag` on the command line, published."""
        decoded = decode(message.data)
        return Content(hints=[decoded]) if isinstance(decoded, Hint) else Content(resync=decoded)


@dataclass
class ParkedConsumer(HintConsumer):
    """Hints that wait for the index, ``park`` seconds or longer."""

    park: float

    def on_nak(self, delay: float) -> None:
        """The index is not back yet: all parked hints wait."""
        self._pause(delay)

    async def _offer(self, delivery: NatsDelivery, give: Give) -> None:
        age = time.time() - delivery.stored
        if delivery.attempt == 1 and age < self.park:
            # Parked just now: the index has hardly come back since.
            await delivery.nak(min(self.park, self.park - age))  # clocks may differ
        else:
            await super()._offer(delivery, give)
