"""The files below the root as objects; blocking, for worker threads."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from imgtag.errors import BucketAbsent, Conflict, Unreadable, WriteRefused
from imgtag.plugin import Listed, ObjectRef, ObjectState
from imgtag_directory.attributes import has_attributes
from imgtag_directory.errors import (
    DENIED,
    GONE,
    OUTSIDE_ROOT,
    PERMISSION,
    READ_ONLY,
    map_read_error,
    map_write_error,
)
from imgtag_directory.keys import is_key
from imgtag_directory.media import media_type
from imgtag_directory.own_writes import OWN_WRITES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgtag_directory.attributes import Attributes
    from imgtag_directory.root import Root

T = TypeVar("T")

# O_NONBLOCK: a file that has become a pipe since it was looked at must not block a thread.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def etag_of(status: os.stat_result) -> str:
    """Inode, size and modification time: they differ if the bytes do."""
    return f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'


@dataclass(slots=True)
class Opened:
    """An object; ``file`` is None if its bytes cannot be read."""

    state: ObjectState
    file: int | None

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def read(self, limit: int) -> bytes:
        """All bytes. Raises Unreadable, Conflict, Unavailable."""
        if self.file is None:
            raise Unreadable(code=self.state.unreadable)
        self.require_within(limit)
        self.require_unchanged()
        try:
            # One byte more than expected, to notice that the file has grown.
            data = _read(self.file, self.state.size + 1)
        except OSError as error:
            raise map_read_error(self.state.ref, error) from error
        self.require_unchanged()
        if len(data) != self.state.size:
            raise Conflict
        return data

    def read_range(self, start: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``start`` on. Raises Unreadable, Conflict, Unavailable."""
        if self.file is None:
            raise Unreadable(code=self.state.unreadable)
        self.require_unchanged()
        try:
            data = os.pread(self.file, size, start)
        except OSError as error:
            raise map_read_error(self.state.ref, error) from error
        self.require_unchanged()
        if len(data) != size:
            raise Conflict
        return data

    def require_within(self, limit: int, data: bytes = b"") -> bytes:
        """Returns ``data``. Raises Unreadable(code="too_large") if the object is over the limit."""
        if self.state.size > limit:
            raise Unreadable(f"{self.state.ref} has {self.state.size} bytes, over {limit}", code="too_large")
        return data

    def require_unchanged(self) -> None:
        """Raises Conflict if the open file is no longer that of ``state``."""
        if self.file is None or etag_of(os.fstat(self.file)) != self.state.etag:
            raise Conflict


