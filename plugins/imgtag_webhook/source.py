"""Bucket notifications that a store pushes over HTTP."""

from __future__ import annotations

import logging
import math
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

import anyio
from anyio import to_thread

from imgtag.errors import ConfigError, Unavailable
from imgtag.flow.http_server import ListenerLimits, serve
from imgtag.flow.listen import parse_listen
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin import Check, DeadLetter, NotificationTarget, PluginContext, SourceFeatures
from imgtag.plugin.local_source import LocalSource
from imgtag.plugin.notifications import Content
from imgtag_webhook.receiver import PATH, RETRY_AFTER, Receiver
from imgtag_webhook.settings import WebhookSettings
from imgtag_webhook.spool import Spool, count_in

MAX_THREADS = 2
MAX_WAITING = 10_000
"""Events that may wait in memory before more are read from the spool."""
FULL_PAUSE = 1.0
"""Seconds until it is looked whether there is room again. What waits is enough to work on for longer."""
READ_PAUSE = 2.0
"""Seconds until the spool is read again where that failed."""
REQUESTS = 10_000
"""Pushes on one connection, which then ends."""
LISTEN_PAUSE = 2.0
"""Seconds until the listener is opened again where that failed: another process may be about to end."""
CONNECT_TIMEOUT = 1.0
FILE = "webhook.db"

log = logging.getLogger(__name__)


