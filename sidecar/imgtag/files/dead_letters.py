"""Dead letters: how they are written, and a store of them in files."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import Unavailable
from imgtag.files.records import Records
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.ref import ObjectRef

log = logging.getLogger(__name__)

MAX_REASON = 10_000
"""Characters of the reason that are kept."""
MAX_PAYLOAD = 256 << 10
"""Bytes of a message that are kept with its letter: a message identifies itself near its beginning."""
MAX_MESSAGES = 1_000
"""Letters of messages that name no object; whoever may publish can send any number of them."""
MAX_MESSAGE_BYTES = 64 << 20
"""Bytes of all their files."""
LIST_PERIOD = 2.0
"""Seconds between two readings of the list of all letters."""
_NAME = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class KnownLetters:
    """Which objects have letters. Nearly all that are done never had one, so the list of all is read every few seconds.

    A letter that another process puts in between is not known until then. ``read`` gives the `letter_key` of each.
    """

    def __init__(
        self, read: Callable[[], Awaitable[Iterable[str]]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._keys: set[str] = set()
        self._added: set[str] = set()
        """Keys of letters that were put since the list was last read, or while it is read."""
        self._until = -math.inf
        self._reading = anyio.Lock(fast_acquire=True)

    def add(self, letter: DeadLetter) -> None:
        """This process has put a letter. Those of messages without an object are not looked for, and may be many."""
        if letter.ref is not None:
            self._added.add(letter_key(letter.ref))

    async def among(self, refs: Collection[ObjectRef]) -> list[str]:
        """The keys of those that have a letter. Raises what ``read`` raises."""
        if self._clock() >= self._until:
            async with self._reading:
                if self._clock() >= self._until:  # nobody has read it while we waited
                    added, self._added = self._added, set()
                    try:
                        self._keys = set(await self._read())
                    except BaseException:
                        self._added |= added
                        raise
                    self._until = self._clock() + LIST_PERIOD
        keys = [letter_key(ref) for ref in refs] if self._keys or self._added else []
        return [key for key in keys if key in self._keys or key in self._added]


class FileDeadLetters:
    """One file for each key, so that only the newest letter of a key stays.

    A letter's id is the name of its file and, after a dash, a stamp of its own, so dropping one never drops a newer
    letter of the same key. Of letters without a key, the oldest go when there are too many.

    Earlier releases gave a letter the bare name as its id, which it keeps. Those before 0.9 wrote the letters of plain
    NATS without the suffix ``.json``; those remain readable.
    """

    def __init__(self, folder: Path, limiter: CapacityLimiter | None = None) -> None:
        self._records = Records(folder)
        self._messages = Records(folder / "messages")
        self._sizes: dict[str, int] | None = None
        """Bytes of the letters of messages by name, the oldest first: a look at each file would be paid per message."""
        self._lock = Lock()
        self._limiter = limiter
        self._known = KnownLetters(lambda: self._run(self._object_ids))
        self.dropped = 0
        """Letters of messages that went for want of room."""

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; durable on return. Raises Unavailable."""
        await self._run(self._put, letter)
        self._known.add(letter)

    async def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, the oldest first. Raises Unavailable."""
        for name in await self._run(self._sorted_ids):
            letter = await self._run(self._get, name)
            if letter is not None:  # another process may have dropped it meanwhile
                yield letter

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove letters by id; returns how many there were. Raises Unavailable."""
        return await self._run(self._drop, ids)

    async def discard(self, refs: Collection[ObjectRef]) -> int:
        """Remove the letters of these objects; returns how many there were. Raises Unavailable."""
        keys = await self._known.among(refs)
        return await self._run(lambda: sum(map(self._remove, keys))) if keys else 0

    def _put(self, letter: DeadLetter) -> None:
        name = letter_id(letter)
        record = encode_letter(letter) | {"stamp": token_hex(4)}
        with self._records.locked():
            if letter.ref is None:
                self._messages.put(name, record)
            else:
                self._records.put(name, record)
                self._unsuffixed(name).unlink(missing_ok=True)
        if letter.ref is None:
            self._limit_messages(name)

    def _limit_messages(self, name: str) -> None:
        """Drop the oldest letters of messages beyond the limits; ``name`` is the newest."""
        with self._lock:
            if self._sizes is None:
                files = sorted((status.st_mtime_ns, kept, status.st_size) for kept, status in self._messages.files())
                self._sizes = {kept: size for _, kept, size in files}
            self._sizes.pop(name, None)
            self._sizes[name] = self._messages.size(name)
            total = sum(self._sizes.values())
            while len(self._sizes) > MAX_MESSAGES or total > MAX_MESSAGE_BYTES:
                oldest = next(iter(self._sizes))
                total -= self._sizes.pop(oldest)
                if self._messages.drop(oldest):
                    self.dropped += 1
                    if self.dropped == 1 or self.dropped % MAX_MESSAGES == 0:
                        reason = f"only the newest {MAX_MESSAGES:,} letters of messages without an object are kept"
                        log.warning("dead_letters_dropped", extra={"dropped": self.dropped, "reason": reason})

    def _get(self, name: str) -> DeadLetter | None:
        record = self._records.get(name) or self._messages.get(name)
        if record is None:
            try:
                record = json.loads(self._unsuffixed(name).read_bytes())
            except (FileNotFoundError, ValueError):
                return None
        if not isinstance(record, dict):
            return None
        return decode_letter(record, f"{name}-{record['stamp']}" if "stamp" in record else name)

    def _drop(self, ids: Iterable[str]) -> int:
        count = 0
        for id_ in ids:
            name = id_.partition("-")[0]
            if _NAME.fullmatch(name):
                with self._records.locked():
                    letter = self._get(name)
                    count += letter is not None and letter.id == id_ and self._remove(name)
        return count

    def _remove(self, name: str) -> bool:
        """Remove the letter of this name, whichever it is."""
        dropped = self._records.drop(name) or self._messages.drop(name)
        with self._lock:
            if self._sizes:
                self._sizes.pop(name, None)
        with suppress(FileNotFoundError):
            self._unsuffixed(name).unlink()
            dropped = True
        return dropped

    def _object_ids(self) -> set[str]:
        return {*self._records.names(), *(path.name for path in self._records.folder.glob("*"))}

    def _sorted_ids(self) -> Sequence[str]:
        """Only times and ids are held in memory, however long the letters are."""
        self._records.sweep()
        self._messages.sweep()
        names = self._object_ids() | set(self._messages.names())
        letters = ((self._get(name), name) for name in names if _NAME.fullmatch(name))
        return [name for _, name in sorted((letter.at, name) for letter, name in letters if letter)]

    def _unsuffixed(self, name: str) -> Path:
        return self._records.folder / name

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await to_thread.run_sync(work, *arguments, limiter=self._limiter)
        except OSError as error:
            message = f"{self._records.folder}: {error.strerror or error}"
            raise Unavailable(message, hint="Make room there, or set `dir` under [state].") from error


