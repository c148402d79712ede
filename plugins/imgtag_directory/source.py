"""A folder as a source."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import ConfigError
from imgtag.files.dead_letters import FileDeadLetters
from imgtag.flow.local_queue import LocalQueue
from imgtag.plugin import Delivery, Scope, ServiceBase, SourceFeatures
from imgtag_directory.attributes import Attributes
from imgtag_directory.checks import watch_checks
from imgtag_directory.errors import map_read_error
from imgtag_directory.inbox import Inbox
from imgtag_directory.objects import Objects
from imgtag_directory.polling import PollingWatcher
from imgtag_directory.root import Root
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings
from imgtag_directory.settling import CLOSED_FACTOR, Settling
from imgtag_directory.walk import Walk
from imgtag_directory.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from types import TracebackType

    from imgtag.plugin import Check, Hint, PluginContext

MAX_THREADS = 4
INBOX_INTERVAL = 1.0
"""Seconds between two looks into the inbox."""
MAX_INBOX_HINTS = 10_000
"""Hints that may wait in memory before more are taken from the inbox."""
MIN_TICK, MAX_TICK = 0.02, 0.5
"""Seconds between two looks at what has settled."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class DirectorySource(ServiceBase):
    """Hints for what changes below the root, and a resync where that cannot be known.

    A resync comes first, and again whenever the root did not exist or was not trusted, was replaced by another folder,
    or events were lost. While the root does not exist nothing is delivered. Watching begins with ``deliveries``, so a
    process that only publishes watches nothing.

    ``publish`` is durable, and yet ``parks`` is False: a parked hint would come back at once.
    """

    features = SourceFeatures()

    def __init__(self, settings: DirectorySourceSettings, context: PluginContext) -> None:
        self._settings = settings
        self._state_dir = context.state_dir
        # The root of the settings, else that of the store; the store's marker applies if the roots are the same.
        store = context.store if isinstance(context.store, DirectoryStoreSettings) else None
        path = settings.root or (store.root if store else None)
        if path is None:
            raise ConfigError("[source.directory] root is missing, and the store is not a folder to take it from")
        self._root = Root(path, store.marker if store and store.root == path else None)
        self._objects = Objects(self._root, Attributes(context.state_dir, context.site, self._root.bucket))
        self._limiter = CapacityLimiter(MAX_THREADS)
        self._inbox = Inbox(context.state_dir / "inbox")
        self._queue: LocalQueue | None = None
        self.dead = FileDeadLetters(context.state_dir / "dead", self._limiter)
        self._watch: Watch | None = None

    @property
    def polled(self) -> str | None:
        """Why the root is polled; None if it is not."""
        return self._watch.polled if self._watch else None

    @property
    def trouble(self) -> str:
        """Why the root cannot be watched, or is not trusted; empty while all is well."""
        return self._watch.trouble if self._watch else ""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # The caller's error stays as it is; the task group would wrap it.
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
        """Leave hints for the running sidecar; durable on return. Raises Unavailable."""
        try:
            await self._run(lambda: self._inbox.put(hints))
        except OSError as error:
            raise map_read_error(self._state_dir, error) from error

    async def backlog(self) -> int | None:
        """The keys that wait in memory; None if this process does not watch."""
        return None if self._queue is None else len(self._queue)

    async def checks(self) -> AsyncIterator[Check]:
        """How changes are noticed."""
        for check in await self._run(lambda: watch_checks(self._root.path, self.polled)):
            yield check

    async def _feed(self, queue: LocalQueue, scope: anyio.CancelScope) -> None:
        objects = self._objects
        settling = Settling(self._root.bucket, self._settings.settle, objects.find, is_own_write=objects.is_own_write)
        listing = Walk(self._root, objects.fingerprint).objects
        polling = PollingWatcher(listing, settling, self._state_dir, every=self._settings.poll)
        self._watch = Watch(self._root, self._settings, settling, polling, self._limiter)
        with scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch.run, lambda: queue.resync(Scope(self._root.bucket)))
                tasks.start_soon(self._deliver_settled, queue, settling)
                tasks.start_soon(self._empty_inbox, queue)

    async def _deliver_settled(self, queue: LocalQueue, settling: Settling) -> None:
        tick = min(max(self._settings.settle * CLOSED_FACTOR / 2, MIN_TICK), MAX_TICK)
        while True:
            await anyio.sleep(tick)
            while settling.is_ready:
                for change in await self._run(settling.take):
                    queue.resync(change) if isinstance(change, Scope) else queue.put(change)

    async def _empty_inbox(self, queue: LocalQueue) -> None:
        while True:
            if len(queue) < MAX_INBOX_HINTS:
                try:
                    for name, hint in await self._run(lambda: self._inbox.take(MAX_INBOX_HINTS)):
                        queue.put(hint, done=partial(self._drop_from_inbox, name))
                except OSError as error:
                    log.warning("inbox_unreadable", extra={"reason": str(error)})
            await anyio.sleep(INBOX_INTERVAL)

    async def _drop_from_inbox(self, name: str) -> None:
        try:
            await self._run(lambda: self._inbox.drop(name))
        except OSError as error:
            log.warning("inbox_hint_not_removed", extra={"reason": str(error)})

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