class WebhookSource(LocalSource):
    """Accepts pushes into a spool, and delivers what is in it. For one process: each has a listener of its own.

    A store is answered when its event is on the disk, so that nothing that was accepted is lost. What is refused, or
    pushed while nobody listens, the store has to keep and send again.
    """

    def __init__(self, settings: WebhookSettings, context: PluginContext) -> None:
        super().__init__(context.state_dir, threads=MAX_THREADS)
        self._settings = settings
        self._path = context.state_dir / FILE
        self._spool = Spool(self._path, settings.max_events)
        self._trouble = ""
        self._news = anyio.Event()
        self._loaded = 0
        """Events that were read from the spool and are not finished."""
        self._offered_at = math.inf
        """When the first event came after one was finished; never if none did."""
        self._accepted_at = -math.inf
        """When the last event was put into the spool."""
        needs = tuple(name for name in ("token", "hmac_key") if getattr(settings, name))
        self.features = SourceFeatures(
            notification_target=NotificationTarget(kind="webhook", address=self.url, needs=needs)
        )

    @property
    def url(self) -> str:
        """What stores push to, as seen from this machine."""
        host, port = parse_listen(self._settings.listen)
        if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - what the settings say is looked at, nothing is bound
            host = "<this host>"
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    @property
    def trouble(self) -> str:
        """Why nothing can be received at the moment; empty while all is well."""
        return self._trouble

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._tasks.start_soon(self._spool.record_finished)
        return self

    async def feed(self, queue: LocalQueue) -> None:
        """Listen, and pass on what is in the spool, until cancelled."""
        await self._open_spool()
        self._loaded = 0
        self._offered_at = time.monotonic() if self._spool.size else math.inf
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen_forever)
            tasks.start_soon(self._pass_on, queue)

    async def backlog(self) -> int | None:
        """What is in the spool and in no work; None if this process looks for nothing."""
        return None if self._queue is None else max(0, self._spool.size - self._loaded) + len(self._queue)

    async def checks(self) -> AsyncIterator[Check]:
        """The listener, who may push to it, and the spool."""
        settings = self._settings
        ways = [name for name, secret in (("token", settings.token), ("hmac_key", settings.hmac_key)) if secret]
        who = f"whoever knows {' and '.join(ways)}" if ways else "every user of this machine"
        state = "a sidecar listens" if await _answers(*parse_listen(settings.listen)) else "nobody listens now"
        yield Check(check="listener", ok=True, message=f"{self.url}: {state}; {who} may push to it")
        yield await to_thread.run_sync(self._check_spool)

    def _check_spool(self) -> Check:
        """Blocking."""
        try:
            count = count_in(self._path)
        except sqlite3.Error as error:
            hint = (
                "The file is damaged, or its disk fails. Stop the sidecar and move it away; then run `imgtag backfill`."
            )
            return Check(check="spool", ok=False, message=f"{self._path}: {error}", hint=hint)
        if count is None:
            return Check(check="spool", ok=True, message=f"{self._path} is created when `imgtag run` starts")
        message = f"{count:,} of at most {self._settings.max_events:,} events wait in {self._path}"
        if count >= self._settings.max_events:
            hint = "The store is sent away until some are done. The log shows what is retried."
            return Check(check="spool", ok=False, message=message, hint=hint)
        return Check(check="spool", ok=True, message=message)

    async def _open(self, stack: AsyncExitStack) -> None:
        await super()._open(stack)
        # Not when deliveries end: what is in work then is finished later.
        stack.push_async_callback(self._close_spool)

    async def _close_spool(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._spool.close()

    async def _open_spool(self) -> None:
        """Open the spool, as soon as the disk lets us."""
        while True:
            try:
                await self._spool.open()
            except Unavailable as error:
                self._complain(error.message)
                await anyio.sleep(LISTEN_PAUSE)
            else:
                return

    async def _listen_forever(self) -> None:
        limits = ListenerLimits(section="source.webhook", connections=self._settings.connections, requests=REQUESTS)
        receiver = Receiver(settings=self._settings, keep=self._keep, obstacle=self._obstacle)
        while True:
            try:
                async with anyio.create_task_group() as tasks:
                    await tasks.start(partial(serve, receiver, self._settings.listen, limits))
                    self._trouble = ""
                    log.info("webhook_listening", extra={"url": self.url})
            except* ConfigError as errors:
                self._complain(str(errors.exceptions[0]))
            await anyio.sleep(LISTEN_PAUSE)

    def _complain(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("webhook_not_listening", extra={"reason": reason})
        self._trouble = reason

    async def _keep(self, content: Content) -> None:
        """Make what was pushed durable. What cannot be read goes to the dead letters. Raises ImgtagError."""
        if (problem := content.problem) is not None:
            letter = DeadLetter(
                ref=None, code=problem.code, reason=problem.message, at=time.time(), payload=problem.payload
            )
            await self.dead.put(letter)
        if content.hints:
            self._offered_at = min(self._offered_at, time.monotonic())
            await self._spool.put(content.hints)
            self._accepted_at = time.monotonic()
            self._news.set()

    def _obstacle(self) -> str:
        """Why nothing is accepted; empty if there is no reason."""
        if self._spool.is_full:
            return f"the spool is full ({self._settings.max_events:,} events)"
        stall, now = self._settings.stall, time.monotonic()
        # One every few seconds all the same: what waits may be a single object that always fails, and only another
        # event can show that the others would be done.
        if stall and now - self._offered_at > stall and now - self._accepted_at < RETRY_AFTER:
            return f"no event was finished for {stall:g} s"
        return ""

    async def _pass_on(self, queue: LocalQueue) -> None:
        """Put what is in the spool into the queue, in order, as there is room."""
        last = 0
        while True:
            self._news = anyio.Event()
            if len(queue) >= MAX_WAITING:
                await anyio.sleep(FULL_PAUSE)
                continue
            try:
                hints = await self._spool.read(last, MAX_WAITING)
            except Unavailable as error:
                log.warning("spool_unreadable", extra={"reason": error.message})
                await anyio.sleep(READ_PAUSE)
                continue
            for id_, hint in hints:
                last = id_
                self._loaded += 1
                queue.put(hint, done=partial(self._finish, id_))
            if not hints:
                await self._news.wait()

    async def _finish(self, id_: int) -> None:
        """An event is done."""
        self._offered_at = math.inf
        self._spool.finish(id_)
        self._loaded -= 1


async def _answers(host: str, port: int) -> bool:
    """Whether anybody listens there."""
    with anyio.move_on_after(CONNECT_TIMEOUT):
        try:
            await (await anyio.connect_tcp(host or "127.0.0.1", port)).aclose()
        except OSError:
            return False
        return True
    return False
