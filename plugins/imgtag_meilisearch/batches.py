"""Changes divided into requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["put", "delete"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: the id and, where a document is put, its line of NDJSON."""

    id: str
    line: bytes = b""

    @property
    def kind(self) -> Kind:
        return "put" if self.line else "delete"

    @property
    def size(self) -> int:
        """Bytes in a request."""
        return len(self.line) or len(self.id) + 3  # with its quotes and comma


@dataclass(frozen=True, slots=True)
class Payload:
    """What one request carries: entries of one kind."""

    kind: Kind
    entries: tuple[Entry, ...]

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def body(self) -> bytes:
        """The lines of the documents."""
        return b"".join(entry.line for entry in self.entries)

    def halves(self) -> tuple[Payload, ...]:
        """Two payloads of half the entries; none where there is only one entry."""
        middle = len(self.entries) // 2
        parts = (self.entries[:middle], self.entries[middle:]) if middle else ()
        return tuple(Payload(self.kind, part) for part in parts)


def divide(entries: Sequence[Entry], *, max_bytes: int, max_entries: int) -> list[Payload]:
    """Payloads of at most so many bytes, before compression, and entries; a larger single entry goes alone."""
    kinds: tuple[Kind, ...] = ("delete", "put")
    payloads = []
    for kind in kinds:
        part: list[Entry] = []
        size = 0
        for entry in (entry for entry in entries if entry.kind == kind):
            if part and (size + entry.size > max_bytes or len(part) == max_entries):
                payloads.append(Payload(kind, tuple(part)))
                part, size = [], 0
            part.append(entry)
            size += entry.size
        if part:
            payloads.append(Payload(kind, tuple(part)))
    return payloads
