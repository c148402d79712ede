"""The queue that the sources in memory share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from random import Random

import anyio

from imgtag.errors import EventError
from imgtag.testing.backfills import MemoryBackfill
from imgtag.testing.faults import Faults
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.shared_record import SharedRecord


@dataclass(eq=False, slots=True, kw_only=True)
class Message:
    """Hints that are acknowledged together; ``holder`` works on it until ``due`` (seconds, monotonic)."""

    hints: tuple[Hint, ...] = ()
    resync: Scope | None = None
    problem: EventError | None = None
    attempt: int = 0
    due: float = 0.0
    holder: object = None


class MemoryBroker:
    """Messages that wait or are being worked on, for all sources that share it; it outlives them.

    ``copies``: how often each message that is sent from now on is delivered. ``shuffle``: picks which waiting message
    comes next; None: the first.
    """

    def __init__(self, *, copies: int = 1, shuffle: Random | None = None) -> None:
        self.copies = copies
        self.shuffle = shuffle
        self.dead = MemoryDeadLetters()
        self.records: dict[str, SharedRecord] = {}
        self.backfills: dict[str, MemoryBackfill] = {}
        self.finished = False
        self.given = 0
        """How often a message was given to a source."""
        self._messages: list[Message] = []
        self._news = anyio.Event()

    def __len__(self) -> int:
        """Messages that are not acknowledged yet."""
        return len(self._messages)

    def send(self, message: Message) -> None:
        """Deliver a message, as often as ``copies`` says."""
        self._messages += [replace(message) for _ in range(self.copies)]
        self._wake_all()

    def finish(self) -> None:
        """Send nothing more: sources end when all messages are acknowledged."""
        self.finished = True
        self._wake_all()

    def _wake_all(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def take(self, holder: object, ack_wait: float | None) -> Message | None:
        """Wait for the next message and give it to ``holder``; None when all are acknowledged."""
        while (message := self._pick_due()) is None:
            if self.finished and not self._messages:
                return None
            news = self._news
            next_due = min((waiting.due for waiting in self._messages), default=float("inf"))
            with anyio.move_on_after(max(0.0, next_due - time.monotonic())):
                await news.wait()
        self.given += 1
        message.attempt += 1
        message.holder = holder
        message.due = _deadline(ack_wait)
        return message

    @property
    def waiting(self) -> int:
        """Messages that nobody holds."""
        return sum(message.holder is None for message in self._messages)

    def ack(self, message: Message) -> None:
        """Forget a message."""
        if message in self._messages:
            self._messages.remove(message)
            self._wake_all()

    def requeue(self, message: Message, delay: float) -> None:
        """Deliver a message again after ``delay`` seconds."""
        message.holder = None
        message.due = time.monotonic() + delay
        self._wake_all()

    def extend(self, message: Message, ack_wait: float | None) -> None:
        """Give the holder more time."""
        message.due = _deadline(ack_wait)

    def release(self, holders: Sequence[object]) -> None:
        """Deliver again, at once, what these hold: they have gone without an answer."""
        for message in self._messages:
            if message.holder in holders:
                self.requeue(message, 0.0)

    def _pick_due(self) -> Message | None:
        now = time.monotonic()
        due = [message for message in self._messages if message.due <= now]
        if not due:
            return None
        return self.shuffle.choice(due) if self.shuffle else due[0]


def _deadline(ack_wait: float | None) -> float:
    return float("inf") if ack_wait is None else time.monotonic() + ack_wait


class MemoryDeadLetters:
    """Work that was given up: one letter per key, and one per message without a key."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.letters: dict[str, DeadLetter] = {}
        self._numbers = count(1)

    async def put(self, letter: DeadLetter) -> None:
        """Store a letter, in the place of an older one of its key."""
        await self.faults.meet("put", letter.ref)
        name = f"{letter.ref.bucket}\0{letter.ref.key}".encode() if letter.ref else letter.payload
        digest = sha256(name).hexdigest()[:16]
        self.letters = {id_: older for id_, older in self.letters.items() if not id_.startswith(digest)}
        id_ = f"{digest}-{next(self._numbers)}"
        self.letters[id_] = replace(letter, id=id_)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, the oldest first."""
        await self.faults.meet("list")
        for letter in sorted(self.letters.values(), key=lambda letter: letter.at):
            yield letter

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters; returns how many there were."""
        await self.faults.meet("drop", tuple(ids))
        return sum(self.letters.pop(id_, None) is not None for id_ in ids)

    async def discard(self, refs: Collection[ObjectRef]) -> int:
        """Remove the letters of these objects; returns how many there were."""
        await self.faults.meet("discard", tuple(refs))
        ids = [letter.id for letter in self.letters.values() if letter.ref in refs]
        return sum(self.letters.pop(id_, None) is not None for id_ in ids)
