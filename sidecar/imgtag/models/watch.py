"""Watch a folder for changes."""

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

from imgtag.files.ownership import make_public_folder

log = logging.getLogger(__name__)

_SETTLE_SECONDS = 0.5
"""Without a change: a model and its manifest arrive one after the other."""
_POLL_SECONDS = 30.0
"""Between looks without a notification: network file systems do not report what other hosts change."""
_CHANGE_EVENTS = frozenset({"created", "modified", "moved", "deleted", "closed"})
"""Of watchdog: without `opened`, which our own reading causes."""


class _ChangeSignal(FileSystemEventHandler):
    """Carries changes from watchdog's thread to the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _CHANGE_EVENTS:
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, seconds: float) -> bool:
        """Whether something changed within that time."""
        with anyio.move_on_after(seconds) as scope:
            await self._changed.wait()
            self._changed.clear()
        return not scope.cancelled_caught


@asynccontextmanager
async def watch_changes(folder: Path) -> AsyncIterator[AsyncIterator[None]]:
    """An iterator that yields when files of the folder have changed and settled, and at least every 30 seconds."""
    signal, observer = _ChangeSignal(), Observer()
    try:
        await anyio.to_thread.run_sync(_start, observer, signal, folder)
    except OSError as error:
        reason = f"{error.filename or folder}: {error.strerror}"
        log.warning("models_polled", extra={"reason": reason, "seconds": _POLL_SECONDS})
    try:
        yield _settled_changes(signal)
    finally:
        with anyio.CancelScope(shield=True):  # the thread must end even while we are being cancelled
            await anyio.to_thread.run_sync(_stop, observer)


async def _settled_changes(signal: _ChangeSignal) -> AsyncIterator[None]:
    while True:
        await signal.wait(_POLL_SECONDS)
        while await signal.wait(_SETTLE_SECONDS):
            pass
        yield


def _start(observer: BaseObserver, signal: _ChangeSignal, folder: Path) -> None:
    make_public_folder(folder)
    observer.schedule(signal, str(folder))
    observer.start()


def _stop(observer: BaseObserver) -> None:
    if observer.is_alive():  # it never started where the folder cannot be watched
        observer.stop()
        observer.join()
