"""Finds changes below a folder by listing all of it repeatedly."""

from __future__ import annotations

import json
import time
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imgtag_directory.settling import Settling

PAGE = 1000
Row: TypeAlias = tuple[str, str]
"""Key and fingerprint."""


class PollingWatcher:
    """Compares each listing with the one before, which is kept in a file: memory does not grow with the folder."""

    def __init__(self, walk: Callable[[], Iterator[Row]], settling: Settling, state_dir: Path, *, every: float) -> None:
        self._walk = walk
        self._settling = settling
        self._state_dir = state_dir
        self._every = every
        self._next = 0.0
        self._before: IO[bytes] | None = None

    def start(self) -> Iterator[None]:
        """List everything, one page per step. Raises BucketAbsent, Unavailable."""
        yield from self._compare()

    def check(self) -> Iterator[None]:
        """List everything when it is time, one page per step. Raises BucketAbsent, Unavailable."""
        if time.monotonic() >= self._next:
            yield from self._compare()

    def stop(self) -> None:
        """Forget the listing."""
        if self._before is not None:
            self._before.close()
            self._before = None

    def _compare(self) -> Iterator[None]:
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Without a name, so nothing is left over whatever happens.
        listing = TemporaryFile(dir=self._state_dir)  # noqa: SIM115 - it lives until the next listing is complete
        try:
            now = _write(self._walk(), listing)
            keys = differing(_read(self._before), now) if self._before is not None else (None for _ in now)
            while page := list(islice(keys, PAGE)):
                for key in filter(None, page):
                    self._settling.note(key)
                yield
        except BaseException:
            listing.close()
            raise
        self.stop()
        self._before = listing
        self._next = time.monotonic() + self._every


def differing(before: Iterator[Row], now: Iterator[Row]) -> Iterator[str | None]:
    """For each key of two sorted listings: the key if they differ, else None."""
    for key, rows in groupby(merge(before, now), key=itemgetter(0)):
        prints = [fingerprint for _, fingerprint in rows]
        yield None if len(prints) == 2 and prints[0] == prints[1] else key


def _write(rows: Iterator[Row], file: IO[bytes]) -> Iterator[Row]:
    for row in rows:
        file.write(json.dumps(row).encode() + b"\n")
        yield row


def _read(file: IO[bytes]) -> Iterator[Row]:
    file.seek(0)
    for line in file:
        key, fingerprint = json.loads(line)
        yield key, fingerprint
