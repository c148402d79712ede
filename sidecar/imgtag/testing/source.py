"""A source in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from imgtag.errors import EventError
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.broker import MemoryBroker, Message
from imgtag.testing.faults import Faults
from imgtag.testing.service import MemoryService
from imgtag.types.event import Hint
from imgtag.types.ref import Scope


class MemorySource(MemoryService):
    """Delivers what a test sends; sources on one broker share it, as sidecars share a consumer.

    ``send`` is what `MemoryStore.notify` wants. Afterwards ``acked``, ``naked`` (with the delay) and ``extended``
    tell how deliveries were answered, ``published`` what was published. Doubled and reordered deliveries: see
    `MemoryBroker`.
    """

    def __init__(self, broker: MemoryBroker | None = None, *, features: SourceFeatures | None = None) -> None:
        super().__init__()
        self.broker = MemoryBroker() if broker is None else broker
        self.features = features or SourceFeatures(parks=True)
        self.dead = self.broker.dead
        self.acked: list[MemoryDelivery] = []
        self.naked: list[tuple[MemoryDelivery, float]] = []
        self.extended: list[MemoryDelivery] = []
        self.published: list[Hint] = []
        self._open: list[MemoryDelivery] = []

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deliveries, self._open = self._open, []
        self.broker.leave(deliveries)

    @property
    def trouble(self) -> str:
        """Never any."""
        return ""

    def send(self, *hints: Hint, resync: Scope | None = None, problem: EventError | None = None) -> None:
        """One delivery: hints that are answered for together, a resync, or a message that is none."""
        self.broker.send(Message(hints=hints, resync=resync, problem=problem))

    def finish(self) -> None:
        """Nothing more is sent: ``deliveries`` ends when everything is acknowledged."""
        self.broker.finish()

    async def deliveries(self) -> AsyncIterator[MemoryDelivery]:
        """What was sent, until ``finish``."""
        while True:
            await self.faults.meet("deliveries")
            delivery = MemoryDelivery(self)
            message = await self.broker.next(delivery, self.features.ack_wait)
            if message is None:
                return
            delivery.take(message)
            self._open.append(delivery)
            yield delivery

    async def backlog(self) -> int | None:
        """Messages that no source on the broker has taken."""
        await self.faults.meet("backlog")
        return self.broker.waiting

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Send hints, one delivery each."""
        await self.faults.meet("publish", tuple(hints))
        self.published += hints
        for hint in hints:
            self.send(hint)

    def ended(self, delivery: MemoryDelivery) -> bool:
        """Whether ``delivery`` was this source's to answer for; it no longer is."""
        if delivery in self._open:
            self._open.remove(delivery)
            return True
        return False


class MemoryDelivery:
    """One message in work. Behind its answer, or the end of its source, it answers for nothing."""

    hints: Sequence[Hint] = ()
    resync: Scope | None = None
    problem: EventError | None = None
    attempt = 1

    def __init__(self, source: MemorySource) -> None:
        self._source = source
        self._message = Message()

    def take(self, message: Message) -> None:
        """Be the delivery of this message."""
        self._message = message
        self.hints, self.resync, self.problem = message.hints, message.resync, message.problem
        self.attempt = message.attempt

    @property
    def faults(self) -> Faults:
        """Those of its source; calls are ``ack``, ``nak`` and ``extend``."""
        return self._source.faults

    async def ack(self) -> None:
        """Done."""
        await self.faults.meet("ack", self)
        if self._source.ended(self):
            self._source.acked.append(self)
            self._source.broker.done(self._message)

    async def nak(self, delay: float) -> None:
        """Not done: again after ``delay`` seconds."""
        await self.faults.meet("nak", self)
        if self._source.ended(self):
            self._source.naked.append((self, delay))
            if self._message.holder is self:
                self._source.broker.again(self._message, delay)

    async def extend(self) -> None:
        """Still at it."""
        await self.faults.meet("extend", self)
        self._source.extended.append(self)
        if self._message.holder is self:
            self._source.broker.extend(self._message, self._source.features.ack_wait)
