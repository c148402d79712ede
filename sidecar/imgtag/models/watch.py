"""Tells that something in a folder has changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger(__name__)

_SETTLE = 0.5
"""Seconds without a change: a model comes with its manifest."""
_EVERY = 30.0
"""Seconds after which it is looked anyway: a share tells nobody what others do to it."""
_TELLING = frozenset({"created", "modified", "moved", "deleted", "closed"})


class _Bell(FileSystemEventHandler):
    """Rings in the event loop when it hears of a change in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Reading is no change."""
        if event.event_type in _TELLING:
            self._loop.call_soon_threadsafe(self._rung.set)

    async def heard(self, seconds: float) -> bool:
        """Whether something changed within that time."""
        with anyio.move_on_after(seconds) as scope:
            await self._rung.wait()
            self._rung.clear()
        return not scope.cancelled_caught


@asynccontextmanager
async def changes(folder: Path) -> AsyncIterator[AsyncIterator[None]]:
    """An iterator that yields when files of the folder have changed and come to rest, and now and then."""
    bell, observer = _Bell(), Observer()
    try:
        await anyio.to_thread.run_sync(_begin, observer, bell, folder)
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror}"
        log.warning("models are looked at now and then only", extra={"reason": reason, "every": _EVERY})
    try:
        yield _rest(bell)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_end, observer)


async def _rest(bell: _Bell) -> AsyncIterator[None]:
    while True:
        await bell.heard(_EVERY)
        while await bell.heard(_SETTLE):
            pass
        yield


def _begin(observer: BaseObserver, bell: _Bell, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    observer.schedule(bell, str(folder))
    observer.start()


def _end(observer: BaseObserver) -> None:
    if observer.is_alive():
        observer.stop()
        observer.join()
