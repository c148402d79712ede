"""One message of a stream, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
from nats.aio.msg import Msg

from imgtag.errors import EventError
from imgtag.types.event import Hint
from imgtag.types.ref import Scope
from imgtag_nats.connection import Connection
from imgtag_nats.jetstream import SECOND

# https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages
ACK, NAK, PROGRESS = b"+ACK", b"-NAK", b"+WPI"


@dataclass(frozen=True)
class Content:
    """What a message says; nothing where there is nothing to do."""

    hints: Sequence[Hint] = ()
    resync: Scope | None = None
    problem: EventError | None = None


class NatsDelivery:
    """Answers go to the connection that there is by then: the server knows a message by its reply subject.

    An answer waits until the server has it, so that what is done does not come again because a buffer
    was lost. Where it cannot be given the message comes again by itself.
    """

    def __init__(
        self, connection: Connection, message: Msg, content: Content, later: Callable[[float], None] = lambda _: None
    ) -> None:
        """``later`` is told when it is to come again. ``stored``: when it came into the stream, since 1970."""
        self.hints, self.resync, self.problem = content.hints, content.resync, content.problem
        self.attempt = message.metadata.num_delivered
        self.stored = message.metadata.timestamp.timestamp()
        self.empty = not (content.hints or content.resync or content.problem)
        self._connection = connection
        self._subject = message.reply
        self._later = later
        self._answered = False

    async def ack(self) -> None:
        """Done: it never comes again."""
        await self._answer(ACK)

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds."""
        self._later(delay)
        nanoseconds = int(delay * SECOND)
        await self._answer(NAK + b" " + json.dumps({"delay": nanoseconds}).encode() if nanoseconds > 0 else NAK)

    async def extend(self) -> None:
        """Still at it: ``ack_wait`` begins anew."""
        if not self._answered:
            await self._connection.tell(self._subject, PROGRESS, wait=False)

    async def keep(self, every: float) -> None:
        """Extend for ever."""
        while True:
            await anyio.sleep(every)
            await self.extend()

    async def _answer(self, answer: bytes) -> None:
        if not self._answered:
            self._answered = True
            await self._connection.tell(self._subject, answer)
