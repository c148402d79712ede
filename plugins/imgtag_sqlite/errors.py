"""Errors of SQLite and of the file system as errors of the sidecar."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imgtag.errors import ImgtagError, PluginError, Unavailable


@contextmanager
def map_error(path: Path) -> Iterator[None]:
    """Raise Unavailable or PluginError, naming the file, where SQLite or the file system fails."""
    try:
        yield
    except sqlite3.Error as error:
        raise _mapped(error, path) from error
    except OSError as error:
        hint = f"Check that {path.parent} is a directory that the sidecar may write to."
        raise Unavailable(f"the index {path} cannot be opened: {error.strerror or error}", hint=hint) from error


def rebuild_hint(path: Path) -> str:
    """Explain how to get a new index."""
    return f"Stop the sidecar, move {path}* away and start it: labelled objects are indexed again from their labels."


def _mapped(error: sqlite3.Error, path: Path) -> ImgtagError:
    # The low byte is the kind of error, the rest is detail: https://www.sqlite.org/rescode.html
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            hint = f"Free space on the disk of {path}, and check the disk. No change was made in part."
            return Unavailable(f"the index {path} cannot be written or read: {error}", hint=hint)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            hint = "Another process is writing to it; the work is tried again."
            return Unavailable(f"the index {path} is busy", hint=hint)
        case sqlite3.SQLITE_INTERRUPT:
            return Unavailable(f"the index {path} took too long to answer", hint="Ask for less at once.")
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            hint = f"Check that the sidecar may write to {path} and to its directory."
            return Unavailable(f"the index {path} cannot be opened: {error}", hint=hint)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return PluginError(f"the index {path} is damaged: {error}", hint=rebuild_hint(path))
        case _:
            return PluginError(f"the index {path} cannot be used: {error}", hint=rebuild_hint(path))
