"""Read untrusted flatbuffers: every offset is checked before it is followed.

Layout: https://flatbuffers.dev/internals/ . A table is read by field number, as its schema gives it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_TABLES = 100_000  # in a vector; a model has some hundreds


class Malformed(ValueError):
    """An offset or a length leads out of the buffer."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table at a position of the buffer."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Return the root table. Raises Malformed, as every method does."""
        return cls(data, _offset(data, 0))

    def number(self, field: int, code: str, default: int = 0) -> int:
        """Return an integer; `code` is that of `struct`."""
        place = self._place(field)
        return default if place is None else int(_unpack(self.data, code, place)[0])

    def table(self, field: int) -> Table | None:
        """Return a table, or None where the field is absent."""
        place = self._place(field)
        return None if place is None else Table(self.data, _offset(self.data, place))

    def tables(self, field: int) -> Sequence[Table]:
        """Return a vector of tables, empty where the field is absent."""
        start, count = self._vector(field, 4)
        if count > MAX_TABLES:
            raise Malformed(f"a vector of {count} tables")
        return [Table(self.data, _offset(self.data, start + 4 * index)) for index in range(count)]

    def numbers(self, field: int, code: str) -> tuple[Any, ...]:
        """Return a vector of numbers, empty where the field is absent."""
        start, count = self._vector(field, struct.calcsize(code))
        return _unpack(self.data, f"{count}{code}", start)

    def content(self, field: int) -> bytes:
        """Return a vector of bytes, empty where the field is absent."""
        start, count = self._vector(field, 1)
        return self.data[start : start + count]

    def length(self, field: int) -> int:
        """Return how many bytes a vector of bytes has, without copying them."""
        return self._vector(field, 1)[1]

    def text(self, field: int) -> str:
        """Return a string, empty where the field is absent; invalid UTF-8 is replaced."""
        return self.content(field).decode("utf-8", "replace")

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        place = self._place(field)
        if place is None:
            return 0, 0
        start = _offset(self.data, place)
        count = int(_unpack(self.data, "I", start)[0])
        if start + 4 + count * size > len(self.data):
            raise Malformed(f"a vector at byte {start} is longer than the file")
        return start + 4, count

    def _place(self, field: int) -> int | None:
        vtable = self.position - int(_unpack(self.data, "i", self.position)[0])
        size, _ = _unpack(self.data, "HH", vtable)
        entry = 4 + 2 * field
        if entry + 2 > size:
            return None
        step = int(_unpack(self.data, "H", vtable + entry)[0])
        return self.position + step if step else None


def _offset(data: bytes, place: int) -> int:
    target = place + int(_unpack(data, "I", place)[0])
    if target == place or target > len(data) - 4:
        raise Malformed(f"the offset at byte {place} leads out of the file")
    return target


def _unpack(data: bytes, code: str, place: int) -> tuple[Any, ...]:
    if place < 0:  # struct would count from the end
        raise Malformed(f"an offset leads to byte {place}")
    try:
        return struct.unpack_from(f"<{code}", data, place)
    except struct.error:
        raise Malformed(f"the file ends before byte {place + struct.calcsize(f'<{code}')}") from None
