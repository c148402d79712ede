"""Notices changes below a folder through inotify."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import CallbackId, InotifyEvent, InotifyFD, Mask, WatchCallback, WatchDescriptor

from imgtag_directory.keys import is_key, is_utf8

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgtag_directory.settling import Settling

# Attributes are not among them (FileModifiedEvent would bring them), so our own writes cause no events.
EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
LIMITS = frozenset({errno.ENOSPC, errno.EMFILE})


class LimitError(Exception):
    """inotify cannot watch so many folders."""


class GapError(Exception):
    """Something has changed, and it is not known what."""


class Inotify(InotifyFD):
    """Remembers what watchdog keeps to itself: that events were lost, and that a folder below could not be watched."""

    def __init__(self) -> None:
        self.overflown = False
        self.full = False
        super().__init__()

    def handle_event(self, event: InotifyEvent) -> None:
        """Note an overflow; whoever checks begins anew then, so nothing is repaired here."""
        if event.is_queue_overflow:
            self.overflown = True
        else:
            super().handle_event(event)

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Note a limit, and say nothing of a folder met twice, as happens when folders are made in folders."""
        try:
            with self._lock:
                watch = self._get_or_create_watch(path, mask)
                watch.callbacks[id_] = callback
                return watch.wd
        except OSError as error:
            self.full = self.full or error.errno in LIMITS
            raise


class Changes(FileSystemEventHandler):
    """Tells which key an event is about."""

    def __init__(self, root: str, settling: Settling) -> None:
        self._root = root
        self._settling = settling

    def dispatch(self, event: FileSystemEvent) -> None:
        """In the thread of the observer."""
        source, target = (self._key(os.fsdecode(path)) for path in (event.src_path, event.dest_path))
        if isinstance(event, DirMovedEvent | DirDeletedEvent):
            self._part(source)
        elif isinstance(event, FileMovedEvent):
            # A folder was moved: its old place is compared as a whole.
            self._file(source if not event.is_synthetic else "")
            self._file(target, closed=True)
        else:
            self._file(source, closed=isinstance(event, FileClosedEvent))

    def _key(self, path: str) -> str:
        return path[len(self._root) + 1 :] if is_utf8(path) else ""

    def _file(self, key: str, *, closed: bool = False) -> None:
        if key and is_key(key):
            self._settling.note(key, closed=closed)

    def _part(self, key: str) -> None:
        if key and is_key(key):
            self._settling.note_scope(f"{key}/")


class InotifyWatcher:
    """watchdog's observer with the events that say anything of an object. Blocking, for worker threads."""

    def __init__(self, root: Path, settling: Settling) -> None:
        self._root = root
        self._settling = settling
        self._inotify: Inotify | None = None
        self._observer: BaseObserver | None = None

    def start(self) -> Iterator[None]:
        """One step: watch every folder. Raises LimitError, OSError when the root is not there."""
        try:
            self._start()
        except OSError as error:
            if error.errno in LIMITS:
                raise LimitError from error
            raise
        yield from self.check()

    def check(self) -> Iterator[None]:
        """One step. Raises LimitError, GapError."""
        if self._inotify is None or self._observer is None:
            raise GapError
        if self._inotify.full:
            raise LimitError
        threads = (self._inotify, self._observer, *self._observer.emitters)
        if self._inotify.overflown or not all(thread.is_alive() for thread in threads):
            raise GapError
        yield

    def stop(self) -> None:
        """Nothing is heard of any more."""
        for thread in (self._observer, self._inotify):
            if thread is not None:
                thread.stop()
                if thread.is_alive():
                    thread.join()
        self._observer = self._inotify = None

    def _start(self) -> None:
        # A link is resolved, because inotify would watch the link itself.
        real = os.path.realpath(self._root)
        self._inotify = Inotify()
        self._inotify.start()
        self._observer = BaseObserver(InotifyEmitter, inotify_fd=self._inotify)
        self._observer.schedule(Changes(real, self._settling), real, recursive=True, event_filter=EVENTS)
        self._observer.start()
