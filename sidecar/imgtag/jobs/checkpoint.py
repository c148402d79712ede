"""How far a job over many objects has come, kept in the state folder: a job that was killed goes on from there."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from imgtag.files.writing import write_atomically

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class CheckpointFile:
    """The checkpoint of one job. ``identity`` is what it holds for: another store, scope or selection has another."""

    folder: Path
    identity: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Where it is."""
        name = sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:32]
        return self.folder / f"{name}.json"

    def load(self) -> dict[str, Any] | None:
        """What was saved last; None where nothing was, or nothing that can be read. Blocking."""
        with suppress(OSError, ValueError):
            saved = json.loads(self.path.read_bytes())
            if isinstance(saved, dict) and saved.get("identity") == dict(self.identity):
                return saved
        return None

    def save(self, fields: Mapping[str, Any]) -> None:
        """Save, durably. Blocking; raises OSError."""
        write_atomically(self.path, json.dumps({"identity": self.identity, **fields}).encode())

    def remove(self) -> None:
        """The job is done. Blocking."""
        self.path.unlink(missing_ok=True)


@dataclass(eq=False)
class _Entry(Generic[_Result]):
    position: str
    result: _Result | None = None


@dataclass
class Watermark(Generic[_Result]):
    """The position up to which everything is done, where objects are begun in order and end in any.

    At most ``room`` objects are beyond it, so that a job that is killed does again at most so many. ``settle`` is
    called with each result, in order, when the watermark passes it.
    """

    room: int
    settle: Callable[[_Result], None]
    position: str = ""
    _open: deque[_Entry[_Result]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self._free = anyio.Semaphore(self.room, fast_acquire=True)

    async def begin(self, position: str) -> _Entry[_Result]:
        """Begin with the object at ``position``, as soon as there is room."""
        try:
            self._free.acquire_nowait()  # most objects are passed over at once: no turn of the loop for each
        except anyio.WouldBlock:
            await self._free.acquire()
        entry: _Entry[_Result] = _Entry(position)
        self._open.append(entry)
        return entry

    def end(self, entry: _Entry[_Result], result: _Result) -> None:
        """It is done."""
        entry.result = result
        while self._open and (settled := self._open[0].result) is not None:
            self.position = self._open.popleft().position
            self._free.release()
            self.settle(settled)
