"""Small JSON records in a folder, one file each."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imgtag.files.writing import write_atomically

MAX_UNFINISHED_AGE = 3600.0
"""Seconds after which an unfinished file is the remains of a process that was killed."""


class Records:
    """Each record is written whole or not at all, and is durable once written.

    A name may contain one folder (``ab/abcd``). Blocking, and raises OSError: for worker threads.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unfinished = folder / ".new"

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record, replacing any older one of that name."""
        data = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        write_atomically(self._path(name), data, staging=self._unfinished)

    def get(self, name: str) -> dict[str, Any] | None:
        """The record; None if there is none, or if the file does not hold a record."""
        try:
            record = json.loads(self._path(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def names(self) -> Iterator[str]:
        """The names of all records that are not in a folder of their own, in no particular order."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    yield entry.name.removesuffix(".json")

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """The names of records with the status of their files."""
        for name in self.names():
            with suppress(FileNotFoundError):
                yield name, self._path(name).stat()

    def size(self, name: str) -> int:
        """Bytes of the file of a record; 0 if there is none."""
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return 0

    def drop(self, name: str) -> bool:
        """Remove a record; returns whether there was one."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep out other processes, and other threads of this one. The kernel unlocks for who was killed."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def sweep(self) -> None:
        """Remove files that killed processes left unfinished."""
        with suppress(FileNotFoundError), os.scandir(self._unfinished) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - MAX_UNFINISHED_AGE:
                        Path(entry.path).unlink()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"
