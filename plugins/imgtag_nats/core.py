"""Bucket notifications from plain NATS, where there is no JetStream."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
from nats.aio.msg import Msg

from imgtag.errors import ConfigError, EventError, Unavailable
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin.service import Change, Check
from imgtag.plugin.source import DeadLetters, Delivery, SourceFeatures
from imgtag.plugin.spec import PluginContext
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import Scope
from imgtag_nats.connected import Connected
from imgtag_nats.connection import BROKEN, Connection, Link
from imgtag_nats.doctor import server_check
from imgtag_nats.envelope import parse
from imgtag_nats.letters import FileLetters
from imgtag_nats.listening import listens
from imgtag_nats.message import decode, encode
from imgtag_nats.names import Names
from imgtag_nats.policy import permissions
from imgtag_nats.settings import NatsSettings

ASKED, PAUSE = 3, 0.1
"""How often it is asked whether a sidecar listens, and the seconds between."""
WEAK = (
    "plain NATS: what is published while no sidecar listens is lost, and what waits here when it stops; "
    "all buckets are compared with the index at each start and after each lost connection"
)
TAKEN = b"taken"

logger = logging.getLogger(__name__)


class CoreSource(Connected):
    """At most once, mended by a resync of every bucket at the start and behind every gap.

    Sidecars share the notifications in a queue group. Nothing waits outside of the process, so ``publish``
    finds a sidecar that runs, or fails. Dead letters are files of the state folder.
    """

    def __init__(self, settings: NatsSettings, context: PluginContext) -> None:
        self._names = Names.of(settings, context.site)
        super().__init__(Connection(settings, f"imgtag {context.site}", self._names.inbox))
        self._settings = settings
        self._buckets = context.buckets
        self.features = SourceFeatures(shared=True, listens=listens(settings, self._names))
        self.dead: DeadLetters = FileLetters(context.state_dir / "dead")

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """A resync of each bucket, then notifications as they come."""
        logger.warning(WEAK)
        queue, scope = LocalQueue(), anyio.CancelScope()
        self._tasks.start_soon(self._listen, queue, scope)
        try:
            async for delivery in queue:
                yield delivery
        finally:
            scope.cancel()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Give hints to a sidecar that runs; it has taken them on return. Raises Unavailable where none does."""
        for hint in hints:
            if not await self._taken(encode(hint)):
                raise Unavailable("no sidecar listens", hint="Start one, or use JetStream, where hints can wait.")

    async def backlog(self) -> int | None:
        """None: plain NATS keeps nothing."""
        return None

    async def _taken(self, hint: bytes) -> bool:
        """Whether a sidecar takes it; asked more than once, as the server may not know yet of one that just came."""
        for _ in range(ASKED):
            if await self._connection.request(self._names.hints, hint) is not None:
                return True
            await anyio.sleep(PAUSE)
        return False

    async def checks(self) -> AsyncIterator[Check]:
        """The server, and what plain NATS means."""
        try:
            yield server_check(self._connection)
        except Unavailable as error:
            yield Check(check="server", ok=False, message=error.message, hint="Look into the log of the NATS server.")
        yield Check(check="delivery", ok=True, message=WEAK)

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002
        """Nothing is needed."""
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was made here. Raises ConfigError for what was made in JetStream."""
        message = f"stream {record['stream']}: made in JetStream, and [source.nats] jetstream is false"
        raise ConfigError(message, hint="Leave jetstream out while `imgtag setup --remove` runs.")

    def policy(self) -> str | None:
        """Permissions for nats-server's configuration."""
        return permissions(self._settings, self._names, "", "")

    async def _listen(self, queue: LocalQueue, scope: anyio.CancelScope) -> None:
        with scope:
            while True:
                link = await self._connection.link()
                try:
                    await self._subscribe(link, queue)
                    self._trouble = ""
                    await link.lost.wait()
                except BROKEN as error:
                    self._trouble = str(error)
                    await anyio.sleep(1)

    async def _subscribe(self, link: Link, queue: LocalQueue) -> None:
        async def notified(message: Msg) -> None:
            await self._notified(message, queue)

        async def asked(message: Msg) -> None:
            await self._asked(message, queue)

        group = self._names.durable
        await link.client.subscribe(self._names.subject, queue=group, cb=notified)
        await link.client.subscribe(self._names.hints, queue=group, cb=asked)
        await link.client.flush()
        # Only now: what happens from here on is heard.
        for bucket in self._buckets:
            queue.resync(Scope(bucket))

    async def _notified(self, message: Msg, queue: LocalQueue) -> None:
        try:
            for hint in parse(message.data):
                queue.put(hint)
        except EventError as error:
            await self._bury(message, error)

    async def _asked(self, message: Msg, queue: LocalQueue) -> None:
        try:
            said = decode(message.data)
        except EventError as error:
            await self._bury(message, error)
            return
        queue.put(said) if isinstance(said, Hint) else queue.resync(said)
        if message.reply:
            await message.respond(TAKEN)

    async def _bury(self, message: Msg, error: EventError) -> None:
        logger.warning("A message is no notification", extra={"reason": error.message})
        now = time.time()
        letter = DeadLetter(ref=None, code=error.code, reason=error.message, at=now, payload=message.data)
        try:
            await self.dead.put(letter)
        except Unavailable as full:
            logger.warning("It cannot be kept either", extra={"error": full.message})
