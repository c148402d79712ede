"""Answers to messages, sent together."""

from __future__ import annotations

import logging
import math

import anyio

from imgtag.errors import Unavailable
from imgtag_sqs.errors import QueueError
from imgtag_sqs.queue import Queue

LINGER = 0.05
"""Seconds in which answers gather: a request takes ten of them, and nobody waits for them."""
RESEND_PAUSE = 1.0
"""Seconds until answers are sent again that the service did not take."""
DRAIN_TIMEOUT = 3.0
"""Seconds for the last answers to leave."""

log = logging.getLogger(__name__)


class Answers:
    """Deletes what is done and hides what is in work, in the background, until the service has taken it.

    Nobody waits for them: an answer that gets lost costs a message that comes again and a look that changes nothing.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._done: dict[str, None] = {}
        self._hidden: dict[str, int] = {}
        self._news = anyio.Event()
        self._sending = anyio.Lock()

    def delete(self, handle: str) -> None:
        """The message is done."""
        self._hidden.pop(handle, None)
        self._done[handle] = None
        self._news.set()

    def hide(self, handle: str, seconds: float) -> None:
        """The message is to come again in so many seconds; SQS knows only whole ones."""
        self._hidden[handle] = math.ceil(seconds)
        self._news.set()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        while True:
            await self._news.wait()
            await anyio.sleep(LINGER)
            self._news = anyio.Event()
            try:
                await self._send()
            except Unavailable as error:
                log.debug("sqs_answers_unsent", extra={"reason": error.message})
                await anyio.sleep(RESEND_PAUSE)
                self._news.set()

    async def drain(self) -> None:
        """Send what is left, or give up after some seconds."""
        with anyio.move_on_after(DRAIN_TIMEOUT):
            try:
                await self._send()
            except Unavailable as error:
                log.debug("sqs_answers_unsent", extra={"reason": error.message})

    async def _send(self) -> None:
        async with self._sending:
            done, hidden = self._done, self._hidden
            self._done, self._hidden = {}, {}
            try:
                await self._queue.delete_messages(list(done))
                done = {}
                await self._queue.hide(hidden)
            except BaseException as error:
                if not (isinstance(error, QueueError) and error.is_missing):  # its messages are gone with the queue
                    self._done = done | self._done
                    self._hidden = {
                        handle: seconds
                        for handle, seconds in (hidden | self._hidden).items()  # what was said last holds
                        if handle not in self._done
                    }
                raise
