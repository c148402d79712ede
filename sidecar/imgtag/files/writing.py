"""Write a file whole or not at all, durably."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

from imgtag.files.ownership import make_public_folder

PRIVATE, PUBLIC = 0o600, 0o644


@contextmanager
def open_atomically(path: Path, *, mode: int = PRIVATE, staging: Path | None = None) -> Iterator[BinaryIO]:
    """A new file that replaces ``path`` when the block ends well; a reader sees the old one or the new one.

    Missing folders are made, for their owner alone where the file is private. ``staging`` is the folder of unfinished
    files, on the same file system; the folder of ``path`` by default. Durable on return. Blocking; raises OSError.
    """
    for folder in {path.parent, staging or path.parent}:
        if mode == PRIVATE:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        else:
            make_public_folder(folder)
    descriptor, unfinished = mkstemp(dir=staging or path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    # The new name is durable only once its folder is, too: https://man7.org/linux/man-pages/man2/fsync.2.html.
    folder_descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder_descriptor)
    finally:
        os.close(folder_descriptor)


def write_atomically(path: Path, data: bytes, *, mode: int = PRIVATE, staging: Path | None = None) -> None:
    """Put ``data`` in the place of what was at ``path``, as `open_atomically` does."""
    with open_atomically(path, mode=mode, staging=staging) as file:
        file.write(data)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex, read in pieces. Blocking; raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
