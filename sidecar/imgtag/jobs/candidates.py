"""Objects that somebody named for bulk work, and what named none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from anyio import to_thread

from imgtag.types.ref import ObjectRef

MAX_KEY = 1024
"""Bytes of a key, as in S3."""
MAX_LINE = 1 << 16
"""Bytes of a line. A key takes three times its bytes when it is URL-encoded; an inventory has columns besides."""
_CHUNK = 1 << 16
"""Bytes that are read at a time, at most: what a pipe holds is used at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An object, and what the one who named it said of it: ``modified`` in seconds since 1970."""

    ref: ObjectRef
    size: int | None = None
    etag: str | None = None
    modified: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A line, or a row, that names no object. Counted from 1."""

    source: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.source}, line {self.line:,}: {self.reason}"


Reject: TypeAlias = Callable[[Rejection], None]
Line: TypeAlias = tuple[int, bytes | None]
"""Its number, and its bytes without the end of the line; None where there are too many."""


def make_ref(bucket: str, key: str) -> ObjectRef:
    """Raises ValueError, with a reason for people, where there can be no such object."""
    if not bucket:
        raise ValueError("it names no bucket")
    if not key:
        raise ValueError("it names no key")
    if len(key.encode()) > MAX_KEY:
        raise ValueError(f"its key is longer than {MAX_KEY:,} bytes")
    if "\0" in key:
        raise ValueError("its key contains a NUL")
    return ObjectRef(bucket, key)


def split_lines(file: BinaryIO, end: bytes = b"\n") -> Iterator[Sequence[Line]]:
    """The lines of a file, in batches, as they can be read; memory is bounded whatever the file holds. Blocking."""
    number, rest, is_skipping = 0, b"", False
    while chunk := file.read1(_CHUNK):  # type: ignore[attr-defined]
        *complete, rest = (rest + chunk).split(end)
        lines: list[Line] = []
        for line in complete:
            number += 1
            lines.append((number, None if is_skipping or len(line) > MAX_LINE else line))
            is_skipping = False
        if len(rest) > MAX_LINE:
            rest, is_skipping = b"", True
        yield lines
    if rest or is_skipping:
        yield [(number + 1, None if is_skipping else rest)]


async def iterate_in_thread(
    batches: Iterator[Sequence[Candidate | Rejection]], reject: Reject, *, may_block: bool = False
) -> AsyncIterator[Candidate]:
    """The candidates of batches, each read in a thread; rejections are passed to ``reject``.

    ``may_block``: a batch may never come, as from a terminal; then the thread is left behind when we are cancelled.
    """
    while (batch := await to_thread.run_sync(next, batches, None, abandon_on_cancel=may_block)) is not None:
        for item in batch:
            if isinstance(item, Rejection):
                reject(item)
            else:
                yield item
