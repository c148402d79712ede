"""Bucket notifications from core NATS, without JetStream."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
from nats.aio.msg import Msg

from imgtag.errors import ConfigError, EventError, Unavailable
from imgtag.files.dead_letters import FileDeadLetters
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin import Change, Check, DeadLetter, DeadLetters, Delivery, Hint, PluginContext, Scope, SourceFeatures
from imgtag.plugin.hint_messages import decode, encode
from imgtag.plugin.notifications import parse
from imgtag_nats.checks import SERVER_HINT, server_check
from imgtag_nats.client import ConnectedService, Connection, Link
from imgtag_nats.errors import CONNECTION_ERRORS
from imgtag_nats.names import Names, notification_target
from imgtag_nats.policy import permissions
from imgtag_nats.settings import NatsSettings

MAX_PUBLISH_ATTEMPTS, PUBLISH_PAUSE = 3, 0.1
"""How often a hint is offered to the sidecars that listen, and the seconds between."""
RESUBSCRIBE_PAUSE = 1.0
"""Seconds until a failed subscription is tried again."""
AT_MOST_ONCE = (
    "core NATS loses what is published while no sidecar listens, and what waits here when the sidecar stops; "
    "all buckets are compared with the index at each start and after each lost connection"
)
TAKEN = b"taken"

log = logging.getLogger(__name__)


class CoreSource(ConnectedService):
    """Delivers at most once, made up for by a resync of every bucket at the start and after every gap.

    Sidecars share the notifications in a queue group. Nothing waits outside of the process, so ``publish`` needs a
    running sidecar. Dead letters are files in the state folder.
    """

    def __init__(self, settings: NatsSettings, context: PluginContext) -> None:
        self._names = Names.of(settings, context.site)
        super().__init__(Connection(settings, f"imgtag {context.site}", self._names.inbox))
        self._settings = settings
        self._buckets = context.buckets
        target = notification_target(settings, self._names)
        self.features = SourceFeatures(shared=True, notification_target=target)
        self.dead: DeadLetters = FileDeadLetters(context.state_dir / "dead")

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """A resync of each bucket, then notifications as they come."""
        log.warning("core_nats_in_use", extra={"reason": AT_MOST_ONCE})
        queue = LocalQueue()
        with queue.fed(self._tasks, self._listen):
            async for delivery in queue:
                yield delivery

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Hand hints to a running sidecar, which has taken them on return. Raises Unavailable if none is running."""
        for hint in hints:
            # Repeated, because the server may not know yet of a sidecar that just subscribed.
            for _ in range(MAX_PUBLISH_ATTEMPTS):
                if await self._connection.request(self._names.hints, encode(hint)) is not None:
                    break
                await anyio.sleep(PUBLISH_PAUSE)
            else:
                advice = "Start one, or use JetStream, which keeps hints until one starts."
                raise Unavailable("no sidecar listens", hint=advice)

    async def backlog(self) -> int | None:
        """None: core NATS keeps nothing."""
        return None

    async def checks(self) -> AsyncIterator[Check]:
        """The server, and what core NATS means."""
        try:
            yield server_check(self._connection)
        except Unavailable as error:
            yield Check(check="server", ok=False, message=error.message, hint=SERVER_HINT)
        yield Check(check="delivery", ok=True, message=AT_MOST_ONCE)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was created here. Raises ConfigError for what was created in JetStream."""
        message = f"stream {record['stream']}: created in JetStream, and [source.nats] jetstream is false"
        raise ConfigError(message, hint="Remove the setting jetstream while `imgtag setup --remove` runs.")

    def policy(self) -> str | None:
        """Permissions for nats-server's configuration."""
        return permissions(self._settings, self._names, "", "")

    async def _listen(self, queue: LocalQueue) -> None:
        while True:
            link = await self._connection.link()
            try:
                await self._subscribe(link, queue)
                self._trouble = ""
                await link.lost.wait()
            except CONNECTION_ERRORS as error:
                self._trouble = str(error)
                await anyio.sleep(RESUBSCRIBE_PAUSE)

    async def _subscribe(self, link: Link, queue: LocalQueue) -> None:
        async def receive_notification(message: Msg) -> None:
            await self._receive_notification(message, queue)

        async def receive_hint(message: Msg) -> None:
            await self._receive_hint(message, queue)

        group = self._names.durable
        await link.client.subscribe(self._names.subject, queue=group, cb=receive_notification)
        await link.client.subscribe(self._names.hints, queue=group, cb=receive_hint)
        await link.client.flush()
        # Only now: from here on nothing is missed, so what the comparison does not see will be notified.
        for bucket in self._buckets:
            queue.resync(Scope(bucket))

    async def _receive_notification(self, message: Msg, queue: LocalQueue) -> None:
        try:
            content = parse(message.data)
        except EventError as error:
            await self._bury(error, message.data)
            return
        for hint in content.hints:
            queue.put(hint)
        if content.problem is not None:
            await self._bury(content.problem, content.problem.payload)

    async def _receive_hint(self, message: Msg, queue: LocalQueue) -> None:
        try:
            decoded = decode(message.data)
        except EventError as error:
            await self._bury(error, message.data)
            return
        if isinstance(decoded, Hint):
            queue.put(decoded)
        else:
            queue.resync(decoded)
        if message.reply:
            await message.respond(TAKEN)

    async def _bury(self, error: EventError, payload: bytes) -> None:
        log.warning("notification_unreadable", extra={"reason": error.message})
        letter = DeadLetter(ref=None, code=error.code, reason=error.message, at=time.time(), payload=payload)
        try:
            await self.dead.put(letter)
        except Unavailable as disk_error:
            log.warning("dead_letter_lost", extra={"reason": disk_error.message})
