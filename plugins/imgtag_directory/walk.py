"""All objects below the root, in the order of their keys."""

from __future__ import annotations

import logging
import os
from itertools import groupby
from typing import TYPE_CHECKING

from imgtag_directory.keys import is_utf8, is_visible
from imgtag_directory.root import DENIED, GONE, Root, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgtag.types.ref import Listed
    from imgtag_directory.objects import Objects

PAGE = 1000
logger = logging.getLogger(__name__)


class Walk:
    """Goes through the root, holding the names of one folder a level and no descriptor between two objects.

    Folders stand among files as their name with a `/`, so `a.jpg` comes before `a/1.jpg`. Python orders
    text by code points, which is the order of its UTF-8 bytes. Folders that may not be read are passed
    over, said in the log and kept in ``denied``; names that are not UTF-8 are counted in ``unnamed``.
    """

    def __init__(self, root: Root, objects: Objects) -> None:
        self._root = root
        self._objects = objects
        self.denied: set[str] = set()
        self.unnamed: set[str] = set()

    def objects(self, prefix: str = "", after: str = "") -> Iterator[Listed]:
        """Objects whose keys begin with ``prefix`` and are behind ``after``. Raises BucketAbsent, Unavailable."""
        with self._root.open():
            pass
        yield from self._below("", prefix, after)

    def _below(self, folder: str, prefix: str, after: str) -> Iterator[Listed]:
        keys = sorted(key for key in self._keys(folder) if _wanted(key, prefix, after))
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
                    looks = [self._objects.look(opened, key) for key in keys[start : start + PAGE]]
            except OSError as error:
                if error.errno in GONE:
                    return
                raise unavailable(folder or self._root.path, error) from error
            yield from filter(None, looks)

    def _keys(self, folder: str) -> list[str]:
        """The keys of a folder's files, and those of its folders with a `/` at the end."""
        try:
            with self._root.folder(folder) as opened, os.scandir(opened) as entries:
                return [key for entry in entries if (key := self._key(folder, entry))]
        except OSError as error:
            return self._unlisted(folder, error)

    def _key(self, folder: str, entry: os.DirEntry[str]) -> str | None:
        if not is_utf8(entry.name):
            self.unnamed.add(repr(os.fsencode(folder + entry.name)))
            return None
        if not is_visible(entry.name):
            return None
        return f"{folder}{entry.name}/" if entry.is_dir(follow_symlinks=False) else f"{folder}{entry.name}"

    def _unlisted(self, folder: str, error: OSError) -> list[str]:
        if error.errno in GONE:
            return []
        if error.errno not in DENIED or not folder:
            raise unavailable(folder or self._root.path, error) from error
        if folder not in self.denied:
            self.denied.add(folder)
            logger.warning("A folder may not be read and is passed over", extra={"folder": folder})
        return []


def _wanted(key: str, prefix: str, after: str) -> bool:
    if key.endswith("/"):
        return (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key))
    return key.startswith(prefix) and key > after
