"""All objects below the root, in the order of their keys."""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar

from imgtag_directory.errors import DENIED, GONE, map_read_error
from imgtag_directory.keys import is_utf8, is_visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgtag_directory.root import Root

PAGE = 1000
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass
class Skipped:
    """How many names were passed over for one reason, and the least of them as Python writes text."""

    count: int = 0
    example: str = ""

    def add(self, name: str) -> None:
        """One more; ``name`` as Python decodes it, perhaps not UTF-8."""
        self.count += 1
        shown = repr(name if is_utf8(name) else os.fsencode(name))
        self.example = min(self.example or shown, shown)


class Walk(Generic[T]):
    """Walks the root, and gives what ``look`` says of each name in an open folder.

    It holds the names of one folder per level and no descriptor between two objects. A folder is sorted by its name
    with a `/`, so `a.jpg` comes before `a/1.jpg`. Python orders text by code points, which is the order of its UTF-8
    bytes. Folders that cannot be read are skipped, logged and kept in ``denied``; names are counted in ``unnamed`` if
    they are not UTF-8, and in ``invisible`` if they are not considered. After ``seconds`` no other folder is opened.
    """

    def __init__(self, root: Root, look: Callable[[int, str], T | None], *, seconds: float = math.inf) -> None:
        self._root = root
        self._look = look
        self._end = time.monotonic() + seconds
        self.is_cut = False
        self.denied: set[str] = set()
        self.unnamed = Skipped()
        self.invisible = Skipped()

    def objects(self, prefix: str = "", after: str = "") -> Iterator[T]:
        """Objects whose keys begin with ``prefix`` and sort after ``after``. Raises BucketAbsent, Unavailable."""
        with self._root.open():
            pass
        yield from self._below("", prefix, after)

    def _below(self, folder: str, prefix: str, after: str) -> Iterator[T]:
        keys = sorted(key for key in self._keys(folder) if _may_contain(key, prefix, after))
        for is_folder, group in groupby(keys, key=lambda key: key.endswith("/")):
            if is_folder:
                for inner in group:
                    yield from self._below(inner, prefix, after)
            else:
                yield from self._files(folder, list(group))

    def _files(self, folder: str, keys: list[str]) -> Iterator[T]:
        for start in range(0, len(keys), PAGE):
            if self._is_late():
                return
            try:
                with self._root.folder(folder) as opened:
                    listings = [self._look(opened, key) for key in keys[start : start + PAGE]]
            except OSError as error:
                self._skip(folder, error)
                return
            yield from filter(None, listings)

    def _keys(self, folder: str) -> list[str]:
        """The keys of the files in a folder, and those of its folders with a `/` at the end."""
        if self._is_late():
            return []
        keys = []
        try:
            with self._root.folder(folder) as opened, os.scandir(opened) as entries:
                for entry in entries:
                    if not is_utf8(entry.name):
                        self.unnamed.add(folder + entry.name)
                    elif not is_visible(entry.name):
                        self.invisible.add(folder + entry.name)
                    else:
                        end = "/" if entry.is_dir(follow_symlinks=False) else ""
                        keys.append(f"{folder}{entry.name}{end}")
        except OSError as error:
            self._skip(folder, error)
            return []
        return keys

    def _is_late(self) -> bool:
        self.is_cut = self.is_cut or time.monotonic() > self._end
        return self.is_cut

    def _skip(self, folder: str, error: OSError) -> None:
        """A folder that is gone, or may not be read. Raises Unavailable for anything else."""
        if error.errno in GONE:
            return
        if error.errno not in DENIED or not folder:
            raise map_read_error(folder or self._root.path, error) from error
        if folder not in self.denied:
            self.denied.add(folder)
            log.warning("folder_unreadable", extra={"folder": folder, "reason": error.strerror})


def _may_contain(key: str, prefix: str, after: str) -> bool:
    if key.endswith("/"):
        return (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
    return key.startswith(prefix) and key > after