class Objects:
    """Looks at objects, opens them, writes their metadata.

    An object is a regular file with a visible name (see ``keys``). A link is not an object, but one to a file outside
    the root is listed as an object that may not be read; links to folders are skipped.
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
        """The object, to be closed; None if it is certainly absent. Raises like ``stat``."""
        self._require_bucket(ref)
        opened = self._at(ref.key, lambda folder: self._open_in(folder, ref))
        if opened is None and is_key(ref.key):
            with suppress(OSError):
                self._attributes.forget(ref.key)
        return opened

    def look(self, folder: int, key: str) -> Listed | None:
        """What a listing shows of one name in an open folder; None if it is not an object."""
        status = _stat(folder, key)
        if status is None or not self._is_object(status, key):
            return None
        ref = ObjectRef(self._root.bucket, key)
        return Listed(
            ref=ref,
            etag=etag_of(status),
            size=status.st_size,
            modified=status.st_mtime,
            revision=_revision_of(status),
        )

    def head(self, folder: int, key: str, size: int) -> bytes:
        """The first bytes of a file in an open folder. Raises OSError."""
        file = os.open(_leaf(key), READING, dir_fd=folder)
        try:
            return os.pread(file, size, 0)
        finally:
            os.close(file)

    def find(self, key: str) -> Listed | None:
        """Like ``look``, by key alone. Raises BucketAbsent, Unavailable."""
        return self._at(key, lambda folder: self.look(folder, key))

    def fingerprint(self, folder: int, key: str) -> tuple[str, str] | None:
        """The key with what changes if the object does, or the permission to read or write it; None as for ``look``."""
        status = _stat(folder, key)
        if status is None or not self._is_object(status, key):
            return None
        return key, f"{etag_of(status)} {status.st_mode:o} {status.st_uid} {status.st_gid}"

    def is_own_write(self, key: str) -> bool:
        """Whether the sidecar itself was the last to change the file or its attributes."""
        status = self._at(key, lambda folder: _stat(folder, key))
        return status is not None and OWN_WRITES.include(status)

    def rewrite(self, state: ObjectState, metadata: Mapping[str, str]) -> ObjectState:
        """Write metadata on the very file of ``state``. Raises Conflict, WriteRefused, Unavailable."""
        opened = self.open(state.ref)
        if opened is None:
            raise Conflict(f"{state.ref} is gone")
        try:
            if opened.state.etag != state.etag or dict(opened.state.metadata) != dict(state.metadata):
                raise Conflict
            if opened.file is None:
                raise WriteRefused(f"{state.ref} cannot be opened", code=opened.state.unreadable)
            key = state.ref.key
            try:
                with OWN_WRITES.writing(opened.file):
                    self._attributes.write(opened.file, key, state.etag, metadata, verify=opened.require_unchanged)
            except OSError as error:
                raise map_write_error(state.ref, error) from error
            again = self.open(state.ref)
            if again is None:
                raise Conflict(f"{state.ref} is gone")
            again.close()
            if again.state.etag != state.etag:
                raise Conflict
            return again.state
        finally:
            opened.close()

    def create(self, ref: ObjectRef, data: bytes) -> ObjectState:
        """Create a file, which gets its name once it is complete. Raises Conflict, WriteRefused, Unavailable."""
        self._require_bucket(ref)
        if not is_key(ref.key):
            raise WriteRefused(f"{ref} would not count as an object", code="key")
        try:
            with self._root.folder(_folder(ref.key), empty=True) as folder:
                if _stat(folder, ref.key) is not None:
                    raise Conflict(f"{ref} already exists")
                _place(folder, _leaf(ref.key), data)
        except OSError as error:
            if error.errno in GONE:
                raise WriteRefused(f"the folder of {ref} does not exist", code="absent") from error
            raise map_write_error(ref, error) from error
        state = self.stat(ref)
        if state is None:
            raise Conflict(f"{ref} is gone")
        return state

    def copy(self, source: ObjectState, target: ObjectRef) -> bool:
        """Copy the bytes and the time of a file. Raises Conflict, Unreadable, WriteRefused, Unavailable.

        Attributes stay behind: a copy is another object. One with the same size and time was copied before.
        """
        self._require_bucket(target)
        if not is_key(target.key):
            raise WriteRefused(f"{target} would not count as an object", code="key")
        opened = self.open(source.ref)
        if opened is None or opened.state.etag != source.etag:
            raise Conflict(f"{source.ref} has changed")
        try:
            data = opened.read(source.size)
            times = (os.fstat(opened.file).st_mtime_ns,) * 2 if opened.file is not None else None
        finally:
            opened.close()
        try:
            self._root.make_folders(_folder(target.key))
            with self._root.folder(_folder(target.key)) as folder:
                there = _stat(folder, target.key)
                if there is not None:
                    if times is None or (there.st_size, there.st_mtime_ns) != (source.size, times[0]):
                        raise Conflict(f"another file is at {target}", code="exists")
                    return False
                _place(folder, _leaf(target.key), data, times)
        except OSError as error:
            raise map_write_error(target, error) from error
        return True

    def erase(self, ref: ObjectRef) -> None:
        """Remove the file and its record, if they exist. Raises WriteRefused, Unavailable."""
        self._require_bucket(ref)
        try:
            with self._root.folder(_folder(ref.key) if is_key(ref.key) else "") as folder:
                if is_key(ref.key):
                    os.unlink(_leaf(ref.key), dir_fd=folder)
        except OSError as error:
            if error.errno not in GONE:
                raise map_write_error(ref, error) from error
        self._attributes.forget(ref.key)

    def _require_bucket(self, ref: ObjectRef) -> None:
        if ref.bucket != self._root.bucket:
            raise BucketAbsent(f"the only bucket is {self._root.bucket}, not {ref.bucket}")

    def _at(self, key: str, look: Callable[[int], T | None]) -> T | None:
        """What ``look`` returns for the folder of a key; None if the key cannot exist.

        Raises Unreadable in a folder below the root that may not be entered: whether the object exists is unknown, and
        waiting would not help. Once the folder may be entered, the source hints at what is in it.
        """
        try:
            with self._root.folder(_folder(key) if is_key(key) else "") as folder:
                return look(folder) if is_key(key) else None
        except OSError as error:
            if error.errno in GONE:
                return None
            if error.errno in DENIED and _folder(key):
                raise Unreadable(f"the folder of {key} may not be entered", code=PERMISSION) from error
            raise map_read_error(key, error) from error

    def _open_in(self, folder: int, ref: ObjectRef) -> Opened | None:
        status = _stat(folder, ref.key)
        if status is None or not self._is_object(status, ref.key):
            return None
        if stat.S_ISLNK(status.st_mode):
            return Opened(self._state(ref, status, unreadable=OUTSIDE_ROOT), None)
        try:
            file = os.open(_leaf(ref.key), READING, dir_fd=folder)
        except OSError as error:
            if error.errno in GONE:
                return None
            if error.errno in DENIED:
                return Opened(self._state(ref, status, unreadable=PERMISSION), None)
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
        readonly = None
        if os.fstatvfs(file).f_flag & os.ST_RDONLY:
            readonly = READ_ONLY
        elif not os.access(f"/proc/self/fd/{file}", os.W_OK, effective_ids=True) and has_attributes(file):
            readonly = PERMISSION  # without attributes, labels go to a record, for which the file need not be writable
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
            revision=_revision_of(status),
            **known,  # type: ignore[arg-type]
        )

    def _is_object(self, status: os.stat_result, key: str) -> bool:
        if stat.S_ISLNK(status.st_mode):
            return self._root.leads_out(key)
        return stat.S_ISREG(status.st_mode) and key != self._root.marker


def _revision_of(status: os.stat_result) -> str:
    return str(status.st_ctime_ns)  # the kernel sets it at every change, and no user can


def _stat(folder: int, key: str) -> os.stat_result | None:
    try:
        return os.stat(_leaf(key), dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise


def _place(folder: int, name: str, data: bytes, times: tuple[int, int] | None = None) -> None:
    """Create a file, which gets its name once it is complete; ``times``: of access and change, ns. Raises OSError."""
    unfinished = f".{name}"  # hidden, so it does not count as an object
    try:
        with os.fdopen(os.open(unfinished, CREATING, 0o666, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            if times:
                os.utime(file.fileno(), ns=times)
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=folder)
        raise


def _folder(key: str) -> str:
    return key[: key.rfind("/") + 1]


def _leaf(key: str) -> str:
    return key.rpartition("/")[2]


def _read(file: int, size: int) -> bytes:
    parts = []
    offset = 0
    while part := os.pread(file, size - offset, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
