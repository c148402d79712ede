"""Notices changes below a folder through inotify.

inotify watches single folders, and its events say too little to keep track of them: a folder may be renamed, exchanged,
made unreadable or mounted over while events about it are still queued. So an event about a folder is only a reason to
look: what is watched is made what the file system shows at that moment. A watch is known by its inode, so adding it
again tells whether a folder is still the same one. https://man7.org/linux/man-pages/man7/inotify.7.html
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

from imgtag_directory.errors import DENIED, GONE
from imgtag_directory.keys import is_key, is_utf8, is_visible
from imgtag_directory.mounts import MountAlarm, mounts_below
from imgtag_directory.own_writes import OWN_WRITES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imgtag_directory.settling import Settling

MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_EXCL_UNLINK
)
FOLDERS_PER_STEP = 100
MAX_REMOVED = 10_000
"""Places of removed folders that are remembered."""
ABSENT = GONE - {errno.ENAMETOOLONG}
"""A path that is too long for inotify, which takes 4,095 bytes, may exist all the same."""
LIMITS = frozenset({errno.ENOSPC, errno.EMFILE})

log = logging.getLogger(__name__)


class LimitError(Exception):
    """inotify cannot watch so many folders."""


class GapError(Exception):
    """Something has changed, and it is not known what."""


class _StoppedError(Exception):
    """The watcher is to end, and its descriptor is closed."""


@dataclass(eq=False, slots=True)
class Folder:
    """A watched folder. ``access`` is what decides who may read it; None since it was found closed.

    The watch of a closed folder stays, but files that were looked at meanwhile could not be seen.
    """

    name: str
    parent: Folder | None
    wd: WatchDescriptor
    access: tuple[int, int, int] | None
    children: dict[str, Folder] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the keys of its files begin with."""
        prefix, folder = "", self
        while folder.parent is not None:
            prefix = f"{folder.name}/{prefix}"
            folder = folder.parent
        return prefix

    def contains(self, other: Folder) -> bool:
        """Whether the other one is this one, or is below it."""
        folder: Folder | None = other
        while folder is not None and folder is not self:
            folder = folder.parent
        return folder is self


