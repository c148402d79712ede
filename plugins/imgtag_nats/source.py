"""Bucket notifications from a JetStream stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import anyio

from imgtag.errors import Unavailable
from imgtag.files.dead_letters import FileDeadLetters
from imgtag.plugin import (
    Backfills,
    Change,
    Check,
    DeadLetters,
    Delivery,
    Hint,
    PluginContext,
    SharedRecord,
    Source,
    SourceFeatures,
)
from imgtag.plugin.hint_messages import encode
from imgtag_nats.answers import Answers
from imgtag_nats.audience import Audience
from imgtag_nats.backfills import StreamBackfills
from imgtag_nats.checks import jetstream_checks, records_check
from imgtag_nats.client import ConnectedService, Connection
from imgtag_nats.consumers import Consumer, ConsumerContext, HintConsumer, ParkedConsumer, WaitingLine
from imgtag_nats.core import CoreSource
from imgtag_nats.dead_letters import StreamDeadLetters
from imgtag_nats.delivery import PROGRESS
from imgtag_nats.errors import CONNECTION_ERRORS, NOT_FOUND, JetStreamError
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names, notification_target
from imgtag_nats.policy import permissions, subjects
from imgtag_nats.records import StreamRecords
from imgtag_nats.settings import NatsSettings
from imgtag_nats.setup import Step, Topology
from imgtag_nats.stream_identity import StreamIdentity
from imgtag_nats.undo import Removal

MAX_CONCURRENT_PUBLISHES = 100
"""Hints that are published without waiting for one another."""
RETRY_PAUSE = 1.0
"""Seconds until pulling is tried again."""

log = logging.getLogger(__name__)


def make_source(settings: NatsSettings, context: PluginContext) -> Source:
    """The source that the settings ask for. Raises ConfigError."""
    return NatsSource(settings, context) if settings.jetstream else CoreSource(settings, context)


class NatsSource(ConnectedService):
    """Notifications, hints and dead letters in JetStream, shared by all sidecars of a site.

    What is missing on the server is created, also at run time. A stream that was replaced by another has lost its
    messages: then a resync of each bucket is published, once for all sidecars.
    """

    def __init__(self, settings: NatsSettings, context: PluginContext) -> None:
        self._names = Names.of(settings, context.site)
        super().__init__(Connection(settings, f"imgtag {context.site}", self._names.inbox))
        self._settings = settings
        self._jetstream = JetStream(self._connection, settings.domain)
        self._answers = Answers(self._connection)
        self._topology = Topology(self._jetstream, self._names, settings)
        self._removal = Removal(self._jetstream, self._names, settings)
        path = context.state_dir / "nats-stream"
        self._identity = StreamIdentity(path, self._jetstream, self._names.hints, context.buckets)
        self._preparing = anyio.Lock()
        self.features = SourceFeatures(
            shared=True,
            parks=True,
            ack_wait=settings.ack_wait,
            notification_target=notification_target(settings, self._names),
        )
        self._context: ConsumerContext | None = None
        """While messages are delivered."""
        files = FileDeadLetters(context.state_dir / "dead")
        self.dead: DeadLetters = StreamDeadLetters(self._jetstream, self._names, self._prepare, files)
        self._records = StreamRecords(self._jetstream, self._names, self._topology)
        self._needs_records = context.needs_records
        self.backfills: Backfills = StreamBackfills(
            self._connection,
            self._jetstream,
            self._names,
            self._answers,
            settings,
            create_streams=self._topology.require_backfill_streams,
            is_live_waiting=self._is_live_waiting,
        )

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._tasks.start_soon(self._answers.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._answers.drain()
        await super().__aexit__(kind, error, trace)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Notifications, and what was published or parked when there is room for it."""
        context = ConsumerContext(
            jetstream=self._jetstream,
            topology=self._topology,
            answers=self._answers,
            audience=Audience(self._names.durables, self._topology.consumer),
        )
        self._context, line = context, context.line
        scope, done = anyio.CancelScope(), anyio.Event()
        self._tasks.start_soon(self._fill_line, context, scope, done)
        try:
            while True:
                fetched = await line.take()
                if delivery := fetched.consumer.deliver(fetched):
                    yield delivery
        finally:
            self._context = None
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await done.wait()
                # Another sidecar need not wait until these are ours no longer.
                for fetched in line:
                    fetched.consumer.give_back(fetched)
                await self._answers.drain()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Leave hints for whichever sidecar takes them; durable on return. Raises Unavailable."""
        try:
            await self._publish(hints)
        except JetStreamError as error:
            if error.status != NOT_FOUND:
                raise
            await self._prepare()
            await self._publish(hints)

    async def backlog(self) -> int | None:
        """What waits for each consumer, however many sidecars share it. Raises Unavailable."""
        if await self._topology.find() is None:
            return None
        consumers = [await self._topology.consumer(durable) for durable in self._names.durables]
        return sum(int(info.get("num_pending", 0)) for info in consumers if info)

    async def read_record(self, name: str) -> SharedRecord:
        """The record in its stream. Raises Unavailable."""
        return await self._records.read(name)

    async def write_record(self, name: str, data: bytes, revision: int) -> bool:
        """Write it unless another sidecar was faster. Raises Unavailable."""
        return await self._records.write(name, data, revision)

    async def checks(self) -> AsyncIterator[Check]:
        """Server, JetStream, stream, consumers, dead letters."""
        with suppress(Unavailable):
            await self._topology.find()  # the policy names the stream, which may be an existing one of another name
        names, stream, prefix = self._names, self._topology.stream, self._jetstream.prefix
        publish, _ = subjects(self._settings, names, stream, prefix, records=self._needs_records)
        async for check in jetstream_checks(self._connection, self._jetstream, self._topology, names, publish):
            yield check
        if self._needs_records:
            yield await records_check(self._topology)

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Stream, consumers, dead-letter stream, and records where something uses them. Raises Unavailable.

        Records that cannot be created do not keep a sidecar from its other work.
        """
        steps = list(await (self._prepare() if apply else self._topology.plan()))
        refusals = []
        if self._needs_records:
            try:
                missing = await self._topology.plan_records()
                steps += await self._topology.apply(missing) if apply else missing
            except Unavailable as error:
                hint = f"{error.message}. {error.hint}".rstrip(". ") + "."
                refusals = [Change(what=f"stream of records {self._names.record_stream}", hint=hint)]
        return [
            Change(what=step.what, done=apply, undo=None if step.undo is None else self._removal.record(step.undo))
            for step in steps
        ] + refusals

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Delete what setup created, and restore what it changed. Raises ConfigError, Unavailable."""
        return await self._removal.undo(record, apply=apply)

    def policy(self) -> str | None:
        """Permissions for nats-server's configuration."""
        stream, prefix = self._topology.stream, self._jetstream.prefix
        return permissions(self._settings, self._names, stream, prefix, records=self._needs_records)

    def _is_live_waiting(self) -> bool:
        """Whether notifications wait on the server, or anything waits here; unknown counts as yes."""
        context = self._context
        return context is not None and not (context.priority.is_idle and not context.line)

    async def _publish(self, hints: Sequence[Hint]) -> None:
        for start in range(0, len(hints), MAX_CONCURRENT_PUBLISHES):
            await asyncio.gather(
                *(
                    self._jetstream.publish(self._names.parked if hint.parked else self._names.hints, encode(hint))
                    for hint in hints[start : start + MAX_CONCURRENT_PUBLISHES]
                )
            )

    async def _prepare(self) -> Sequence[Step]:
        """Create what is missing and detect a replaced stream; returns what was created. Raises Unavailable."""
        async with self._preparing:
            steps = await self._topology.ensure()
            info = await self._topology.find()
            if info is not None:
                await self._identity.check(self._topology.stream, info)
        return steps

    async def _fill_line(self, context: ConsumerContext, scope: anyio.CancelScope, done: anyio.Event) -> None:
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pull_forever, self._consumers(context))
                    tasks.start_soon(self._keep_waiting, context.line)
        finally:
            done.set()

    async def _pull_forever(self, consumers: Sequence[Consumer]) -> None:
        while True:
            # Pull from all consumers until the link is lost, or something fails.
            link = await self._connection.link()
            try:
                await self._prepare()
                self._trouble = ""
                async with anyio.create_task_group() as tasks:
                    for consumer in consumers:
                        tasks.start_soon(consumer.pull, link)
                    await link.lost.wait()
                    tasks.cancel_scope.cancel()
            except* (Unavailable, *CONNECTION_ERRORS) as errors:
                error = _first(errors)
                if str(error) != self._trouble and not link.lost.is_set():
                    log.warning("nats_pull_failed", extra={"reason": str(error)})
                self._trouble = str(error)
                await anyio.sleep(RETRY_PAUSE)

    async def _keep_waiting(self, line: WaitingLine) -> None:
        """Tell the server in time that messages still wait here, or it would deliver them to another sidecar."""
        while True:
            await anyio.sleep(self._settings.ack_wait / 3)
            for fetched in line:
                self._answers.send(fetched.reply, PROGRESS, optional=True)

    def _consumers(self, context: ConsumerContext) -> Sequence[Consumer]:
        notifications, hints, parked = self._names.durables
        return [
            Consumer(context, notifications, self._settings.pulls),
            HintConsumer(context, hints),
            ParkedConsumer(context, parked, park=self._settings.park),
        ]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
