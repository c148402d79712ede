"""A source in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from imgtag.errors import EventError
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.backfills import MemoryBackfills
from imgtag.testing.broker import MemoryBroker, Message
from imgtag.testing.faults import Faults
from imgtag.testing.service import MemoryService
from imgtag.types.event import Hint
from imgtag.types.ref import Scope
from imgtag.types.shared_record import SharedRecord


class MemorySource(MemoryService):
    """Delivers what a test sends; sources on one broker share it, as sidecars share a consumer.

    ``send`` is what `MemoryStore.notify` takes. Afterwards ``acked``, ``naked`` (with the delay) and ``extended`` show
    how deliveries were answered, ``published`` what was published. For doubled and reordered deliveries see
    `MemoryBroker`.
    """

    def __init__(self, broker: MemoryBroker | None = None, *, features: SourceFeatures | None = None) -> None:
        super().__init__()
        self.broker = MemoryBroker() if broker is None else broker
        self.features = features or SourceFeatures(parks=True)
        self.dead = self.broker.dead
        self.backfills = MemoryBackfills(self)
        self.acked: list[MemoryDelivery] = []
        self.naked: list[tuple[MemoryDelivery, float]] = []
        self.extended: list[MemoryDelivery] = []
        self.published: list[Hint] = []
        self.is_listening = False
        """Whether somebody takes its deliveries."""
        self._received = 0
        self._open: list[MemoryDelivery] = []

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        deliveries, self._open = self._open, []
        self.broker.release(deliveries)
        self.backfills.release()

    @property
    def trouble(self) -> str:
        """None."""
        return ""

    def send(self, *hints: Hint, resync: Scope | None = None, problem: EventError | None = None) -> None:
        """Send one delivery: hints that are acknowledged together, a resync, or a message that cannot be read."""
        self.broker.send(Message(hints=hints, resync=resync, problem=problem))

    def finish(self) -> None:
        """Send nothing more: ``deliveries`` ends when everything is acknowledged."""
        self.broker.finish()

    async def deliveries(self) -> AsyncIterator[MemoryDelivery]:
        """Yield what was sent, until ``finish``."""
        self.is_listening = True
        try:
            while True:
                await self.faults.meet("deliveries")
                delivery = MemoryDelivery(self)
                message = await self.broker.take(delivery, self.features.ack_wait)
                if message is None:
                    return
                self._received += 1
                delivery.take(message)
                self._open.append(delivery)
                yield delivery
        finally:
            self.is_listening = False

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

    async def read_record(self, name: str) -> SharedRecord:
        """The record that all sources on the broker share."""
        await self.faults.meet("read_record", name)
        return self.broker.records.get(name, SharedRecord())

    async def write_record(self, name: str, data: bytes, revision: int) -> bool:
        """Write it, unless another source was faster."""
        await self.faults.meet("write_record", name)
        if self.broker.records.get(name, SharedRecord()).revision != revision:
            return False
        self.broker.records[name] = SharedRecord(data=data, revision=revision + 1)
        return True

    @property
    def given_elsewhere(self) -> int:
        """How many messages the broker gave to other sources."""
        return self.broker.given - self._received

    def close_delivery(self, delivery: MemoryDelivery) -> bool:
        """End a delivery; False where it had ended before."""
        if delivery in self._open:
            self._open.remove(delivery)
            return True
        return False


class MemoryDelivery:
    """One message being worked on. After its answer, or the end of its source, its methods do nothing."""

    hints: Sequence[Hint] = ()
    resync: Scope | None = None
    problem: EventError | None = None
    attempt = 1

    def __init__(self, source: MemorySource) -> None:
        self._source = source
        self._message = Message()
        self._given_elsewhere = 0

    def take(self, message: Message) -> None:
        """Become the delivery of this message."""
        self._message = message
        self.hints, self.resync, self.problem = message.hints, message.resync, message.problem
        self.attempt = message.attempt
        self._given_elsewhere = self._source.given_elsewhere

    @property
    def faults(self) -> Faults:
        """The faults of its source; the calls are ``ack``, ``nak``, ``extend`` and ``is_exclusive``."""
        return self._source.faults

    async def ack(self) -> None:
        """The work is done."""
        await self.faults.meet("ack", self)
        if self._source.close_delivery(self):
            self._source.acked.append(self)
            self._source.broker.ack(self._message)

    async def nak(self, delay: float) -> None:
        """The work is not done: deliver it again after ``delay`` seconds."""
        await self.faults.meet("nak", self)
        if self._source.close_delivery(self):
            self._source.naked.append((self, delay))
            if self._message.holder is self:
                self._source.broker.requeue(self._message, delay)

    async def extend(self) -> None:
        """The work goes on."""
        await self.faults.meet("extend", self)
        self._source.extended.append(self)
        if self._message.holder is self:
            self._source.broker.extend(self._message, self._source.features.ack_wait)

    async def is_exclusive(self) -> bool:
        """Whether no other source on the broker was given anything since."""
        await self.faults.meet("is_exclusive", self)
        return self._given_elsewhere == self._source.given_elsewhere
