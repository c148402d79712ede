"""One message of a stream, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from imgtag.plugin.notifications import Content
from imgtag_nats.answers import Answers
from imgtag_nats.jetstream import SECOND

# https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages
ACK, NAK, PROGRESS = b"+ACK", b"-NAK", b"+WPI"


class Position(NamedTuple):
    """What the reply subject says of a message.

    ``attempt`` is 1 for the first delivery; ``sequence`` counts what the consumer delivers, repeated deliveries
    included; ``stored`` is when the stream received it, in seconds since 1970; ``pending`` counts what waits for the
    consumer after it.
    """

    attempt: int
    sequence: int
    stored: float
    pending: int

    @classmethod
    def parse(cls, reply: str) -> Self:
        """$JS.ACK.STREAM.CONSUMER.ATTEMPT.STREAM_SEQUENCE.SEQUENCE.NANOSECONDS.PENDING.

        Newer servers put domain and account before the stream, and may put more at the end:
        https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
        """
        tokens = reply.split(".")
        attempt, _, sequence, stored, pending = tokens[4:9] if len(tokens) == 9 else tokens[6:11]
        return cls(int(attempt), int(sequence), int(stored) / SECOND, int(pending))


def nak_after(delay: float) -> bytes:
    """The answer that has a message delivered again after ``delay`` seconds."""
    nanoseconds = int(delay * SECOND)
    return NAK + b" " + json.dumps({"delay": nanoseconds}).encode() if nanoseconds > 0 else NAK


class NatsDelivery:
    """A message, and the answer to it, which goes over the connection of that moment."""

    def __init__(
        self,
        content: Content,
        attempt: int,
        reply: str,
        answers: Answers,
        on_nak: Callable[[float], None],
        is_exclusive: Callable[[], Awaitable[bool]],
    ) -> None:
        """``on_nak`` is called with the delay."""
        self.hints, self.resync, self.problem = content.hints, content.resync, content.problem
        self.attempt = attempt
        self._reply = reply
        self._answers = answers
        self._on_nak = on_nak
        self._is_exclusive = is_exclusive
        self._answered = False

    async def ack(self) -> None:
        """Done: it never comes again."""
        self._answer(ACK)

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds."""
        self._on_nak(delay)
        self._answer(nak_after(delay))

    async def extend(self) -> None:
        """Still in progress: ``ack_wait`` starts over."""
        if not self._answered:
            self._answers.send(self._reply, PROGRESS, optional=True)

    async def is_exclusive(self) -> bool:
        """Whether no other client of the three consumers was given anything since this message arrived."""
        return await self._is_exclusive()

    def _answer(self, answer: bytes) -> None:
        if not self._answered:
            self._answered = True
            self._answers.send(self._reply, answer)