def letter_key(ref: ObjectRef) -> str:
    """What identifies the letter of an object, in hex: a file name and a NATS token, whatever the key contains."""
    return sha256(f"{ref.bucket}\0{ref.key}".encode()).hexdigest()


def letter_id(letter: DeadLetter) -> str:
    """One for each object; for a message from which no key could be read, one for each message and reason."""
    if letter.ref is not None:
        return letter_key(letter.ref)
    return sha256(b"\0" + letter.payload + f"\0{letter.code}\0{letter.reason}".encode()).hexdigest()


def encode_letter(letter: DeadLetter) -> dict[str, Any]:
    """A letter as JSON, without its id."""
    ref = {"bucket": letter.ref.bucket, "key": letter.ref.key} if letter.ref else {}
    payload = {"payload": b64encode(letter.payload[:MAX_PAYLOAD]).decode()} if letter.payload else {}
    return {"code": letter.code, "reason": letter.reason[:MAX_REASON], "at": letter.at, **ref, **payload}


def decode_letter(record: Mapping[str, Any], identity: str) -> DeadLetter | None:
    """The letter of a record; None if the record is not a letter, because others may write there."""
    try:
        texts = [record[name] for name in (*(("bucket", "key") if "key" in record else ()), "code", "reason")]
        *names, code, reason = (text.encode().decode() for text in texts)
        return DeadLetter(
            ref=ObjectRef(*names) if names else None,
            code=code,
            reason=reason,
            at=float(record["at"]),
            id=identity,
            payload=b64decode(record.get("payload", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
