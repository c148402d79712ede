"""Answers to messages, sent and confirmed together."""

from __future__ import annotations

import logging

import anyio

from imgtag_nats.client import FLUSH_TIMEOUT, Connection
from imgtag_nats.errors import CONNECTION_ERRORS, describe

LINGER = 0.1
"""Seconds in which answers gather: to write and confirm them costs as much as thirty answers. Nobody waits for them."""
CONFIRM_TIMEOUT = 5
"""Seconds for the server to confirm them; nats-py takes whole ones."""
RESEND_PAUSE = 1.0
"""Seconds until answers that the server did not confirm are sent again, unless there is a new connection earlier."""

log = logging.getLogger(__name__)


class Answers:
    """Sends answers in the background, in order, until the server has them.

    Nobody waits for them: an answer that gets lost costs a message that comes again and a look that changes nothing.
    What a lost connection took with it is sent over the next one; the server knows a message by its reply subject.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unconfirmed: list[tuple[str, bytes]] = []
        self._news = anyio.Event()
        self._all_confirmed = anyio.Event()

    def send(self, subject: str, answer: bytes, *, optional: bool = False) -> None:
        """Send an answer, soon. ``optional``: drop it where there is no connection."""
        if optional and not self._connection.is_up:
            return
        self._unconfirmed.append((subject, answer))
        self._news.set()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        while True:
            await self._news.wait()
            await anyio.sleep(LINGER)
            link = await self._connection.link()
            count = len(self._unconfirmed)
            try:
                for subject, answer in self._unconfirmed[:count]:
                    await link.client.publish(subject, answer)  # into a buffer
                await link.client.flush(CONFIRM_TIMEOUT)
            except CONNECTION_ERRORS as error:
                log.debug("nats_answers_unconfirmed", extra={"reason": describe(error), "count": count})
                with anyio.move_on_after(RESEND_PAUSE):
                    await link.lost.wait()
                continue
            del self._unconfirmed[:count]
            if not self._unconfirmed:
                self._news = anyio.Event()
                self._all_confirmed.set()
                self._all_confirmed = anyio.Event()

    async def drain(self) -> None:
        """Wait until the server has all answers, or does not take them in time."""
        with anyio.move_on_after(FLUSH_TIMEOUT):
            while self._unconfirmed and self._connection.is_up:
                await self._all_confirmed.wait()
