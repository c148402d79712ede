"""Bucket notifications from a queue."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import anyio

from imgtag.errors import ConfigError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.flow.batcher import Batcher
from imgtag.plugin import (
    Change,
    Check,
    DeadLetters,
    Delivery,
    Hint,
    NotificationTarget,
    PluginContext,
    SourceFeatures,
)
from imgtag.plugin.hint_messages import encode
from imgtag.plugin.task_service import TaskService
from imgtag_sqs.answers import Answers
from imgtag_sqs.checks import queue_checks
from imgtag_sqs.client import QueueService
from imgtag_sqs.dead_letters import QueueDeadLetters
from imgtag_sqs.delivery import SqsDelivery, read
from imgtag_sqs.errors import QueueError
from imgtag_sqs.policy import build_policy
from imgtag_sqs.queue import MAX_BATCH, MAX_BYTES, Message, Outgoing, Queue
from imgtag_sqs.settings import SqsSettings
from imgtag_sqs.setup import Topology

RETRY = Backoff(first=0.5, maximum=15.0)
"""Until messages are asked for again that could not be received."""

log = logging.getLogger(__name__)


class SqsSource(TaskService):
    """Notifications, hints and dead letters in two queues, shared by all sidecars of a site.

    SQS tells neither who else was given messages, so that no delivery is exclusive, nor does it keep records, so that
    nothing runs on a schedule.
    """

    def __init__(self, settings: SqsSettings, context: PluginContext) -> None:
        name = settings.queue or f"imgtag-{context.site.replace('.', '_')}"
        self._settings = settings
        self._service = QueueService(settings)
        self._queue = Queue(self._service, name)
        self._dead_queue = Queue(self._service, settings.dead_letter_queue or f"{self._queue.name}-dead")
        if self._queue.name == self._dead_queue.name:
            hint = "Name another one as dead_letter_queue, or leave it out."
            raise ConfigError(f"[source.sqs] {name} cannot be the queue of dead letters as well", hint=hint)
        self._topology = Topology(
            self._service, self._queue, self._dead_queue, settings, site=context.site, buckets=context.buckets
        )
        self._answers = Answers(self._queue)
        self._send_one = Batcher(self._send, MAX_BATCH)
        self._trouble = ""
        self.dead: DeadLetters = QueueDeadLetters(self._dead_queue, self._topology.ensure)

    @property
    def features(self) -> SourceFeatures:
        """The ARN of the queue is known once the service has told it, or the settings name a URL of AWS."""
        target = NotificationTarget(
            kind="sqs", address=self._service.where, subject=self._queue.name, arn=self._queue.arn
        )
        ack_wait = float(self._settings.ack_wait)
        return SourceFeatures(shared=True, parks=True, ack_wait=ack_wait, notification_target=target)

    @property
    def trouble(self) -> str:
        """Why nothing can be received at the moment; empty while all is well."""
        return self._trouble

    async def _open(self, stack: AsyncExitStack) -> None:
        await self._service.open(stack)
        # Whether it answers at all; a queue that is missing is created when messages are asked for.
        await self._queue.find()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._answers = Answers(self._queue)  # not those of deliveries that came before it was left
        self._tasks.start_soon(self._answers.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._answers.drain()
        await super().__aexit__(kind, error, trace)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Notifications, and what was published or parked."""
        line = _Line(self._settings.pulls)
        scope, done = anyio.CancelScope(), anyio.Event()
        self._tasks.start_soon(self._fill, line, scope, done)
        try:
            while True:
                message, received = await line.take()
                content = read(message)
                if content:
                    yield SqsDelivery(content, message, received, self._answers, self._settings.ack_wait)
                else:
                    self._answers.delete(message.handle)
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await done.wait()
            for message, _ in line:  # another sidecar need not wait until these are ours no longer
                self._answers.hide(message.handle, 0)

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Leave hints for whichever sidecar takes them; durable on return. Raises Unavailable."""
        messages = [self._message_of(hint) for hint in hints]
        if len(messages) == 1:
            await self._send_one(messages[0])  # with others that are published at the same time
        else:
            await self._send(messages)

    async def backlog(self) -> int | None:
        """What waits in the queue, as SQS estimates it, parked hints included. Raises Unavailable."""
        state = await self._queue.find()
        return None if state is None else state.waiting + state.delayed

    async def checks(self) -> AsyncIterator[Check]:
        """Service, queues, redrive policy, permissions."""
        async for check in queue_checks(self._service, self._queue, self._dead_queue, self._settings):
            yield check

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Both queues, the redrive policy, and on AWS the permission of S3 to send. Raises Unavailable."""
        return await self._topology.set_up(apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Remove what setup created. Raises ConfigError, Unavailable."""
        return await self._topology.undo(record, apply=apply)

    def policy(self) -> str | None:
        """Permissions in IAM's form."""
        return self.policy_with(())

    def policy_with(self, commands: Collection[str]) -> str | None:
        """As ``policy``, with what `setup` needs."""
        region = self._settings.region
        arns = [queue.arn or f"arn:aws:sqs:{region}:*:{queue.name}" for queue in (self._queue, self._dead_queue)]
        return build_policy(arns, setup="setup" in commands)

    def _message_of(self, hint: Hint) -> Outgoing:
        body = encode(hint)
        if len(body) > MAX_BYTES:  # the look at the object brings its metadata anyway
            body = encode(replace(hint, metadata=None))
        return Outgoing(body.decode(), delay=self._settings.park if hint.parked else 0)

    async def _send(self, messages: Sequence[Outgoing]) -> Sequence[None]:
        try:
            await self._queue.send(messages)
        except QueueError as error:
            if not error.is_missing:
                raise
            await self._topology.ensure()
            await self._queue.send(messages)
        return [None] * len(messages)

    async def _fill(self, line: _Line, scope: anyio.CancelScope, done: anyio.Event) -> None:
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._receive_forever, line)
                    tasks.start_soon(self._keep_waiting, line)
        finally:
            done.set()

    async def _receive_forever(self, line: _Line) -> None:
        failures = 0
        while True:
            try:
                await line.wait_for_room()
                asked = time.monotonic()
                settings = self._settings
                messages = await self._queue.receive(line.room, wait=settings.wait, hide=settings.ack_wait)
            except Unavailable as error:
                failures += 1
                await self._note_failure(error)
                await anyio.sleep(RETRY.delay(failures))
            else:
                failures, self._trouble = 0, ""
                for message in messages:
                    line.put(message, asked)

    async def _note_failure(self, error: Unavailable) -> None:
        """Nothing could be received. A queue that is missing is created."""
        try:
            if isinstance(error, QueueError) and error.is_missing:
                await self._topology.ensure()
                return
        except Unavailable as failure:
            error = failure
        if error.message != self._trouble:
            log.warning("sqs_receive_failed", extra={"reason": error.message, "hint": error.hint})
        self._trouble = error.message

    async def _keep_waiting(self, line: _Line) -> None:
        """Tell SQS in time that messages still wait here, or it would give them to another sidecar."""
        while True:
            await anyio.sleep(self._settings.ack_wait / 3)
            for message, _ in line:
                self._answers.hide(message.handle, self._settings.ack_wait)


class _Line:
    """What was received and waits for the pipeline, in order of arrival, each with the time when it was asked for."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[tuple[Message, float]] = deque()
        self._news = anyio.Event()
        self._taken = anyio.Event()

    def __iter__(self) -> Iterator[tuple[Message, float]]:
        return iter(tuple(self._waiting))

    @property
    def room(self) -> int:
        """How many more may wait."""
        return self._size - len(self._waiting)

    def put(self, message: Message, received: float) -> None:
        self._waiting.append((message, received))
        self._news.set()

    async def take(self) -> tuple[Message, float]:
        """The next message, as soon as there is one."""
        while not self._waiting:
            self._news = anyio.Event()
            await self._news.wait()
        self._taken.set()
        return self._waiting.popleft()

    async def wait_for_room(self) -> None:
        """Wait until at least half of it is free, so that one request brings several."""
        while len(self._waiting) > self._size // 2:
            self._taken = anyio.Event()
            await self._taken.wait()
