"""A folder as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread

from imgtag.errors import ConfigError
from imgtag.plugin import Scope
from imgtag.plugin.local_source import LocalSource
from imgtag_directory.attributes import Attributes
from imgtag_directory.checks import watch_checks
from imgtag_directory.objects import Objects
from imgtag_directory.polling import PollingWatcher
from imgtag_directory.root import Root
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings
from imgtag_directory.settling import CLOSED_FACTOR, Settling
from imgtag_directory.walk import Walk
from imgtag_directory.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from imgtag.flow.local_queue import LocalQueue
    from imgtag.plugin import Check, PluginContext

MAX_THREADS = 4
MIN_TICK, MAX_TICK = 0.02, 0.5
"""Seconds between two looks at what has settled."""

T = TypeVar("T")


class DirectorySource(LocalSource):
    """Hints for what changes below the root, and a resync where that cannot be known.

    A resync comes first, and again whenever the root did not exist or was not trusted, was replaced by another folder,
    or events were lost. While the root does not exist nothing is delivered.
    """

    def __init__(self, settings: DirectorySourceSettings, context: PluginContext) -> None:
        super().__init__(context.state_dir, threads=MAX_THREADS)
        self._settings = settings
        self._state_dir = context.state_dir
        # The root of the settings, else that of the store; the store's marker applies if the roots are the same.
        store = context.store if isinstance(context.store, DirectoryStoreSettings) else None
        path = settings.root or (store.root if store else None)
        if path is None:
            raise ConfigError("[source.directory] root is missing, and the store is not a folder to take it from")
        self._root = Root(path, store.marker if store and store.root == path else None)
        self._objects = Objects(self._root, Attributes(context.state_dir, context.site, self._root.bucket))
        self._watch: Watch | None = None

    @property
    def polled(self) -> str | None:
        """Why the root is polled; None if it is not."""
        return self._watch.polled if self._watch else None

    @property
    def trouble(self) -> str:
        """Why the root cannot be watched, or is not trusted; empty while all is well."""
        return self._watch.trouble if self._watch else ""

    async def checks(self) -> AsyncIterator[Check]:
        """How changes are noticed."""
        for check in await self._run(lambda: watch_checks(self._root.path, self.polled)):
            yield check

    async def feed(self, queue: LocalQueue) -> None:
        """A resync first; then what changed, once it has settled."""
        objects = self._objects
        settling = Settling(self._root.bucket, self._settings.settle, objects.find, is_own_write=objects.is_own_write)
        listing = Walk(self._root, objects.fingerprint).objects
        polling = PollingWatcher(listing, settling, self._state_dir, every=self._settings.poll)
        self._watch = Watch(self._root, self._settings, settling, polling, self._limiter)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch.run, lambda: queue.resync(Scope(self._root.bucket)))
            tasks.start_soon(self._deliver_settled, queue, settling)

    async def _deliver_settled(self, queue: LocalQueue, settling: Settling) -> None:
        tick = min(max(self._settings.settle * CLOSED_FACTOR / 2, MIN_TICK), MAX_TICK)
        while True:
            await anyio.sleep(tick)
            while settling.is_ready:
                for change in await self._run(settling.take):
                    queue.resync(change) if isinstance(change, Scope) else queue.put(change)

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
