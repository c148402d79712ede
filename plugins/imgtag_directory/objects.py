"""The files below the root as objects; blocking, for worker threads."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import Listed, ObjectRef, ObjectState
from imgtag_directory.keys import is_key
from imgtag_directory.media import media_type
from imgtag_directory.root import DENIED, GONE, Root, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgtag_directory.attributes import Attributes

T = TypeVar("T")

OUTSIDE = "outside_root"
DENIED_CODE = "permission"
READ_ONLY = "read_only"
# O_NONBLOCK: what became a pipe since it was looked at must not hold a thread.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MAKING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def etag_of(status: os.stat_result) -> str:
    """Inode, size and time of change: another where the bytes are others."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


@dataclass(slots=True)
class Opened:
    """An object; ``file`` is None where its bytes cannot be had."""

    state: ObjectState
    file: int | None

    def close(self) -> None:
        """Let the file go."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def read(self, limit: int) -> bytes:
        """All bytes. Raises Unreadable, Conflict, Unavailable."""
        if self.file is None:
            raise Unreadable(code=self.state.unreadable)
        self.within(limit)
        self.unchanged()
        try:
            # One more than there should be, to see that it has grown.
            data = _read(self.file, self.state.size + 1)
        except OSError as error:
            raise unavailable(self.state.ref, error) from error
        self.unchanged()
        if len(data) != self.state.size:
            raise Conflict
        return data

    def within(self, limit: int, data: bytes = b"") -> bytes:
        """The data. Raises Unreadable(code="too_large") where the object is over the limit."""
        if self.state.size > limit:
            raise Unreadable(f"{self.state.ref} has {self.state.size} bytes, over {limit}", code="too_large")
        return data

    def unchanged(self) -> None:
        """Raises Conflict where the open file is no longer that of ``state``."""
        if self.file is None or etag_of(os.fstat(self.file)) != self.state.etag:
            raise Conflict


class Objects:
    """Looks at objects, opens them, writes their metadata.

    An object is a regular file with a visible name (see ``keys``). A link is none, but one to a file
    outside the root is shown, as an object that may not be read; links to folders are passed over.
    """

    def __init__(self, root: Root, attributes: Attributes) -> None:
        self._root = root
        self._attributes = attributes

    def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now. Raises BucketAbsent, Unavailable."""
        opened = self.open(ref)
        if opened is None:
            return None
        opened.close()
        return opened.state

    def open(self, ref: ObjectRef) -> Opened | None:
        """The object, to be closed; None when it is certainly absent. Raises as ``stat``."""
        self._here(ref)
        opened = self._at(ref.key, lambda folder: self._open_in(folder, ref))
        if opened is None and is_key(ref.key):
            with suppress(OSError):
                self._attributes.forget(ref.key)
        return opened

    def look(self, folder: int, key: str) -> Listed | None:
        """What a listing shows of one name in an open folder; None where it is no object."""
        status = _status(folder, key)
        if status is None or not self._counts(status, key):
            return None
        ref = ObjectRef(self._root.bucket, key)
        return Listed(ref=ref, etag=etag_of(status), size=status.st_size, modified=status.st_mtime)

    def find(self, key: str) -> Listed | None:
        """As ``look``, by key alone. Raises BucketAbsent, Unavailable."""
        return self._at(key, lambda folder: self.look(folder, key))

    def rewrite(self, state: ObjectState, metadata: Mapping[str, str]) -> ObjectState:
        """Write metadata on the very file of ``state``. Raises Conflict, WriteRefused, Unavailable."""
        opened = self.open(state.ref)
        if opened is None:
            raise Conflict(f"{state.ref} is gone")
        try:
            return self._rewrite(opened, state, metadata)
        finally:
            opened.close()

    def create(self, ref: ObjectRef, data: bytes) -> ObjectState:
        """A new file, which has its name when it is whole. Raises Conflict, WriteRefused, Unavailable."""
        self._here(ref)
        if not is_key(ref.key):
            raise WriteRefused(f"{ref} would not be taken for an object", code="key")
        try:
            with self._root.folder(_folder(ref.key), empty=True) as folder:
                if _status(folder, ref.key) is not None:
                    raise Conflict(f"{ref} is there already")
                _place(folder, _leaf(ref.key), data)
        except OSError as error:
            if error.errno in GONE:
                raise WriteRefused(f"there is no folder for {ref}", code="absent") from error
            raise _refused(ref, error) from error
        state = self.stat(ref)
        if state is None:
            raise Conflict(f"{ref} is gone")
        return state

    def erase(self, ref: ObjectRef) -> None:
        """Remove the file with its record, if it is there. Raises WriteRefused, Unavailable."""
        self._here(ref)
        try:
            with self._root.folder(_folder(ref.key) if is_key(ref.key) else "") as folder:
                if is_key(ref.key):
                    os.unlink(_leaf(ref.key), dir_fd=folder)
        except OSError as error:
            if error.errno not in GONE:
                raise _refused(ref, error) from error
        self._attributes.forget(ref.key)

    def _here(self, ref: ObjectRef) -> None:
        if ref.bucket != self._root.bucket:
            raise BucketAbsent(f"there is one bucket, {self._root.bucket}, and not {ref.bucket}")

    def _rewrite(self, opened: Opened, state: ObjectState, metadata: Mapping[str, str]) -> ObjectState:
        if opened.state.etag != state.etag or dict(opened.state.metadata) != dict(state.metadata):
            raise Conflict
        if opened.file is None:
            raise WriteRefused(f"{state.ref} may not be opened", code=opened.state.unreadable)
        key = state.ref.key
        try:
            self._attributes.write(opened.file, key, state.etag, metadata, verify=opened.unchanged)
        except OSError as error:
            raise _refused(state.ref, error) from error
        again = self.open(state.ref)
        if again is None:
            raise Conflict(f"{state.ref} is gone")
        again.close()
        if again.state.etag != state.etag:
            raise Conflict
        return again.state

    def _at(self, key: str, look: Callable[[int], T | None]) -> T | None:
        """What ``look`` finds in the folder of a key; None where the key cannot be there."""
        try:
            with self._root.folder(_folder(key) if is_key(key) else "") as folder:
                return look(folder) if is_key(key) else None
        except OSError as error:
            if error.errno in GONE:
                return None
            raise unavailable(key, error) from error

    def _open_in(self, folder: int, ref: ObjectRef) -> Opened | None:
        status = _status(folder, ref.key)
        if status is None or not self._counts(status, ref.key):
            return None
        if stat.S_ISLNK(status.st_mode):
            return Opened(self._state(ref, status, unreadable=OUTSIDE), None)
        try:
            file = os.open(_leaf(ref.key), READING, dir_fd=folder)
        except OSError as error:
            if error.errno in GONE:
                return None
            if error.errno in DENIED:
                return Opened(self._state(ref, status, unreadable=DENIED_CODE), None)
            raise
        try:
            return self._of_file(ref, file)
        except BaseException:
            os.close(file)
            raise

    def _of_file(self, ref: ObjectRef, file: int) -> Opened | None:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            return None
        metadata = self._attributes.read(file, ref.key, etag_of(status))
        readonly = READ_ONLY if os.fstatvfs(file).f_flag & os.ST_RDONLY else None
        return Opened(self._state(ref, status, metadata=metadata, readonly=readonly), file)

    def _state(self, ref: ObjectRef, status: os.stat_result, **known: object) -> ObjectState:
        etag = etag_of(status)
        known.setdefault("metadata", {})
        return ObjectState(
            ref=ref,
            etag=etag,
            size=status.st_size,
            modified=status.st_mtime,
            content_type=media_type(ref.key),
            **known,  # type: ignore[arg-type]
        )

    def _counts(self, status: os.stat_result, key: str) -> bool:
        if stat.S_ISLNK(status.st_mode):
            return self._root.leads_out(key)
        return stat.S_ISREG(status.st_mode) and key != self._root.marker


def _status(folder: int, key: str) -> os.stat_result | None:
    try:
        return os.stat(_leaf(key), dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def _folder(key: str) -> str:
    return key[: key.rfind("/") + 1]


def _leaf(key: str) -> str:
    return key.rpartition("/")[2]


def _place(folder: int, name: str, data: bytes) -> None:
    unfinished = f".{name}"  # no key: nobody takes it for an object
    try:
        with os.fdopen(os.open(unfinished, MAKING, 0o666, dir_fd=folder), "wb") as file:
            file.write(data)
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def _read(file: int, size: int) -> bytes:
    parts = []
    offset = 0
    while part := os.pread(file, size - offset, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _refused(ref: ObjectRef, error: OSError) -> WriteRefused | Unavailable:
    if error.errno == errno.EROFS:
        return WriteRefused(f"{ref} is on a read-only file system", code=READ_ONLY)
    if error.errno in DENIED:
        return WriteRefused(f"{ref} may not be written on", code=DENIED_CODE)
    return unavailable(ref, error)
