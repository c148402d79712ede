"""A source without a broker: what it finds waits in memory, what other processes publish in files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from imgtag.errors import Unavailable
from imgtag.files.dead_letters import FileDeadLetters
from imgtag.files.shared_records import FileSharedRecords
from imgtag.flow.inbox import Inbox
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin.source import Delivery, SourceFeatures
from imgtag.plugin.task_service import TaskService
from imgtag.types.event import Hint
from imgtag.types.shared_record import SharedRecord

T = TypeVar("T")


class LocalSource(TaskService):
    """For one process; ``feed`` and ``checks`` are what a source of its kind defines.

    The rest is here: a queue in memory, and files in the state directory for dead letters, records (`RecordKeeper`)
    and what other processes publish; ``threads`` may be busy with those. Nothing is fed before ``deliveries`` is
    iterated, so a process that only publishes looks for nothing. ``publish`` is durable, and yet ``parks`` is False: a
    parked hint would come back at once.
    """

    features = SourceFeatures()

    def __init__(self, state_dir: Path, *, threads: int) -> None:
        self._state_dir = state_dir
        self._limiter = CapacityLimiter(threads)
        self._inbox = Inbox(state_dir / "inbox", self._limiter)
        self._queue: LocalQueue | None = None
        self._records = FileSharedRecords(state_dir)
        self.dead = FileDeadLetters(state_dir / "dead", self._limiter)

    async def _open(self, stack: AsyncExitStack) -> None:
        stack.enter_context(self._inbox.open())

    @property
    def trouble(self) -> str:
        """Why nothing can be found at the moment; empty while all is well."""
        return ""

    async def feed(self, queue: LocalQueue) -> None:
        """Put hints and resyncs into the queue as they are found, until cancelled."""
        raise NotImplementedError

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Hints and resyncs, until the iterator is closed."""
        queue = self._queue = LocalQueue()
        with queue.fed(self._tasks, self._inbox.feed, self.feed):
            async for delivery in queue:
                yield delivery

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Leave hints for the running sidecar; durable on return. Raises Unavailable."""
        await self._inbox.put(hints)

    async def backlog(self) -> int | None:
        """What waits in memory; None if this process looks for nothing."""
        return None if self._queue is None else len(self._queue)

    async def read_record(self, name: str) -> SharedRecord:
        """The record in the state folder. Raises Unavailable."""
        return await self._use_state(lambda: self._records.read(name))

    async def write_record(self, name: str, data: bytes, revision: int) -> bool:
        """Write it unless another process was faster. Raises Unavailable."""
        return await self._use_state(lambda: self._records.write(name, data, revision))

    async def _use_state(self, work: Callable[[], T]) -> T:
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            raise Unavailable(f"{self._state_dir}: {error.strerror or error}") from error
