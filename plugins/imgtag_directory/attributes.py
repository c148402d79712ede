"""Where the metadata of an object is: extended attributes, or a record aside."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag_directory.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAMESPACE = "user."
MARK = "imgtag-mark"
OURS = "imgtag"
NO_ROOM = frozenset({errno.ENOTSUP, errno.ENOSPC, errno.EDQUOT, errno.E2BIG, errno.ERANGE, errno.ENAMETOOLONG})
ABSENT = frozenset({errno.ENODATA, errno.ENOTSUP})


class Attributes:
    """Metadata as `user.*` attributes, names without `user.`; those that are not UTF-8 text are let alone.

    Where the file system has no attributes, or no room for all, every entry that this sidecar wrote on
    the object goes to one record under the state folder: never some here and some there. The record
    counts only while its ETag is the object's.

    The mark goes first and comes last, so what a crash leaves half done has no mark and is done again.
    For the same reason attributes are not synced one by one: a journal that loses them in a power cut
    loses the mark with them, and the object is labelled again.
    """

    def __init__(self, state_dir: Path, site: str, bucket: str) -> None:
        part = sha256(f"{site}\0{bucket}".encode()).hexdigest()[:16]
        self._records = Records(state_dir / "attributes" / part)

    def read(self, file: int, key: str, etag: str) -> dict[str, str]:
        """All metadata of an open file."""
        return _attributes(file) | self._aside(key, etag)

    def forget(self, key: str) -> None:
        """The object is gone: so is its record."""
        self._records.drop(_name(key))

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        self._records.sweep()

    def write(self, file: int, key: str, etag: str, metadata: Mapping[str, str], *, verify: Callable[[], None]) -> None:
        """Make ``metadata`` all that there is. ``verify`` is called last before the mark is written.

        Raises OSError where nothing may be written at all.
        """
        aside = self._aside(key, etag)
        before = _attributes(file) | aside
        if before == metadata:
            return
        _remove(file, MARK)
        self.forget(key)
        try:
            _put(file, metadata, verify)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            ours = {
                name: value
                for name, value in metadata.items()
                if name in aside or before.get(name) != value or name.startswith(OURS)
            }
            for name in ours:
                _remove(file, name)
            verify()
            self._records.put(_name(key), {"key": key, "etag": etag, "metadata": ours})

    def _aside(self, key: str, etag: str) -> dict[str, str]:
        record = self._records.get(_name(key))
        if record is None:
            return {}
        if record.get("key") != key or record.get("etag") != etag:
            self.forget(key)
            return {}
        return dict(record.get("metadata", {}))


def supported(path: Path) -> bool:
    """Whether the file system of ``path`` has `user.*` attributes; found out by reading."""
    try:
        os.getxattr(path, f"{NAMESPACE}{MARK}")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def _attributes(file: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        names = os.listxattr(file)
    except OSError as error:
        if error.errno in ABSENT:
            return found
        raise
    for name in names:
        if name.startswith(NAMESPACE) and (value := _text(file, name)) is not None:
            found[name.removeprefix(NAMESPACE)] = value
    return found


def _text(file: int, name: str) -> str | None:
    """None where it is no text, or went since it was listed."""
    try:
        name.encode()
        return os.getxattr(file, name).decode()
    except UnicodeError:
        return None
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise


def _put(file: int, metadata: Mapping[str, str], verify: Callable[[], None]) -> None:
    present = _attributes(file)
    for name in present.keys() - metadata.keys():
        _remove(file, name)
    for name, value in metadata.items():
        if name != MARK and present.get(name) != value:
            os.setxattr(file, f"{NAMESPACE}{name}", value.encode())
    verify()
    if MARK in metadata:
        os.setxattr(file, f"{NAMESPACE}{MARK}", metadata[MARK].encode())


def _remove(file: int, name: str) -> None:
    try:
        os.removexattr(file, f"{NAMESPACE}{name}")
    except OSError as error:
        # A name that is too long to be there is not there.
        if error.errno not in ABSENT | {errno.ERANGE, errno.ENAMETOOLONG}:
            raise


def _name(key: str) -> str:
    digest = sha256(key.encode()).hexdigest()
    return f"{digest[:2]}/{digest}"
