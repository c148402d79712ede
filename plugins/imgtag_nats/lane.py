"""Pulling from one durable consumer, one message at a time.

There are three lanes. Notifications come at once. What somebody asked for waits while notifications wait, yet
never so long that it starves. What is parked waits for the index besides: for a time after it was parked, and
whenever one of its kind was to come again, the whole lane waits, since they all wait for the same thing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import anyio
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout

from imgtag.errors import EventError, Unavailable
from imgtag.plugin.source import Delivery
from imgtag.types.event import Hint
from imgtag_nats.connection import BROKEN, Connection, Link
from imgtag_nats.delivery import Content, NatsDelivery
from imgtag_nats.envelope import parse
from imgtag_nats.jetstream import JetStream
from imgtag_nats.message import decode
from imgtag_nats.topology import Topology

PULL = 5.0
"""Seconds that a pull waits for a message, and after which it is seen that the consumer is gone."""
STARVING = 5.0
"""Seconds that hints wait for notifications to be worked off, each time."""

_PAYLOAD = 1 << 16
"""Bytes of a message that are kept with its dead letter."""


class Gone(Unavailable):
    """The consumer, or its stream, was deleted."""


@dataclass
class Traffic:
    """Whether notifications wait; what else there is to do gives way to them."""

    _idle: anyio.Event = field(default_factory=anyio.Event)

    def waiting(self, count: int) -> None:
        """So many wait on the server."""
        if count == 0:
            self._idle.set()
        elif self._idle.is_set():
            self._idle = anyio.Event()

    async def give_way(self) -> None:
        """Until none wait, for some time at most."""
        with anyio.move_on_after(STARVING):
            await self._idle.wait()


@dataclass(frozen=True, kw_only=True)
class Road:
    """What all lanes of a source share."""

    connection: Connection
    jetstream: JetStream
    topology: Topology
    extend_every: float
    traffic: Traffic = field(default_factory=Traffic)


Give: TypeAlias = Callable[[Delivery], Awaitable[None]]


@dataclass
class Lane:
    """Messages of one durable, as deliveries."""

    road: Road
    durable: str

    async def pull(self, link: Link, give: Give) -> None:
        """Give message after message. Raises Gone, Unavailable, or what nats-py raises when the link is lost."""
        await self._look()
        context = self.road.jetstream.context(link)
        subscription = await context.pull_subscribe_bind(self.durable, stream=self.road.topology.stream)
        try:
            while True:
                await self.turn()
                await self._next(subscription, give)
        finally:
            # A pull that is still open would be given a message that nobody takes.
            with anyio.CancelScope(shield=True), suppress(*BROKEN):
                await subscription.unsubscribe()

    async def _next(self, subscription: Any, give: Give) -> None:
        try:
            # One at a time: what a larger pull leaves unfetched is in nobody's hands until `ack_wait` is over.
            (message,) = await subscription.fetch(1, timeout=PULL)
        except NatsTimeout:
            await self._look()
            return
        self.seen(message.metadata.num_pending)
        await self._offer(self.delivery(message), give)

    async def turn(self) -> None:
        """Wait until it is this lane's turn."""

    def seen(self, waiting: int) -> None:
        """So many more wait in this lane."""
        self.road.traffic.waiting(waiting)

    def delivery(self, message: Msg) -> NatsDelivery:
        """What the store published, or whoever may."""
        try:
            content = Content(hints=parse(message.data))
        except EventError as error:
            content = Content(problem=_with_payload(error, message))
        return NatsDelivery(self.road.connection, message, content)

    async def _offer(self, delivery: NatsDelivery, give: Give) -> None:
        if delivery.empty:
            await delivery.ack()
            return
        try:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(delivery.keep, self.road.extend_every)
                await give(delivery)
                waiting.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await delivery.nak(0.0)
            raise

    async def _look(self) -> None:
        """A pull from a consumer that is gone is never answered: https://github.com/nats-io/nats-server/issues/4061."""
        info = await self.road.topology.consumer(self.durable)
        if info is None:
            raise Gone(f"consumer {self.durable} is gone")
        self.seen(info.get("num_pending", 0))


class HintLane(Lane):
    """Hints that somebody asked for, and resyncs."""

    async def turn(self) -> None:
        """Notifications first."""
        await self.road.traffic.give_way()

    def seen(self, waiting: int) -> None:
        """Nobody gives way to these."""

    def delivery(self, message: Msg) -> NatsDelivery:
        """What a sidecar, or `imgtag` on the command line, published."""
        return NatsDelivery(self.road.connection, message, _content(message))


@dataclass
class ParkedLane(HintLane):
    """Hints that wait for the index."""

    park: float
    _until: float = field(default=-math.inf, init=False)

    async def turn(self) -> None:
        """When there is hope that the index is back."""
        while (pause := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110 - the moment moves meanwhile
            await anyio.sleep(pause)
        await super().turn()

    def delivery(self, message: Msg) -> NatsDelivery:
        """As any hint; what was parked just now says nothing, and comes later."""
        return NatsDelivery(self.road.connection, message, _content(message), self._later)

    async def _offer(self, delivery: NatsDelivery, give: Give) -> None:
        age = time.time() - delivery.stored
        if delivery.attempt == 1 and age < self.park:
            await delivery.nak(min(self.park, self.park - age))  # clocks may differ
        else:
            await super()._offer(delivery, give)

    def _later(self, delay: float) -> None:
        self._until = max(self._until, anyio.current_time() + delay)


def _content(message: Msg) -> Content:
    try:
        said = decode(message.data)
    except EventError as error:
        return Content(problem=_with_payload(error, message))
    return Content(hints=[said]) if isinstance(said, Hint) else Content(resync=said)


def _with_payload(error: EventError, message: Msg) -> EventError:
    return EventError(error.message, payload=message.data[:_PAYLOAD])
