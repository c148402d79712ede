"""Which changes of a file's attributes the sidecar made itself."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

MAX_REMEMBERED = 10_000
"""Files whose last own write is remembered: more than are written between a write and the look at its event."""


class OwnWrites:
    """Remembers the change time that a file had after our write. If it still has it, nobody has changed it since.

    inotify reports new attributes and a new owner alike, and everything written on an object is an attribute.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._changed: OrderedDict[tuple[int, int], int | None] = OrderedDict()

    @contextmanager
    def writing(self, file: int) -> Iterator[None]:
        """While the attributes of an open file are written."""
        status = os.fstat(file)
        inode = status.st_dev, status.st_ino
        with self._lock:
            self._changed[inode] = None
        try:
            yield
        finally:
            with self._lock:
                self._changed[inode] = os.fstat(file).st_ctime_ns
                self._changed.move_to_end(inode)
                if len(self._changed) > self._limit:
                    self._changed.popitem(last=False)

    def include(self, status: os.stat_result) -> bool:
        """Whether the last change of a file was ours, or is being made: its end causes another event."""
        inode = status.st_dev, status.st_ino
        with self._lock:
            return inode in self._changed and self._changed[inode] in {None, status.st_ctime_ns}


OWN_WRITES = OwnWrites()
"""One for the process: the store writes, the source skips what it wrote, and neither knows of the other."""
