"""Thumbnails on disk, so that each is made once: as many as fit, the least recently used ones go first.

Several processes may use one folder. A file holds the CRC-32 of a thumbnail before it, because nothing is synced: after
a loss of power, a file may be there without its content.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp

KEPT = 0.9
"""The share of the limit that is left after the oldest files were removed."""
_CHECKSUM = 4
"""Bytes."""


class ThumbnailCache:
    """A folder of at most ``limit`` bytes, whatever its files are called by. For one thread at a time."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._size: int | None = None

    @property
    def size(self) -> int:
        """Bytes in the folder, as far as this process knows."""
        return self._size or 0

    def read(self, key: str) -> bytes | None:
        """The thumbnail of a key (hex); None where there is none."""
        path = self._path(key)
        try:
            content = path.read_bytes()
            data = content[_CHECKSUM:]
            if zlib.crc32(data).to_bytes(_CHECKSUM) != content[:_CHECKSUM]:
                path.unlink(missing_ok=True)
                return None
            os.utime(path)  # its time says when it was last used
        except OSError:
            return None
        return data

    def write(self, key: str, data: bytes) -> None:
        """Keep a thumbnail. That the disk is full, or the folder read-only, only costs time."""
        if not self._limit:
            return
        path = self._path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, unfinished = mkstemp(dir=self._folder, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(zlib.crc32(data).to_bytes(_CHECKSUM) + data)
                Path(unfinished).replace(path)
            except BaseException:
                Path(unfinished).unlink(missing_ok=True)
                raise
        if self._size is None:
            self._size = sum(size for _, size, _ in self._files())
        else:
            self._size += len(data) + _CHECKSUM
        if self._size > self._limit:
            self._remove_oldest()

    def _remove_oldest(self) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self._limit * KEPT:
                break
            with suppress(OSError):
                Path(path).unlink(missing_ok=True)
            total -= size
        self._size = total

    def _files(self) -> list[tuple[float, int, str]]:
        """When each file was last used, its size, its path; also what a process left unfinished."""
        files = []
        folders = [str(self._folder)]
        while folders:
            with suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):  # another process may have removed it
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            status = entry.stat(follow_symlinks=False)
                            files.append((status.st_mtime, status.st_size, entry.path))
        return files

    def _path(self, key: str) -> Path:
        assert key.isalnum(), "it is hex, so that it is a name anywhere"
        return self._folder / key[:2] / key
