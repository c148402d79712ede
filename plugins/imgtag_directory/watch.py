"""Keeps watch over the root, whatever becomes of it."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import Unavailable
from imgtag_directory.inotify import GapError, InotifyWatcher, LimitError
from imgtag_directory.mounts import remote_kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from imgtag_directory.polling import PollingWatcher
    from imgtag_directory.root import Identity, Root
    from imgtag_directory.settings import DirectorySourceSettings
    from imgtag_directory.settling import Settling

LIMITED = "inotify cannot watch all folders, so the root is polled"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """One way to hear of changes; blocking, in steps between which the process may stop."""

    def start(self) -> Iterator[None]:
        """When all steps are done nothing is missed from then on. Raises LimitError, OSError, Unavailable."""
        ...

    def check(self) -> Iterator[None]:
        """To be run through now and then. Raises GapError, and as ``start``."""
        ...

    def stop(self) -> None:
        """Nothing is heard of any more."""
        ...


class Watch:
    """Begins to watch when the root is there, anew when it is another, and polls where inotify does not do.

    ``polled`` says why it polls, if it does.
    """

    def __init__(
        self,
        root: Root,
        settings: DirectorySourceSettings,
        settling: Settling,
        polling: PollingWatcher,
        limiter: CapacityLimiter,
    ) -> None:
        self.polled = "it is set to be polled" if settings.watch == "poll" else None
        self._root = root
        self._settings = settings
        self._settling = settling
        self._polling = polling
        self._limiter = limiter
        self.trouble = ""
        self._said = ""

    async def run(self, resync: Callable[[], None]) -> None:
        """For ever; ``resync`` is called when all must be compared."""
        while True:
            try:
                identity = await self._run(self._root.identity)
                if identity is None:
                    self._say("it is not there, or may not be read")
                else:
                    await self._guard(identity, resync)
            except LimitError:
                self.polled = LIMITED
                logger.warning("inotify cannot watch all folders, so the root is polled")
                continue
            except GapError:
                logger.warning("Changes were missed, so all is compared")
                continue
            except (OSError, Unavailable) as error:
                self._say(str(error))
            await anyio.sleep(self._settings.recheck)

    async def _guard(self, identity: Identity, resync: Callable[[], None]) -> None:
        """Watch this very folder until it is another."""
        told = False
        async with self._watching() as watcher:
            while identity == await self._run(self._root.identity):
                await self._steps(watcher.check())
                believed = await self._run(self._root.believed)
                unsure, self._settling.absent = self._settling.absent or not told, False
                if believed and unsure:
                    resync()
                # An empty folder without a marker may well be a new one.
                doubt = "" if believed else "it is empty or has no marker, so it is taken for not mounted"
                self._say(doubt, ready=self._root.marker is None)
                told = believed
                await anyio.sleep(min(self._settings.recheck, self._settings.poll))

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Watcher]:
        watcher = await self._run(self._choose)
        try:
            await self._steps(watcher.start())
            yield watcher
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(watcher.stop)

    def _choose(self) -> Watcher:
        kind = remote_kind(self._root.path) if self._settings.watch == "auto" and self.polled is None else None
        if kind is not None:
            self.polled = f"the root is on {kind}, of which inotify does not hear everything, so it is polled"
        return self._polling if self.polled else InotifyWatcher(self._root.path, self._settling)

    def _say(self, trouble: str, *, ready: bool = False) -> None:
        """Once, and not every few seconds for as long as it lasts."""
        if trouble and trouble != self._said:
            logger.warning("The root cannot be watched", extra={"error": trouble})
        self._said = trouble
        self.trouble = "" if ready else trouble

    async def _steps(self, steps: Iterator[None]) -> None:
        while await self._run(lambda: next(steps, self)) is not self:
            pass

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
