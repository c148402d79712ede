"""One message of a stream, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
from nats.aio.msg import Msg

from imgtag.errors import EventError
from imgtag.plugin import Hint, Scope
from imgtag_nats.client import Connection
from imgtag_nats.jetstream import SECOND

# https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages
ACK, NAK, PROGRESS = b"+ACK", b"-NAK", b"+WPI"


@dataclass(frozen=True)
class Content:
    """What a message says; empty if there is nothing to do."""

    hints: Sequence[Hint] = ()
    resync: Scope | None = None
    problem: EventError | None = None

    def __bool__(self) -> bool:
        return bool(self.hints or self.resync or self.problem)


class NatsDelivery:
    """Answers go over the connection of that moment: the server knows a message by its reply subject.

    An answer waits until the server has it, so that work is not repeated because a buffer was lost. If it cannot be
    sent, the message comes again by itself.
    """

    def __init__(
        self,
        connection: Connection,
        message: Msg,
        content: Content,
        on_nak: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``on_nak`` is called with the delay. ``stored``: when the stream received it, in seconds since 1970."""
        self.hints, self.resync, self.problem = content.hints, content.resync, content.problem
        self.attempt = message.metadata.num_delivered
        self.stored = message.metadata.timestamp.timestamp()
        self._connection = connection
        self._subject = message.reply
        self._on_nak = on_nak
        self._answered = False

    async def ack(self) -> None:
        """Done: it never comes again."""
        await self._answer(ACK)

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds."""
        self._on_nak(delay)
        nanoseconds = int(delay * SECOND)
        await self._answer(NAK + b" " + json.dumps({"delay": nanoseconds}).encode() if nanoseconds > 0 else NAK)

    async def extend(self) -> None:
        """Still in progress: ``ack_wait`` starts over."""
        if not self._answered:
            await self._connection.send(self._subject, PROGRESS, wait=False)

    async def keep_extending(self, every: float) -> None:
        """Extend it for ever, every so many seconds."""
        while True:
            await anyio.sleep(every)
            await self.extend()

    async def _answer(self, answer: bytes) -> None:
        if not self._answered:
            self._answered = True
            await self._connection.send(self._subject, answer)
