"""The file of an index: made, opened, and used for a while."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from errno import EISDIR
from pathlib import Path
from time import monotonic

from imgtag.errors import PluginError
from imgtag_sqlite.distance import metres
from imgtag_sqlite.fault import rebuild_hint
from imgtag_sqlite.schema import ADDED, APPLICATION, VERSION

BUSY = 10.0  # seconds to wait for another process that writes
DEADLINE = 20.0  # seconds for one piece of work, below the time that a stop may take
STEPS = 100_000  # instructions of SQLite between two looks at the clock


def prepare(path: Path) -> None:
    """Make the index, or what an older one lacks. Raises PluginError where the file is none that can be used."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(EISDIR, "it is a directory")
    if not path.exists() or not _is_index(path):
        with closing(_connect(path, "rwc", "PRAGMA journal_mode = WAL")) as connection:
            _make(connection, path)


def reader(path: Path) -> sqlite3.Connection:
    """Open the index for searching; `temp.hits` is for the rows that were found."""
    hits = "CREATE TEMP TABLE hits (row INTEGER PRIMARY KEY)"
    connection = _connect(path, "ro", "PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -16384", hits)
    connection.create_function("metres", 4, metres, deterministic=True)
    return connection


def writer(path: Path) -> sqlite3.Connection:
    """Open the index for writing; what is committed outlives a loss of power."""
    return _connect(path, "rw", "PRAGMA synchronous = FULL", "PRAGMA cache_size = -65536")


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Keep all of the work or, where it fails or takes too long, none."""
    end = monotonic() + DEADLINE
    connection.set_progress_handler(lambda: monotonic() > end, STEPS)
    connection.execute(begin)
    try:
        yield
        connection.set_progress_handler(None, 0)  # what is done is kept, however long it took
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Tell whether this SQLite was built with full-text search."""
    return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None


def _connect(path: Path, mode: str, *statements: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(address, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        _check(connection, path)
        for statement in statements:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    if not has_fts5(connection):
        hint = "Install a Python whose SQLite has it, or use another indexer."
        raise PluginError(f"SQLite {sqlite3.sqlite_version} was built without full-text search (FTS5)", hint=hint)
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application != APPLICATION and _pragma(connection, "schema_version"):
        raise PluginError(f"{path} is a database of something else", hint="Name another file in [indexer.sqlite] path.")
    if version > VERSION:
        hint = f"Upgrade the sidecar to what wrote it. Or begin anew: {rebuild_hint(path)}"
        raise PluginError(f"the index {path} is of version {version}, this sidecar knows {VERSION}", hint=hint)


def _is_index(path: Path) -> bool:
    with closing(_connect(path, "ro")) as connection:
        return _pragma(connection, "user_version") == VERSION


def _make(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection, "BEGIN IMMEDIATE"):
        _check(connection, path)
        for tables in ADDED[_pragma(connection, "user_version") :]:  # none where another process was first
            for statement in tables:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
