"""A folder as a source."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import ConfigError
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin.source import Delivery, SourceFeatures
from imgtag.types.ref import Scope
from imgtag_directory.attributes import Attributes
from imgtag_directory.deadletters import FileDeadLetters
from imgtag_directory.doctor import watch_checks
from imgtag_directory.inbox import Inbox
from imgtag_directory.objects import Objects
from imgtag_directory.polling import PollingWatcher
from imgtag_directory.root import Root, unavailable
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings
from imgtag_directory.settling import BRIEF, Settling
from imgtag_directory.walk import Walk
from imgtag_directory.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    from imgtag.plugin.service import Change, Check
    from imgtag.plugin.spec import PluginContext
    from imgtag.types.event import Hint

THREADS = 4
INBOX_EVERY = 1.0
"""Seconds."""
INBOX_WAITING = 10_000
"""Hints that may wait here before more are taken from the inbox."""
SHORTEST, LONGEST = 0.02, 0.5
"""Seconds between two looks at what has settled."""

T = TypeVar("T")
logger = logging.getLogger(__name__)


class DirectorySource:
    """Hints for what changes below the root, and a resync where that cannot be known.

    A resync comes first, and again whenever the root was not there or not to be believed, was replaced
    by another, or events were lost. While the root is not there nothing is delivered. Watching begins with
    ``deliveries``, so a process that only publishes watches nothing.

    ``publish`` is durable, and yet ``parks`` is False: a parked hint would come back at once.
    """

    features = SourceFeatures()

    def __init__(self, settings: DirectorySourceSettings, context: PluginContext) -> None:
        self._settings = settings
        self._state_dir = context.state_dir
        self._root = _root(settings, context)
        self._objects = Objects(self._root, Attributes(context.state_dir, context.site, self._root.bucket))
        self._limiter = CapacityLimiter(THREADS)
        self._inbox = Inbox(context.state_dir / "inbox")
        self._queue: LocalQueue | None = None
        self.dead = FileDeadLetters(context.state_dir / "dead", self._limiter)
        self._watch: Watch | None = None

    @property
    def polled(self) -> str | None:
        """Why the root is polled; None where it is not."""
        return self._watch.polled if self._watch else None

    @property
    def trouble(self) -> str:
        """Why the root cannot be watched, or is not believed; empty while all is well."""
        return self._watch.trouble if self._watch else ""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # An error of the caller's stays as it is; the task group would wrap it.
        await self._stack.__aexit__(*((None, None, None) if isinstance(error, Exception) else (kind, error, trace)))

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Hints and resyncs, until the iterator is closed."""
        queue = self._queue = LocalQueue()
        scope = anyio.CancelScope()
        self._tasks.start_soon(self._feed, queue, scope)
        try:
            async for delivery in queue:
                yield delivery
        finally:
            scope.cancel()

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Leave hints for the process that runs; durable on return. Raises Unavailable."""
        try:
            await self._run(lambda: self._inbox.put(hints))
        except OSError as error:
            raise unavailable(self._state_dir, error) from error

    async def backlog(self) -> int | None:
        """The keys that wait in memory; None where nobody listens."""
        return None if self._queue is None else len(self._queue)

    async def checks(self) -> AsyncIterator[Check]:
        """How changes are heard of."""
        for check in await self._run(lambda: watch_checks(self._root.path, self.polled)):
            yield check

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002
        """Nothing is needed."""
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was made."""
        return None

    def policy(self) -> str | None:
        """A folder has none."""
        return None

    async def _feed(self, queue: LocalQueue, scope: anyio.CancelScope) -> None:
        settling = Settling(self._root.bucket, self._settings.settle, self._objects.find)
        self._watch = Watch(self._root, self._settings, settling, self._polling(settling), self._limiter)
        with scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch.run, lambda: queue.resync(Scope(self._root.bucket)))
                tasks.start_soon(self._settle, queue, settling)
                tasks.start_soon(self._receive, queue)

    def _polling(self, settling: Settling) -> PollingWatcher:
        walk = Walk(self._root, self._objects)
        return PollingWatcher(walk.objects, settling, self._state_dir, every=self._settings.poll)

    async def _settle(self, queue: LocalQueue, settling: Settling) -> None:
        tick = min(max(self._settings.settle * BRIEF / 2, SHORTEST), LONGEST)
        while True:
            await anyio.sleep(tick)
            while settling.ready:
                for each in await self._run(settling.settled):
                    queue.resync(each) if isinstance(each, Scope) else queue.put(each)

    async def _receive(self, queue: LocalQueue) -> None:
        while True:
            if len(queue) < INBOX_WAITING:
                await self._take(queue)
            await anyio.sleep(INBOX_EVERY)

    async def _take(self, queue: LocalQueue) -> None:
        try:
            taken = await self._run(lambda: self._inbox.take(INBOX_WAITING))
        except OSError as error:
            logger.warning("The inbox cannot be read", extra={"error": str(error)})
            return
        for name, hint in taken:
            queue.put(hint, done=partial(self._answered, name))

    async def _answered(self, name: str) -> None:
        try:
            await self._run(lambda: self._inbox.drop(name))
        except OSError as error:
            logger.warning("A hint was answered for and stays in the inbox", extra={"error": str(error)})

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)


def _root(settings: DirectorySourceSettings, context: PluginContext) -> Root:
    """That of the settings, else the store's; the marker is the store's where the root is."""
    store = context.store if isinstance(context.store, DirectoryStoreSettings) else None
    path = settings.root or (store.root if store else None)
    if path is None:
        raise ConfigError("[source.directory] root is missing, and the store is no folder that it could be taken from")
    return Root(path, store.marker if store and store.root == path else None)
