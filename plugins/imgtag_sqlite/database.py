"""The file of an index, and its open connections."""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from errno import EISDIR
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TypeVar

from imgtag.errors import PluginError
from imgtag_sqlite import upgrade
from imgtag_sqlite.errors import map_error, rebuild_hint
from imgtag_sqlite.filters import metres
from imgtag_sqlite.schema import APPLICATION, VERSION, VERSIONS

MAX_BUSY = 10.0  # seconds to wait for another process that writes
MAX_SECONDS = 20.0  # for one transaction: less than the time that a stop may take
REPORT_EVERY = 10_000  # documents of an older index
CLOCK_STEPS = 100_000  # instructions of SQLite between two looks at the clock

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
FileId = tuple[int, int]
CACHE = 8192
"""KiB of pages that each connection keeps. More is not faster, as the system caches the file, too, but stays taken."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """An open connection, and the device and inode of the file that was opened."""

    sqlite: sqlite3.Connection
    file: FileId


class Database:
    """One SQLite file, which other processes may use at the same time.

    For threads: any number of them may read, one at a time may write. With ``read_only`` the file is neither created
    nor brought up to date. All methods raise Unavailable or PluginError, naming the file, where SQLite or the file
    system fails.
    """

    def __init__(self, path: Path, *, read_only: bool = False, prefix: str = "") -> None:
        """``prefix``: what the names of the tables begin with that are read in the place of those in use."""
        self.path = path
        self._read_only = read_only
        self._prefix = prefix
        self._readers: deque[_Connection] = deque()
        self._writers: deque[_Connection] = deque()

    def prepare(self) -> bool:
        """Create the file, or bring some of an older one up to date; returns whether it is ready.

        Raises PluginError where it is not an index.
        """
        if self._read_only:
            if version := self.older_format():
                reason = "`imgtag run` upgrades the file; until then it is read as it is, and cannot be searched"
                log.warning("index_outdated", extra={"file": str(self.path), "format": version, "reason": reason})
            return True
        with map_error(self.path):
            return _prepare(self.path)

    def is_missing(self) -> bool:
        """Tell whether there is no file, and none may be created."""
        return self._read_only and not self.path.exists()

    def older_format(self) -> int | None:
        """The format of a file that may not be brought up to date and is not; None where it is, or there is no file."""
        with map_error(self.path):
            if not self._read_only or not self.path.exists():
                return None
            with closing(_connect(self.path, "ro")) as connection:
                version = _pragma(connection, "user_version")
        return version if version < VERSION else None

    def require_current(self) -> None:
        """Raise PluginError where the tables of a search are those of an older format."""
        if version := self.older_format():
            message = f"the index {self.path} has the older format {version}, and nothing may be changed now"
            raise PluginError(message, hint=f"Start `imgtag run`, which upgrades it to format {VERSION}.")

    def read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Run read-only work on one state of the index."""
        return self._run(work, self._readers, partial(_open_reader, prefix=self._prefix), "BEGIN")

    def write(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Run work that changes the index: all of it is durable on return, or nothing was changed."""
        return self._run(work, self._writers, open_writer, "BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close all connections."""
        for pool in (self._readers, self._writers):
            while pool:
                pool.pop().sqlite.close()

    def _run(
        self,
        work: Callable[[sqlite3.Connection], Answer],
        pool: deque[_Connection],
        open_connection: Callable[[Path], sqlite3.Connection],
        begin: str,
    ) -> Answer:
        with map_error(self.path):
            # A file that was deleted or replaced stays open, and what is written to it is lost: the path is looked at.
            connection = pool.pop() if pool else None
            while connection is not None and connection.file != _file_id(self.path):
                connection.sqlite.close()
                connection = pool.pop() if pool else None
            if connection is None:
                while not (self._read_only or _prepare(self.path)):
                    pass
                file = _file_id(self.path)
                if file is None:
                    raise FileNotFoundError("it was deleted while it was opened")
                connection = _Connection(open_connection(self.path), file)
            try:
                with transaction(connection.sqlite, begin):
                    answer = work(connection.sqlite)
            except BaseException:
                connection.sqlite.close()
                raise
        pool.append(connection)
        return answer


def _prepare(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "it is a directory")
    if path.exists():
        with closing(_connect(path, "ro")) as connection:
            if _pragma(connection, "user_version") == VERSION:
                return True
    with (
        closing(_connect(path, "rwc", "PRAGMA journal_mode = WAL", f"PRAGMA cache_size = -{CACHE}")) as connection,
        transaction(connection, "BEGIN IMMEDIATE"),
    ):
        _check(connection, path)
        version = _pragma(connection, "user_version")
        connection.set_progress_handler(None, 0)  # an index of a large table is made at once, however long that takes
        for statements in VERSIONS[version:]:  # none where an upgrade goes on, or another process was first
            for statement in statements:
                connection.execute(statement)
        left = upgrade.missing(connection)
        if left and (version < len(VERSIONS) or left % REPORT_EVERY < upgrade.PART):
            log.info("index_upgrading", extra={"file": str(path), "documents_left": left})
        upgrade.index_part(connection)
        is_ready = not upgrade.missing(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION if is_ready else len(VERSIONS)}")
        return is_ready


def _open_reader(path: Path, *, prefix: str) -> sqlite3.Connection:
    """Open the index for searching; `temp.hits` is for the rows of the documents that match."""
    hits = "CREATE TEMP TABLE hits (row INTEGER PRIMARY KEY)"
    # What is in the schema `temp` goes before what is in `main`: https://www.sqlite.org/lang_naming.html
    others = ("documents", "bodies", "index_id") if prefix else ()
    views = [f"CREATE TEMP VIEW {name} AS SELECT * FROM main.{prefix}{name}" for name in others]  # noqa: S608
    connection = _connect(path, "ro", "PRAGMA temp_store = MEMORY", f"PRAGMA cache_size = -{CACHE}", hits, *views)
    connection.create_function("metres", 4, metres, deterministic=True)
    return connection


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the index for writing; what is committed survives a loss of power."""
    return _connect(path, "rw", "PRAGMA synchronous = FULL", f"PRAGMA cache_size = -{CACHE}")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Commit all of the work or, where it fails or takes too long, none of it."""
    end = monotonic() + MAX_SECONDS
    connection.set_progress_handler(lambda: monotonic() > end, CLOCK_STEPS)
    connection.execute(begin)
    try:
        yield
        connection.set_progress_handler(None, 0)  # the work is done and is committed, however long that takes
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=MAX_BUSY, isolation_level=None, check_same_thread=False)
    try:
        _check(connection, path)
        for statement in statements:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application != APPLICATION and _pragma(connection, "schema_version"):
        hint = "Name another file in [indexer.sqlite] path."
        raise PluginError(f"{path} is not an index but a database of another program", hint=hint)
    if version > VERSION:
        hint = f"Upgrade the sidecar to the version that wrote it. Or start over: {rebuild_hint(path)}"
        raise PluginError(f"the index {path} has format {version}, this sidecar supports up to {VERSION}", hint=hint)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _file_id(path: Path) -> FileId | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
