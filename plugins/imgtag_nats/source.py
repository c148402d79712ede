"""Bucket notifications from a JetStream stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from imgtag.errors import Unavailable
from imgtag.plugin.service import Change, Check
from imgtag.plugin.source import DeadLetters, Delivery, Source, SourceFeatures
from imgtag.plugin.spec import PluginContext
from imgtag.types.event import Hint
from imgtag.types.ref import Scope
from imgtag_nats.connected import Connected
from imgtag_nats.connection import BROKEN, Connection, Link
from imgtag_nats.core import CoreSource
from imgtag_nats.doctor import stream_checks
from imgtag_nats.jetstream import NOT_FOUND, JetStream, Refused
from imgtag_nats.lane import HintLane, Lane, ParkedLane, Road
from imgtag_nats.letters import StreamLetters
from imgtag_nats.listening import listens
from imgtag_nats.memory import StreamMemory
from imgtag_nats.message import encode
from imgtag_nats.names import Names
from imgtag_nats.policy import permissions, subjects
from imgtag_nats.removal import Removal
from imgtag_nats.settings import NatsSettings
from imgtag_nats.topology import Step, Topology

AT_ONCE = 100
"""Hints that are published without waiting for one another."""
PAUSE = 1.0
"""Seconds until it is tried again to pull."""

logger = logging.getLogger(__name__)


def make_source(settings: NatsSettings, context: PluginContext) -> Source:
    """The source that the settings ask for. Raises ConfigError."""
    return NatsSource(settings, context) if settings.jetstream else CoreSource(settings, context)


class NatsSource(Connected):
    """Notifications, hints and dead letters in JetStream, shared by all sidecars of a site.

    What is missing on the server is made, also while it runs. A stream that is not the one of last time has
    lost what was in it: then a resync of each bucket is put into it, once, for whichever sidecar takes it.
    """

    def __init__(self, settings: NatsSettings, context: PluginContext) -> None:
        self._names = Names.of(settings, context.site)
        super().__init__(Connection(settings, f"imgtag {context.site}", self._names.inbox))
        self._settings = settings
        self._buckets = context.buckets
        self._jetstream = JetStream(self._connection, settings.domain)
        self._topology = Topology(self._jetstream, self._names, settings)
        self._removal = Removal(self._jetstream, self._names, settings)
        self._memory = StreamMemory(context.state_dir / "nats-stream")
        self._preparing = anyio.Lock()
        self.features = SourceFeatures(
            shared=True, parks=True, ack_wait=settings.ack_wait, listens=listens(settings, self._names)
        )
        self.dead: DeadLetters = StreamLetters(self._jetstream, self._names, self._prepare)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Notifications, and what was published or parked when there is room for it."""
        send, receive = anyio.create_memory_object_stream[Delivery](0)
        scope, done = anyio.CancelScope(), anyio.Event()
        self._tasks.start_soon(self._feed, send, scope, done)
        async with receive:
            try:
                async for delivery in receive:
                    yield delivery
            finally:
                scope.cancel()
                with anyio.CancelScope(shield=True):  # what nobody took is given back meanwhile
                    await done.wait()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Leave hints for whichever sidecar takes them; durable on return. Raises Unavailable."""
        try:
            await self._publish(hints)
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            await self._prepare()
            await self._publish(hints)

    async def backlog(self) -> int | None:
        """What waits for each consumer, however many sidecars share it. Raises Unavailable."""
        if await self._topology.find() is None:
            return None
        found = [await self._topology.consumer(durable) for durable in self._names.durables]
        return sum(int(info.get("num_pending", 0)) for info in found if info)

    async def checks(self) -> AsyncIterator[Check]:
        """Server, JetStream, stream, consumers, dead letters."""
        await self._look_up()
        publish, _ = subjects(self._settings, self._names, self._topology.stream, self._jetstream.prefix)
        async for check in stream_checks(self._connection, self._jetstream, self._topology, self._names, publish):
            yield check

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Stream, consumers and dead-letter stream. Raises Unavailable."""
        steps = await (self._prepare() if apply else self._topology.plan())
        return [
            Change(what=step.what, done=apply, undo=None if step.undo is None else self._removal.record(step.undo))
            for step in steps
        ]

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Delete what setup made, and put back what it changed. Raises ConfigError, Unavailable."""
        return await self._removal.undo(record, apply=apply)

    def policy(self) -> str | None:
        """Permissions for nats-server's configuration."""
        return permissions(self._settings, self._names, self._topology.stream, self._jetstream.prefix)

    async def _look_up(self) -> None:
        """Which stream it is: one that was there before may have another name."""
        with suppress(Unavailable):
            await self._topology.find()

    async def _publish(self, hints: Sequence[Hint]) -> None:
        for start in range(0, len(hints), AT_ONCE):
            await asyncio.gather(*map(self._publish_one, hints[start : start + AT_ONCE]))

    async def _publish_one(self, hint: Hint) -> None:
        await self._jetstream.publish(self._names.parked if hint.parked else self._names.hints, encode(hint))

    async def _prepare(self) -> Sequence[Step]:
        """Make what is missing, and see whether anything was lost; what was made. Raises Unavailable."""
        async with self._preparing:
            steps = await self._topology.ensure()
            info = await self._topology.find()
            if info is not None:
                await self._compare(f"{self._topology.stream} {info['created']}")
        return steps

    async def _compare(self, stream: str) -> None:
        known = await self._memory.known()
        if known == stream:
            return
        if known is not None:
            logger.warning("The stream is another one: all is compared", extra={"buckets": list(self._buckets)})
            for bucket in self._buckets:
                # The identity, because every sidecar of the site sees it.
                await self._jetstream.publish(self._names.hints, encode(Scope(bucket)), f"resync {stream} {bucket}")
        await self._memory.remember(stream)

    async def _feed(self, send: MemoryObjectSendStream[Delivery], scope: anyio.CancelScope, done: anyio.Event) -> None:
        try:
            with scope:
                async with send:
                    while True:
                        await self._pull_while_it_lasts(await self._connection.link(), send)
        finally:
            done.set()

    async def _pull_while_it_lasts(self, link: Link, send: MemoryObjectSendStream[Delivery]) -> None:
        try:
            await self._prepare()
            self._trouble = ""
            await self._pull(link, send)
        except* (Unavailable, *BROKEN) as errors:
            error = _first(errors)
            if str(error) != self._trouble and not link.lost.is_set():
                logger.warning("Nothing can be pulled", extra={"error": str(error)})
            self._trouble = str(error)
            await anyio.sleep(PAUSE)

    async def _pull(self, link: Link, send: MemoryObjectSendStream[Delivery]) -> None:
        async with anyio.create_task_group() as tasks:
            for lane in self._lanes():
                tasks.start_soon(lane.pull, link, send.send)
            await link.lost.wait()
            tasks.cancel_scope.cancel()

    def _lanes(self) -> Sequence[Lane]:
        live, hints, parked = self._names.durables
        road = Road(
            connection=self._connection,
            jetstream=self._jetstream,
            topology=self._topology,
            extend_every=self._settings.ack_wait / 3,
        )
        live_lanes = [Lane(road, live)] * self._settings.pulls
        return [*live_lanes, HintLane(road, hints), ParkedLane(road, parked, self._settings.park)]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
