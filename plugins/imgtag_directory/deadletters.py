"""Work that was given up, in files."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread

from imgtag.types.dead_letter import DeadLetter
from imgtag.types.ref import ObjectRef
from imgtag_directory.records import Records
from imgtag_directory.root import unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

ID = re.compile(r"[0-9a-f]{64}")


class FileDeadLetters:
    """One file for each key, so that the newest letter of a key stays; without a key, for each payload."""

    def __init__(self, folder: Path, limiter: CapacityLimiter) -> None:
        self._records = Records(folder)
        self._folder = folder
        self._limiter = limiter

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter. Raises Unavailable where it cannot be kept."""
        try:
            await to_thread.run_sync(self._records.put, _id(letter), _record(letter), limiter=self._limiter)
        except OSError as error:
            raise unavailable(self._folder, error) from error

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, the oldest first."""
        for name in await to_thread.run_sync(self._names, limiter=self._limiter):
            record = await to_thread.run_sync(self._records.get, name, limiter=self._limiter)
            if record is not None:
                yield _letter(name, record)

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters; how many there were."""
        return await to_thread.run_sync(self._drop, ids, limiter=self._limiter)

    def _names(self) -> Sequence[str]:
        """Only times and names are held, however long the letters are."""
        self._records.sweep()
        found = ((self._records.get(name), name) for name in self._records.names() if ID.fullmatch(name))
        return [name for _, name in sorted((record["at"], name) for record, name in found if record)]

    def _drop(self, ids: Sequence[str]) -> int:
        return sum(self._records.drop(each) for each in ids if ID.fullmatch(each))


def _id(letter: DeadLetter) -> str:
    if letter.ref is None:
        return sha256(letter.payload).hexdigest()
    return sha256(f"{letter.ref.bucket}\0{letter.ref.key}".encode()).hexdigest()


def _record(letter: DeadLetter) -> dict[str, Any]:
    ref = {"bucket": letter.ref.bucket, "key": letter.ref.key} if letter.ref else {}
    payload = {"payload": b64encode(letter.payload).decode()} if letter.payload else {}
    return {"code": letter.code, "reason": letter.reason, "at": letter.at, **ref, **payload}


def _letter(name: str, record: dict[str, Any]) -> DeadLetter:
    return DeadLetter(
        ref=ObjectRef(record["bucket"], record["key"]) if "key" in record else None,
        code=record["code"],
        reason=record["reason"],
        at=record["at"],
        id=name,
        payload=b64decode(record.get("payload", "")),
    )
