"""One message of the queue, and the answer to it."""

from __future__ import annotations

import time

from imgtag.errors import EventError
from imgtag.plugin.hint_messages import HINT, RESYNC, decode
from imgtag.plugin.notifications import Content, parse
from imgtag.types.event import Hint
from imgtag_sqs.answers import Answers
from imgtag_sqs.queue import MAX_HIDDEN, Message

MAX_PAYLOAD = 64 << 10
"""Bytes of a message that are kept with its dead letter, which must fit in a message itself."""
MARGIN = 60.0
"""Seconds that are left of those for which SQS hides a message, because clocks and requests take their time."""


class SqsDelivery:
    """A message, and the answer to it. Once its source is left an answer does nothing: the message comes again."""

    def __init__(self, content: Content, message: Message, received: float, answers: Answers, ack_wait: float) -> None:
        """``received`` is the time of `time.monotonic` when it was asked for."""
        self.hints, self.resync, self.problem = content.hints, content.resync, content.problem
        self.attempt = message.attempt
        self._handle = message.handle
        self._until = received + MAX_HIDDEN - MARGIN
        self._answers = answers
        self._ack_wait = ack_wait
        self._answered = False

    async def ack(self) -> None:
        """Done: it never comes again."""
        if not self._answered:
            self._answered = True
            self._answers.delete(self._handle)

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds, or after twelve hours, which is the limit of SQS."""
        if not self._answered:
            self._answered = True
            self._hide(delay)

    async def extend(self) -> None:
        """Still in progress: ``ack_wait`` starts over, until SQS hides the message no longer."""
        if not self._answered:
            self._hide(self._ack_wait)

    async def is_exclusive(self) -> bool:
        """False: SQS does not tell what it gave to others."""
        return False

    def _hide(self, seconds: float) -> None:
        left = self._until - time.monotonic()
        self._answers.hide(self._handle, max(0.0, min(seconds, left)))


def read(message: Message) -> Content:
    """What a message says, from a store or from a sidecar."""
    data = message.body.encode(errors="surrogatepass")
    try:
        if not data.startswith((HINT, RESYNC)):
            return parse(data)
        what = decode(data)
        return Content(hints=[what]) if isinstance(what, Hint) else Content(resync=what)
    except EventError as error:
        return Content(problem=EventError(error.message, payload=data[:MAX_PAYLOAD]))
