"""Small JSON records in a folder, one file each."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEFTOVER = 3600.0
"""Seconds after which an unfinished file is the remains of a process that was killed."""


class Records:
    """Written whole or not at all, and durable when written; a reader sees the old record or the new.

    Names may have a folder in front (``ab/abcd``). Blocking, and raises OSError: for worker threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / ".new"

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record in the place of any older one of its name."""
        path = self._path(name)
        for folder in (self._unfinished, path.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, unfinished = mkstemp(dir=self._unfinished)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False, separators=(",", ":"))
                file.flush()
                os.fsync(descriptor)
            Path(unfinished).rename(path)
        except BaseException:
            Path(unfinished).unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def get(self, name: str) -> dict[str, Any] | None:
        """The record; None where there is none, or what is there is no record."""
        try:
            record = json.loads(self._path(name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def names(self) -> Iterator[str]:
        """The names of all records without a folder in front, in no order."""
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".json"):
                    yield entry.name.removesuffix(".json")

    def drop(self, name: str) -> bool:
        """Remove a record; whether there was one."""
        try:
            self._path(name).unlink()
        except FileNotFoundError:
            return False
        return True

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        with suppress(FileNotFoundError), os.scandir(self._unfinished) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < time.time() - LEFTOVER:
                        Path(entry.path).unlink()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
