"""All objects below the root, in the order of their keys."""

from __future__ import annotations

import logging
import os
from itertools import groupby
from typing import TYPE_CHECKING

from imgtag_directory.errors import DENIED, GONE, map_read_error
from imgtag_directory.keys import is_utf8, is_visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgtag.plugin import Listed
    from imgtag_directory.objects import Objects
    from imgtag_directory.root import Root

PAGE = 1000
log = logging.getLogger(__name__)


class Walk:
    """Walks the root, holding the names of one folder per level and no descriptor between two objects.

    A folder is sorted by its name with a `/`, so `a.jpg` comes before `a/1.jpg`. Python orders text by code points,
    which is the order of its UTF-8 bytes. Folders that cannot be read are skipped, logged and kept in ``denied``;
    names that are not UTF-8 are kept in ``unnamed``.
    """

    def __init__(self, root: Root, objects: Objects) -> None:
        self._root = root
        self._objects = objects
        self.denied: set[str] = set()
        self.unnamed: set[str] = set()

    def objects(self, prefix: str = "", after: str = "") -> Iterator[Listed]:
        """Objects whose keys begin with ``prefix`` and sort after ``after``. Raises BucketAbsent, Unavailable."""
        with self._root.open():
            pass
        yield from self._below("", prefix, after)

    def _below(self, folder: str, prefix: str, after: str) -> Iterator[Listed]:
        keys = sorted(key for key in self._keys(folder) if _may_contain(key, prefix, after))
        for is_folder, group in groupby(keys, key=lambda key: key.endswith("/")):
            if is_folder:
                for inner in group:
                    yield from self._below(inner, prefix, after)
            else:
                yield from self._files(folder, list(group))

    def _files(self, folder: str, keys: list[str]) -> Iterator[Listed]:
        for start in range(0, len(keys), PAGE):
            try:
                with self._root.folder(folder) as opened:
                    listings = [self._objects.look(opened, key) for key in keys[start : start + PAGE]]
            except OSError as error:
                if error.errno in GONE:
                    return
                raise map_read_error(folder or self._root.path, error) from error
            yield from filter(None, listings)

    def _keys(self, folder: str) -> list[str]:
        """The keys of the files in a folder, and those of its folders with a `/` at the end."""
        try:
            with self._root.folder(folder) as opened, os.scandir(opened) as entries:
                return [key for entry in entries if (key := self._key(folder, entry))]
        except OSError as error:
            return self._skip(folder, error)

    def _key(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        if not is_utf8(entry.name):
            self.unnamed.add(repr(os.fsencode(folder + entry.name)))
            return None
        if not is_visible(entry.name):
            return None
        return f"{folder}{entry.name}/" if entry.is_dir(follow_symlinks=False) else f"{folder}{entry.name}"

    def _skip(self, folder: str, error: OSError) -> list[str]:
        if error.errno in GONE:
            return []
        if error.errno not in DENIED or not folder:
            raise map_read_error(folder or self._root.path, error) from error
        if folder not in self.denied:
            self.denied.add(folder)
            log.warning("folder_unreadable", extra={"folder": folder})
        return []


def _may_contain(key: str, prefix: str, after: str) -> bool:
    if key.endswith("/"):
        return (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
    return key.startswith(prefix) and key > after
