"""Dead letters, in a stream of their own or in files."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from anyio import to_thread

from imgtag.types.dead_letter import DeadLetter
from imgtag.types.ref import ObjectRef
from imgtag_nats.files import read, write
from imgtag_nats.jetstream import NOT_FOUND, JetStream, Refused
from imgtag_nats.names import Names

ID = re.compile(r"[0-9a-f]{64}")
PAYLOAD = 256 << 10
"""Bytes of a message that are kept with its letter: what it says of itself stands at its beginning."""
REASON = 10_000
"""Characters."""


class StreamLetters:
    """One subject for each key, with its newest letter. A letter's id is its number in the stream: no newer
    letter of the key can be dropped in the place of the one that somebody has seen.
    """

    def __init__(self, jetstream: JetStream, names: Names, ensure: Callable[[], Awaitable[object]]) -> None:
        self._jetstream = jetstream
        self._names = names
        self._ensure = ensure

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; the stream is made where it is missing. Raises Unavailable."""
        subject, data = f"{self._names.dead}.{letter_key(letter)}", encode(letter)
        try:
            await self._jetstream.publish(subject, data)
        except Refused as error:
            if error.status != NOT_FOUND:
                raise
            await self._ensure()
            await self._jetstream.publish(subject, data)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, the one put first first. Raises Unavailable."""
        number = 1
        while True:
            body = {"seq": number, "next_by_subj": self._names.dead_subjects}
            found = await self._jetstream.find(f"STREAM.MSG.GET.{self._names.dead_stream}", body)
            if found is None:
                return
            number = found["message"]["seq"]
            letter = decode(b64decode(found["message"].get("data", "")), str(number))
            if letter is not None:
                yield letter
            number += 1

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters; how many there were. Raises Unavailable."""
        count = 0
        for each in ids:
            if each.isascii() and each.isdigit() and 0 < int(each) < 1 << 63:
                count += await self._drop(int(each))
        return count

    async def _drop(self, number: int) -> bool:
        # Deleting what is not there gives other errors with each kind of gap, so it is looked up.
        body, stream = {"seq": number}, self._names.dead_stream
        if await self._jetstream.find(f"STREAM.MSG.GET.{stream}", body) is None:
            return False
        await self._jetstream.call(f"STREAM.MSG.DELETE.{stream}", body)
        return True


class FileLetters:
    """A file for each key, where there is no JetStream. A letter's id is the name of its file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter. Raises Unavailable."""
        await write(self._folder / letter_key(letter), encode(letter))

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, in no order."""
        for name in await to_thread.run_sync(self._names):
            data = await read(self._folder / name)
            letter = decode(data, name) if data is not None else None  # somebody may drop them meanwhile
            if letter is not None:
                yield letter

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters; how many there were."""
        return await to_thread.run_sync(self._drop, ids)

    def _names(self) -> Sequence[str]:
        return [path.name for path in self._folder.glob("*") if ID.fullmatch(path.name)]

    def _drop(self, ids: Sequence[str]) -> int:
        found = set(ids).intersection(self._names())
        for each in found:
            (self._folder / each).unlink(missing_ok=True)
        return len(found)


def letter_key(letter: DeadLetter) -> str:
    """One for each key; without a key, for each message or reason."""
    if letter.ref is not None:
        return sha256(f"{letter.ref.bucket}\0{letter.ref.key}".encode()).hexdigest()
    return sha256(b"\0" + letter.payload + f"\0{letter.code}\0{letter.reason}".encode()).hexdigest()


def encode(letter: DeadLetter) -> bytes:
    """A letter as JSON, without its id."""
    facts: dict[str, Any] = {"code": letter.code, "reason": letter.reason[:REASON], "at": letter.at}
    if letter.ref is not None:
        facts |= {"bucket": letter.ref.bucket, "key": letter.ref.key}
    if letter.payload:
        facts["payload"] = b64encode(letter.payload[:PAYLOAD]).decode()
    return json.dumps(facts).encode()


def decode(data: bytes, number: str) -> DeadLetter | None:
    """A letter; None where somebody else wrote there."""
    try:
        facts = json.loads(data)
        ref = ObjectRef(facts["bucket"], facts["key"]) if "key" in facts else None
        code, reason, at = facts["code"], facts["reason"], float(facts["at"])
        return DeadLetter(
            ref=ref, code=code, reason=reason, at=at, id=number, payload=b64decode(facts.get("payload", ""))
        )
    except (ValueError, KeyError, TypeError):
        return None
