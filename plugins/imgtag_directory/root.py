"""The folder that is the bucket."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from imgtag.errors import BucketAbsent, Unavailable
from imgtag_directory.errors import GONE, map_read_error

if TYPE_CHECKING:
    from collections.abc import Iterator

Identity: TypeAlias = tuple[int, int]
"""Device and inode."""

FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Root:
    """Opens what is below the root, and knows whether the root itself can be trusted.

    The root may be a link; below it no link is ever followed. The root is trusted if it is a folder with its marker
    file. Without a marker setting an empty root may be a mount point with nothing mounted on it: it is trusted only if
    this process saw something in that very folder before.
    """

    def __init__(self, path: Path, marker: str | None = None) -> None:
        self.path = path
        self.marker = marker
        self.bucket = path.name
        self._seen: Identity | None = None

    @contextmanager
    def open(self, *, empty: bool = False) -> Iterator[int]:
        """The root's descriptor. Raises BucketAbsent if it does not exist or is not trusted.

        ``empty``: an empty root is trusted as well.
        """
        with self._opened() as root:
            if self.marker is not None or not empty:
                if self.marker is not None:
                    if not _is_file(root, self.marker):
                        raise BucketAbsent(f"{self.path} has no {self.marker}, so it is assumed not to be mounted")
                elif self._seen != (identity := _identity(root)):
                    if not _has_entries(root):
                        raise BucketAbsent(f"{self.path} is empty, so it is assumed not to be mounted")
                    self._seen = identity
            yield root

    @contextmanager
    def folder(self, path: str, *, empty: bool = False) -> Iterator[int]:
        """The descriptor of a folder below, given as ``a/b/``. Raises OSError if there is none, and like ``open``."""
        with self.open(empty=empty) as root:
            folder = os.dup(root)
            try:
                for name in path.split("/")[:-1]:
                    inner = os.open(name, os.O_RDONLY | FOLDER, dir_fd=folder)
                    os.close(folder)
                    folder = inner
                yield folder
            finally:
                os.close(folder)

    def make_folders(self, path: str) -> None:
        """Create a folder below, given as ``a/b/``, and those above it, where they are missing. Raises OSError."""
        done = ""
        for name in path.split("/")[:-1]:
            with self.folder(done) as folder, suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
            done += f"{name}/"

    def identity(self) -> Identity | None:
        """Which folder the root is now; None if there is none."""
        try:
            with self._opened() as root:
                return _identity(root)
        except Unavailable:
            return None

    def is_trusted(self) -> bool:
        """Whether what is missing from the root counts as deleted."""
        try:
            with self.open():
                return True
        except Unavailable:
            return False

    def leads_out(self, key: str) -> bool:
        """Whether the link at ``key`` leads to a file outside the root, as far as we may see. Nothing is opened."""
        real = os.path.realpath(self.path)
        target = os.path.realpath(os.path.join(real, key))  # noqa: PTH118
        if os.path.commonpath((real, target)) == real:
            return False
        try:
            return Path(target).is_file()
        except OSError:
            return False

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in GONE:
                raise BucketAbsent(f"{self.path} does not exist") from error
            raise map_read_error(self.path, error) from error
        try:
            yield root
        finally:
            os.close(root)


def _identity(descriptor: int) -> Identity:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _is_file(root: int, name: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=root).st_mode)
    except OSError as error:
        if error.errno in GONE:
            return False
        raise map_read_error(name, error) from error


def _has_entries(root: int) -> bool:
    try:
        with os.scandir(root) as entries:
            return next(entries, None) is not None
    except OSError as error:
        raise map_read_error("the root", error) from error