class FolderTree(InotifyFD):
    """The watched folders, as a thread that reads events. Its other methods may be called from one more thread.

    Folders that may not be read are kept in ``denied``, by prefix, and tried again by ``retry``.
    """

    def __init__(self, root: Path, settling: Settling) -> None:
        self.has_gap = False
        self.is_full = False
        self.denied: set[str] = set()
        self._root = root
        self._settling = settling
        self._top: Folder | None = None
        self._removed: dict[str, bool] = {}
        self._by_wd: dict[WatchDescriptor, Folder] = {}
        self._tree_lock = threading.RLock()
        self._mounts = mounts_below(root)
        super().__init__()

    def watch_all(self) -> Iterator[None]:
        """Watch every folder, some per step. Raises OSError if the root cannot be watched."""
        with self._tree_lock:
            wd, access = self._add("")
            self._top = self._by_wd[wd] = Folder("", None, wd, access)
        yield from self._watch_below(self._top, is_new=True, is_start=True)

    def retry(self) -> Iterator[None]:
        """Look again at folders that could not be watched, and at what was mounted or unmounted."""
        for prefix in sorted(self.denied):
            yield from self._look_at(prefix)
        yield from self._look_at_mounts()

    def run(self) -> None:
        """Handle events and mounts until stopped: about what is mounted over a folder, inotify tells nothing."""
        assert self._poller is not None
        with MountAlarm(self._poller) as mounts:
            while self.should_keep_running():
                for event in self.read_events():
                    self.handle_event(event)
                if mounts.has_rung():
                    with suppress(_StoppedError):
                        for _ in self._look_at_mounts():
                            pass

    def handle_event(self, event: InotifyEvent) -> None:
        """In the thread that reads events."""
        if event.is_queue_overflow:
            self.has_gap = True
            return
        with self._tree_lock:
            folder = self._by_wd.get(event.wd)
            if folder is None:  # no longer watched; the event was queued before
                return
            prefix = folder.prefix
            # Ignored: the folder was deleted, or its file system was unmounted.
            steps = self._look_at(prefix) if event.is_ignored and prefix else self._handle(event, prefix)
        with suppress(_StoppedError):
            for _ in steps:
                pass

    def stop(self) -> None:
        """End the thread."""
        with self._tree_lock:  # between two steps, because the descriptor is closed
            super().stop()

    def _handle(self, event: InotifyEvent, prefix: str) -> Iterator[None]:
        name = os.fsdecode(event.name)
        if not (name and is_utf8(name) and is_visible(name)):
            return
        if event.mask & InotifyConstants.IN_ISDIR:
            yield from self._look_at(f"{prefix}{name}/", moved=event.is_move)
            return
        key, status = prefix + name, None
        if event.is_attrib or event.is_close_write:
            with suppress(OSError):
                status = os.lstat(f"{self._root}/{key}")
        if event.is_attrib:
            if status is not None and OWN_WRITES.include(status):
                return  # our labels, of which one event comes for each
            self._settling.note_attributes(key)
        else:
            self._settling.note(key, closed=event.is_close_write or event.is_moved_to)
        if status is not None and status.st_nlink > 1 and not OWN_WRITES.include(status):
            # Only the name that was used is reported; the file has changed under the others as well.
            self._settling.note_scope()

    def _look_at_mounts(self) -> Iterator[None]:
        # Each mount, because one may have taken the place of another, and the kernel uses their ids again.
        before, self._mounts = self._mounts, mounts_below(self._root)
        for prefix in sorted(before | self._mounts):
            if is_key(prefix.rstrip("/")):
                yield from self._look_at(prefix)

    def _look_at(self, prefix: str, *, moved: bool = False) -> Iterator[None]:
        """Watch what is at this place now. ``moved``: also look at every folder below it."""
        with self._tree_lock:
            names = prefix.split("/")[:-1]
            parent = self._find(names[:-1])
            if parent is None:  # an ancestor is not watched: once it is, this place will be looked at
                self.denied.discard(prefix)
                return
            was_denied = prefix in self.denied
            known = parent.children.get(names[-1])
            before, count = known and (known.wd, known.access), len(self._by_wd)
            folder = self._watch(parent, names[-1])
            if folder is None:
                if prefix not in self.denied:
                    self._settling.note_scope(prefix)  # it is gone, and with it what was in it
                    # A new folder at this place is compared, too: when the old one was, the new one may have been
                    # closed.
                    self._removed[prefix] = True
                    if len(self._removed) > MAX_REMOVED:
                        del self._removed[next(iter(self._removed))]
                return
            is_new = folder is not known
            was_removed = self._removed.pop(prefix, False)
            is_opened = not is_new and before != (folder.wd, folder.access)
            # Moved in from outside, to a place that was free: nothing is known of what it holds, so its files suffice.
            is_foreign = known is None and len(self._by_wd) == count + 1
        if is_new or moved or is_opened:
            yield from self._watch_below(folder, is_new=is_new)
        if is_opened or (is_new and ((moved and not is_foreign) or was_denied or was_removed)):
            # Only now: what is below is watched, or is known to be closed and will be compared once it opens.
            self._settling.note_scope(prefix)

    def _watch_below(self, folder: Folder, *, is_new: bool, is_start: bool = False) -> Iterator[None]:
        """Watch the folders below, some per step, and note the files of new ones. At the start a resync finds these."""
        count, pending, opened = 0, [(folder, is_new)], []
        while pending:
            folder, is_new = pending.pop()
            with self._tree_lock:
                if self._by_wd.get(folder.wd) is not folder:  # dropped meanwhile
                    continue
                prefix = folder.prefix
                # It is listed after it is watched, so that nothing is missed in between.
                names, files = self._list(prefix)
                self._drop_missing(folder, names)
                for name in names:
                    known = folder.children.get(name)
                    access = known and known.access
                    child = self._watch(folder, name)
                    if child is not None:
                        pending.append((child, child is not known))
                        if child is known and child.access != access:  # its event will find nothing new
                            opened.append(f"{prefix}{name}/")
                if is_new and not is_start:
                    for name in files:
                        self._settling.note(prefix + name)
            count += 1
            if count % FOLDERS_PER_STEP == 0:
                yield
        for prefix in opened:
            self._settling.note_scope(prefix)

    def _drop_missing(self, folder: Folder, names: set[str]) -> None:
        for name in folder.children.keys() - names:
            self._drop(folder.children[name])
            self._settling.note_scope(f"{folder.prefix}{name}/")

    def _watch(self, parent: Folder, name: str) -> Folder | None:
        """The folder at this place, watched; None if it cannot be. What else was known of it is dropped."""
        prefix = f"{parent.prefix}{name}/"
        known = parent.children.get(name)
        try:
            wd, access = self._add(prefix)
        except OSError as error:
            self._note_failure(prefix, error)
            if known is not None:
                known.access = None
                if error.errno in ABSENT:
                    self._drop(known)
            return None
        self.denied.discard(prefix)
        if known is not None and known.wd == wd:
            known.access = access
            return known
        if known is not None:
            self._drop(known)
            self._settling.note_scope(prefix)
        elsewhere = self._by_wd.get(wd)
        if elsewhere is not None:  # it was moved here, and the event about that is still queued
            if elsewhere.contains(parent):  # the folders change faster than they can be looked at
                self.has_gap = True
                return None
            self._settling.note_scope(elsewhere.prefix)
            self._drop(elsewhere)
            return self._watch(parent, name)
        folder = self._by_wd[wd] = parent.children[name] = Folder(name, parent, wd, access)
        return folder

    def _add(self, prefix: str) -> tuple[WatchDescriptor, tuple[int, int, int]]:
        """Watch a path. The watch is the same as before if the folder is. Raises OSError."""
        if not self.should_keep_running():
            raise _StoppedError
        path = f"{self._root}/{prefix}".rstrip("/")  # with a slash at the end, a link would be followed
        wd = inotify_add_watch(self._inotify_fd, os.fsencode(path), MASK)
        if wd == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        status = os.lstat(path)
        return wd, (status.st_mode, status.st_uid, status.st_gid)

    def _note_failure(self, prefix: str, error: OSError) -> None:
        if error.errno in ABSENT:
            self.denied.discard(prefix)
        elif error.errno in LIMITS:
            self.is_full = True
        elif prefix not in self.denied:
            self.denied.add(prefix)
            log.warning("folder_unreadable", extra={"folder": prefix, "reason": error.strerror})

    def _drop(self, folder: Folder) -> None:
        """Stop watching a folder and all below it."""
        if folder.parent is not None and folder.parent.children.get(folder.name) is folder:
            del folder.parent.children[folder.name]
        pending = [folder]
        while pending:
            folder = pending.pop()
            pending += folder.children.values()
            if self._by_wd.get(folder.wd) is folder:
                del self._by_wd[folder.wd]
                inotify_rm_watch(self._inotify_fd, folder.wd)  # fails if the kernel has removed it already

    def _find(self, names: list[str]) -> Folder | None:
        folder = self._top
        for name in names:
            if folder is None:
                return None
            folder = folder.children.get(name)
        return folder

    def _list(self, prefix: str) -> tuple[set[str], list[str]]:
        """The names of the folders, and of everything else, in a folder; none if it is gone or may not be read."""
        folders: set[str] = set()
        files: list[str] = []
        try:
            with os.scandir(f"{self._root}/{prefix}") as entries:
                for entry in entries:
                    if is_utf8(entry.name) and is_visible(entry.name):
                        if entry.is_dir(follow_symlinks=False):
                            folders.add(entry.name)
                        else:
                            files.append(entry.name)
        except OSError as error:
            if error.errno not in DENIED:
                self._note_failure(prefix, error)
        return folders, files


class InotifyWatcher:
    """Watches every folder below the root. Blocking, for worker threads."""

    def __init__(self, root: Path, settling: Settling) -> None:
        self._root = root
        self._settling = settling
        self._tree: FolderTree | None = None

    def start(self) -> Iterator[None]:
        """Watch every folder, some per step. Raises LimitError, OSError if the root does not exist."""
        try:
            # A link is resolved, because inotify would watch the link itself.
            self._tree = FolderTree(self._root.resolve(), self._settling)
            self._tree.start()
            yield from self._tree.watch_all()
        except OSError as error:
            if error.errno in LIMITS:
                raise LimitError from error
            raise
        yield from self.check()

    def check(self) -> Iterator[None]:
        """Try again what could not be watched. Raises LimitError, GapError."""
        if self._tree is None:
            raise GapError
        yield from self._tree.retry()
        if self._tree.is_full:
            raise LimitError
        if self._tree.has_gap or not self._tree.is_alive():
            raise GapError

    def stop(self) -> None:
        """Stop noticing changes."""
        tree, self._tree = self._tree, None
        if tree is not None:
            tree.stop()
            if tree.is_alive():
                tree.join()
