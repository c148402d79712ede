"""Where the metadata of an object is: extended attributes, or a sidecar record."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.files.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAMESPACE = "user."
MARK = "imgtag-mark"
OURS = "imgtag"
NO_ROOM = frozenset({errno.ENOTSUP, errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE, errno.ENAMETOOLONG})
ABSENT = frozenset({errno.ENODATA, errno.ENOTSUP})


class Attributes:
    """Metadata as `user.*` attributes, names without `user.`; attributes that are not UTF-8 text are left alone.

    If the file system has no attributes, or no room for all of them, every entry that this sidecar wrote on the object
    goes to one record in the state folder: never some here and some there. The record counts only while its ETag is
    that of the object.

    The mark is removed first and written last, so an object that a crash leaves half done has no mark and is done
    again. For the same reason attributes are not synced one by one: a journal that loses them in a power cut loses the
    mark with them.
    """

    def __init__(self, state_dir: Path, site: str, bucket: str, *, read_only: bool = False) -> None:
        """With ``read_only``, records that no longer count stay where they are."""
        part = sha256(f"{site}\0{bucket}".encode()).hexdigest()[:16]
        self._records = Records(state_dir / "attributes" / part)
        self._read_only = read_only

    def read(self, file: int, key: str, etag: str) -> dict[str, str]:
        """All metadata of an open file."""
        return _read_attributes(file) | self._read_record(key, etag)

    def forget(self, key: str) -> None:
        """Remove the record of an object that is gone."""
        if not self._read_only:
            self._records.drop(_record_name(key))

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        if not self._read_only:
            self._records.sweep()

    def write(self, file: int, key: str, etag: str, metadata: Mapping[str, str], *, verify: Callable[[], None]) -> None:
        """Make ``metadata`` all the metadata of the file. ``verify`` is called right before the mark is written.

        Raises OSError if nothing may be written at all.
        """
        recorded = self._read_record(key, etag)
        before = _read_attributes(file) | recorded
        if before == metadata:
            return
        _remove_attribute(file, MARK)
        self.forget(key)
        try:
            _write_attributes(file, metadata, verify)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            ours = {
                name: value
                for name, value in metadata.items()
                if name in recorded or before.get(name) != value or name.startswith(OURS)
            }
            for name in ours:
                _remove_attribute(file, name)
            verify()
            self._records.put(_record_name(key), {"key": key, "etag": etag, "metadata": ours})

    def _read_record(self, key: str, etag: str) -> dict[str, str]:
        record = self._records.get(_record_name(key))
        if record is None:
            return {}
        if record.get("key") != key or record.get("etag") != etag:
            self.forget(key)
            return {}
        return dict(record.get("metadata", {}))


def has_attributes(path: Path | int) -> bool:
    """Whether the file system of a path or an open file has `user.*` attributes; determined by reading only."""
    try:
        os.getxattr(path, f"{NAMESPACE}{MARK}")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def _read_attributes(file: int) -> dict[str, str]:
    metadata: dict[str, str] = {}
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno in ABSENT:
            return metadata
        raise
    for name in names:
        if name.startswith(NAMESPACE) and (value := _read_text(file, name)) is not None:
            metadata[name.removeprefix(NAMESPACE)] = value
    return metadata


def _read_text(file: int, name: str) -> str | None:
    """None if the attribute is not text, or was removed since it was listed."""
    try:
        name.encode()
        return os.getxattr(file, name).decode()
    except UnicodeError:
        return None
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise


def _write_attributes(file: int, metadata: Mapping[str, str], verify: Callable[[], None]) -> None:
    present = _read_attributes(file)
    for name in present.keys() - metadata.keys():
        _remove_attribute(file, name)
    for name, value in metadata.items():
        if name != MARK and present.get(name) != value:
            os.setxattr(file, f"{NAMESPACE}{name}", value.encode())
    verify()
    if MARK in metadata:
        os.setxattr(file, f"{NAMESPACE}{MARK}", metadata[MARK].encode())


def _remove_attribute(file: int, name: str) -> None:
    try:
        os.removexattr(file, f"{NAMESPACE}{name}")
    except OSError as error:
        # An attribute whose name is too long cannot exist.
        if error.errno not in ABSENT | {errno.ERANGE, errno.ENAMETOOLONG}:
            raise


def _record_name(key: str) -> str:
    digest = sha256(key.encode()).hexdigest()
    return f"{digest[:2]}/{digest}"
