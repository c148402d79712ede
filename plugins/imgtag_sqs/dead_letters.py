"""Dead letters in a queue of their own.

A queue can be neither searched nor read without taking messages out of it. So every question is answered by a scan:
all messages are received, looked at, and given back.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

import anyio

from imgtag.files.dead_letters import KnownLetters, decode_letter, encode_letter, letter_id, letter_key
from imgtag.flow.batcher import Batcher
from imgtag.plugin import DeadLetter, ObjectRef
from imgtag_sqs.delivery import MAX_PAYLOAD, read
from imgtag_sqs.errors import QueueError
from imgtag_sqs.queue import MAX_BATCH, Message, Outgoing, Queue

SCAN_HIDE = 60
"""Seconds for which a scan takes messages: should it be killed, they come back by themselves."""
SCAN_WAIT = 1
"""Seconds that a scan waits for further messages. Without waiting, SQS asks only some of its servers."""
PATIENCE = 10.0
"""Seconds that a scan waits for messages that another one has taken."""
REST = 9.0
"""How many times as long as a scan took nobody scans again only to learn whether objects have letters."""
MAX_DISCARDED = 10_000
"""Objects whose letters one scan removes."""
REDRIVEN = "redriven"
"""Code of a message that SQS itself moved here."""


@dataclass(frozen=True, slots=True)
class _Found:
    message: Message
    letter: DeadLetter


_Scan: TypeAlias = "list[_Found]"  # within the class, `list` is a method


class QueueDeadLetters:
    """A letter's id is the id of its message, so that dropping one never drops a newer letter of the same object."""

    def __init__(self, queue: Queue, ensure: Callable[[], Awaitable[object]]) -> None:
        """``ensure`` creates the queue if it is missing."""
        self._queue = queue
        self._ensure = ensure
        self._known = KnownLetters(self._read_keys)
        self._discard = Batcher(self._discard_keys, MAX_DISCARDED)
        self._scanning = anyio.Lock()
        self._keys: set[str] = set()
        self._total = 0
        """Messages in the queue when the keys were read."""
        self._rest_until = 0.0

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the queue is created if it is missing. Raises Unavailable."""
        short = replace(letter, payload=letter.payload[:MAX_PAYLOAD])
        message = Outgoing(json.dumps(encode_letter(short), separators=(",", ":")))
        try:
            await self._queue.send([message])
        except QueueError as error:
            if not error.is_missing:
                raise
            await self._ensure()
            await self._queue.send([message])
        self._known.add(letter)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, the oldest first. Of those of one object, all but the newest are removed. Raises Unavailable."""
        newest: dict[str, _Found] = {}
        async with self._scan(patient=True) as found:
            outdated = []
            for one in sorted(found, key=lambda one: one.letter.at):
                key = letter_id(one.letter)
                if key in newest:
                    outdated.append(newest.pop(key))
                newest[key] = one
            await self._remove(found, outdated)
        for one in newest.values():
            yield one.letter

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters by id; returns how many there were. Raises Unavailable."""
        async with self._scan(patient=True) as found:
            return await self._remove(found, [one for one in found if one.letter.id in ids])

    async def discard(self, refs: Collection[ObjectRef]) -> int:
        """Remove the letters of these objects; returns how many there were. Raises Unavailable."""
        return sum([await self._discard(key) for key in await self._known.among(refs)])

    async def _discard_keys(self, keys: Sequence[str]) -> Sequence[int]:
        async with self._scan(patient=True) as found:
            ours = [one for one in found if one.letter.ref is not None and letter_key(one.letter.ref) in keys]
            counts = dict.fromkeys(keys, 0)
            for one in ours:
                if one.letter.ref is not None:
                    counts[letter_key(one.letter.ref)] += 1
            await self._remove(found, ours)
        return [counts[key] for key in keys]

    async def _read_keys(self) -> set[str]:
        """Which objects have letters, from a scan if the number of letters is another one than at the last."""
        state = await self._queue.find()
        total = 0 if state is None else state.total
        if total != self._total and (total == 0 or time.monotonic() >= self._rest_until):
            began = time.monotonic()
            keys = set()
            if total:
                async with self._scan(patient=False) as found:
                    keys = {letter_key(one.letter.ref) for one in found if one.letter.ref is not None}
                    if len(found) < total:  # another scan has taken some
                        keys |= self._keys
            self._keys, self._total = keys, total
            self._rest_until = time.monotonic() + REST * (time.monotonic() - began)
        return self._keys

    @asynccontextmanager
    async def _scan(self, *, patient: bool) -> AsyncIterator[_Scan]:
        """All letters, taken from the queue meanwhile; those that are still in the list are given back.

        ``patient``: wait for those that another scan has taken.
        """
        async with self._scanning:
            taken: dict[str, Message] = {}
            found: _Scan = []
            try:
                deadline = time.monotonic() + PATIENCE
                while True:
                    messages = await self._receive()
                    is_round = bool(messages) and all(message.id in taken for message in messages)
                    taken |= {message.id: message for message in messages}
                    if is_round:  # the scan took so long that the first ones have come back
                        break
                    if not messages:
                        state = await self._queue.find() if patient and time.monotonic() < deadline else None
                        if state is None or state.waiting + state.hidden <= len(taken):
                            break
                found += [_Found(message, _read_letter(message)) for message in taken.values()]
                yield found
            finally:
                left = [one.message for one in found] or list(taken.values())
                with anyio.move_on_after(PATIENCE, shield=True):
                    await self._queue.hide({message.handle: 0 for message in left})

    async def _receive(self) -> Sequence[Message]:
        try:
            return await self._queue.receive(MAX_BATCH, wait=SCAN_WAIT, hide=SCAN_HIDE)
        except QueueError as error:
            if error.is_missing:
                return ()
            raise

    async def _remove(self, found: _Scan, unwanted: Sequence[_Found]) -> int:
        """Delete some of those that a scan found."""
        await self._queue.delete_messages([one.message.handle for one in unwanted])
        for one in unwanted:
            found.remove(one)
        return len(unwanted)


def _read_letter(message: Message) -> DeadLetter:
    """The letter of a message; SQS itself moves those here that were received too often, just as they are."""
    try:
        record = json.loads(message.body)
    except ValueError:
        record = None
    if isinstance(record, dict) and (letter := decode_letter(record, message.id)):
        return letter
    content = read(message)
    return DeadLetter(
        ref=content.hints[0].ref if len(content.hints) == 1 else None,
        code=REDRIVEN,
        reason="SQS moved it here by the redrive policy of the queue, because it had been received too often",
        at=message.sent,
        id=message.id,
        payload=message.body.encode(errors="replace")[:MAX_PAYLOAD],
    )
