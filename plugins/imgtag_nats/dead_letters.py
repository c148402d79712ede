"""Dead letters in a stream of their own, or in files where the account has no room for that stream."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

from imgtag.files.dead_letters import FileDeadLetters, KnownLetters, decode_letter, encode_letter, letter_id
from imgtag.plugin import DeadLetter, ObjectRef
from imgtag_nats.errors import NOT_FOUND, JetStreamError
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names

MAX_SEQUENCE = 1 << 63


class StreamDeadLetters:
    """One subject for each key, with its newest letter.

    A letter's id is its sequence number in the stream: dropping a letter that somebody has seen never drops a newer
    letter of the same key. Where the account has no room for the stream, letters go to ``files``.
    """

    def __init__(
        self, jetstream: JetStream, names: Names, ensure: Callable[[], Awaitable[object]], files: FileDeadLetters
    ) -> None:
        self._jetstream = jetstream
        self._names = names
        self._ensure = ensure
        self._files = files
        self._known = KnownLetters(self._list_keys)

    @property
    def dropped(self) -> int:
        """Letters that went for want of room: the stream drops none."""
        return self._files.dropped

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the stream is created if it is missing. Raises Unavailable."""
        subject, data = f"{self._names.dead}.{letter_id(letter)}", json.dumps(encode_letter(letter)).encode()
        try:
            await self._jetstream.publish(subject, data)
        except JetStreamError as error:
            if error.status != NOT_FOUND:
                raise
            await self._ensure()
            try:
                await self._jetstream.publish(subject, data)
            except JetStreamError as missing:
                if missing.status != NOT_FOUND:
                    raise
                await self._files.put(letter)  # the account has no room for the stream
        self._known.add(letter)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, in the order in which they were put. Raises Unavailable."""
        sequence = 1
        while (message := await self._get(seq=sequence, next_by_subj=self._names.dead_subjects)) is not None:
            sequence = message["seq"]
            try:
                letter = decode_letter(json.loads(b64decode(message.get("data", ""))), str(sequence))
            except ValueError:
                letter = None
            if letter is not None:
                yield letter
            sequence += 1
        async for letter in self._files.list():
            yield letter

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters by id; returns how many there were. Raises Unavailable."""
        sequences = [int(text) for text in ids if text.isascii() and text.isdigit() and 0 < int(text) < MAX_SEQUENCE]
        return sum([await self._delete(seq=sequence) for sequence in sequences]) + await self._files.drop(ids)

    async def discard(self, refs: Collection[ObjectRef]) -> int:
        """Remove the letters of these objects; returns how many there were. Raises Unavailable."""
        keys = await self._known.among(refs)
        count = sum([await self._delete(last_by_subj=f"{self._names.dead}.{key}") for key in keys])
        return count + await self._files.discard(refs)

    async def _list_keys(self) -> set[str]:
        """The last token of each subject."""
        subjects = await self._jetstream.count_by_subject(self._names.dead_stream, self._names.dead_subjects)
        return {subject.rpartition(".")[2] for subject in subjects}

    async def _get(self, **query: Any) -> dict[str, Any] | None:
        answer = await self._jetstream.find(f"STREAM.MSG.GET.{self._names.dead_stream}", query)
        return answer["message"] if answer else None

    async def _delete(self, **query: Any) -> bool:
        # Deleting a message that is not there fails differently for each kind of gap, so it is looked up.
        message = await self._get(**query)
        if message is None:
            return False
        sequence = message["seq"]
        try:
            await self._jetstream.call(f"STREAM.MSG.DELETE.{self._names.dead_stream}", {"seq": sequence})
        except JetStreamError:
            if await self._get(seq=sequence) is not None:
                raise
            return False  # in the meantime dropped by another process, or replaced by a newer letter of its key
        return True
