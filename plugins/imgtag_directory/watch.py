"""Keeps watching the root, whatever happens to it."""

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
    from imgtag_directory.root import Root
    from imgtag_directory.settings import DirectorySourceSettings
    from imgtag_directory.settling import Settling

LIMIT_REACHED = "inotify cannot watch all folders, so the root is polled"

T = TypeVar("T")
log = logging.getLogger(__name__)


class Watcher(Protocol):
    """One way to notice changes; blocking, in steps between which the process may stop."""

    def start(self) -> Iterator[None]:
        """After the last step nothing is missed. Raises LimitError, OSError, Unavailable."""
        ...

    def check(self) -> Iterator[None]:
        """To be run now and then. Raises GapError, and like ``start``."""
        ...

    def stop(self) -> None:
        """Stop noticing changes."""
        ...


class Watch:
    """Starts to watch once the root exists, starts over when it is replaced, and polls where inotify does not suffice.

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
        self.polled = "polling is configured" if settings.watch == "poll" else None
        self._root = root
        self._settings = settings
        self._settling = settling
        self._polling = polling
        self._limiter = limiter
        self.trouble = ""
        self._logged_trouble = ""

    async def run(self, resync: Callable[[], None]) -> None:
        """Watch for ever; ``resync`` is called when everything must be compared."""
        while True:
            try:
                identity = await self._run(self._root.identity)
                if identity is None:
                    self._set_trouble("it does not exist, or is not readable")
                else:
                    # Watch this very folder until another one is in its place.
                    compared = False
                    async with self._watching() as watcher:
                        while identity == await self._run(self._root.identity):
                            await self._run_steps(watcher.check())
                            trusted = await self._run(self._root.is_trusted)
                            missed, self._settling.root_absent = self._settling.root_absent or not compared, False
                            if trusted and missed:
                                resync()
                            # An empty folder without a marker may well be a new one, so it is ready all the same.
                            trouble = (
                                "" if trusted else "it is empty or has no marker, so it is assumed not to be mounted"
                            )
                            self._set_trouble(trouble, ready=self._root.marker is None)
                            compared = trusted
                            await anyio.sleep(min(self._settings.recheck, self._settings.poll))
            except LimitError:
                self.polled = LIMIT_REACHED
                log.warning("inotify_limit_reached", extra={"reason": LIMIT_REACHED})
                continue
            except GapError:
                log.warning("changes_missed", extra={"reason": "inotify lost events, so everything is compared"})
                continue
            except (OSError, Unavailable) as error:
                self._set_trouble(str(error))
            await anyio.sleep(self._settings.recheck)

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[Watcher]:
        watcher = await self._run(self._choose_watcher)
        try:
            await self._run_steps(watcher.start())
            yield watcher
        finally:
            with anyio.CancelScope(shield=True):
                await self._run(watcher.stop)

    def _choose_watcher(self) -> Watcher:
        kind = remote_kind(self._root.path) if self._settings.watch == "auto" and self.polled is None else None
        if kind is not None:
            self.polled = f"the root is on {kind}, where inotify does not report every change, so it is polled"
        return self._polling if self.polled else InotifyWatcher(self._root.path, self._settling)

    def _set_trouble(self, trouble: str, *, ready: bool = False) -> None:
        """Log it once, not every few seconds for as long as it lasts."""
        if trouble and trouble != self._logged_trouble:
            log.warning("root_unwatched", extra={"reason": trouble})
        self._logged_trouble = trouble
        self.trouble = "" if ready else trouble

    async def _run_steps(self, steps: Iterator[None]) -> None:
        while await self._run(lambda: next(steps, self)) is not self:
            pass

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
