"""A new index in the place of the one in use, within the same file and without stopping whoever uses it.

The spare is a file of its own until it is swapped: building it locks nothing that is in use. For the swap its tables
are copied into the file of the index, under other names and a part at a time, so that other processes write in between.
Then one transaction renames them. Files are not exchanged: another process may have the older one open and would write
to a file that nobody reads, and its log (`-wal`) would lie beside the newer one.
https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use

Statements of other processes that name the tables are compiled again by SQLite when the schema has changed.
"""

# ruff: noqa: S608  # the parts of these statements are names of tables and columns; every value is a bound parameter

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from shutil import disk_usage
from time import monotonic
from typing import NamedTuple

from imgtag.errors import Unavailable
from imgtag_sqlite.database import Database, open_writer, transaction
from imgtag_sqlite.errors import map_error
from imgtag_sqlite.schema import POSTED

STAGED, REPLACED = "staged_", "replaced_"
"""What the names of tables begin with that are not in use yet, or not any more."""
PART = 0.5
"""Seconds of one transaction, about: others wait for it."""
PAUSE = 0.2
"""Seconds between two transactions: SQLite looks again after 100 ms at most whether another process may write."""
ROOM = 2.5
"""Bytes that must be free for each byte of the index: the spare, its copy, and the logs."""


class _Table(NamedTuple):
    """A table in the order of ``key``, of which ``chunk`` values are copied or deleted at once."""

    name: str
    key: str = "row"
    chunk: int = 500


_TABLES = (
    _Table("documents"),
    _Table("bodies"),
    _Table("vectors"),
    _Table("document_facets"),
    _Table("facets", "id", 5_000),
    _Table("segments", "id", 5_000),
    _Table("postings", "segment", 1),
    _Table("index_id", "rowid"),
)


class Rebuild:
    """The spare of one index. Its methods block; `clear` and `stage` return after a part, with whether that was all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._path = database.path
        self.spare = self._path.with_name(f"{self._path.name}-rebuild")

    def check_room(self) -> None:
        """Raise Unavailable where the disk has no room for a spare and its copy."""
        with map_error(self._path):
            size = sum(file.stat().st_size for file in _files(self._path))
            free = disk_usage(self._path.parent).free
        if free < size * ROOM:
            needed = f"{size * ROOM / 2**20:,.0f} MB must be free on the disk of {self._path}"
            message = f"there is no room for another index: {needed}, and {free / 2**20:,.0f} MB are"
            raise Unavailable(message, hint="Free space there, or move the index to a larger disk.")

    def exists(self) -> bool:
        """Whether there is a spare."""
        return self.spare.exists() or self.is_swapped()

    def is_swapped(self) -> bool:
        """Whether the spare is what was in use before a swap."""
        return not self._database.is_missing() and f"{REPLACED}index_id" in self._database.read(_names)

    def open_replaced(self) -> Database:
        """What was in use before a swap, to be read."""
        return Database(self._path, prefix=REPLACED)

    def clear(self, prefix: str) -> bool:
        """Delete what is left of the tables with this prefix."""
        with self._writer() as connection:
            return _repeat(connection, lambda: _delete_some(connection, prefix))

    def stage(self) -> bool:
        """Copy the spare into the file of the index, under other names."""
        with self._writer() as connection:
            connection.execute("ATTACH ? AS spare", (f"{self.spare.absolute().as_uri()}?mode=ro",))
            return _repeat(connection, lambda: self._copy_some(connection))

    def exchange(self) -> None:
        """Put the staged tables in the place of those in use, in one transaction."""
        with self._writer() as connection, transaction(connection, "BEGIN IMMEDIATE"):
            connection.execute("DROP VIEW posted")
            for table in _TABLES:
                connection.execute(f"ALTER TABLE {table.name} RENAME TO {REPLACED}{table.name}")
                connection.execute(f"ALTER TABLE {STAGED}{table.name} RENAME TO {table.name}")
            connection.execute(POSTED)

    def delete_file(self) -> None:
        """Delete the file of the spare."""
        with map_error(self.spare):
            for file in _files(self.spare):
                file.unlink(missing_ok=True)

    def _copy_some(self, connection: sqlite3.Connection) -> bool:
        """Copy some of the first table that is not copied yet; whether there was any."""
        there = _names(connection)
        for name, key, chunk in _TABLES:
            target = f"{STAGED}{name}"
            if target not in there:
                self._create(connection, name)
            last = connection.execute(f"SELECT coalesce(max({key}), -1) FROM main.{target}").fetchone()[0]
            part = f"SELECT DISTINCT {key} AS place FROM spare.{name} WHERE {key} > ? ORDER BY {key} LIMIT ?"
            end = connection.execute(f"SELECT max(place) FROM ({part})", (last, chunk)).fetchone()[0]
            if end is not None:
                rows = f"SELECT * FROM spare.{name} WHERE {key} > ? AND {key} <= ?"
                connection.execute(f"INSERT INTO main.{target} {rows}", (last, end))
                return True
        return False

    def _create(self, connection: sqlite3.Connection, name: str) -> None:
        """Create a staged table with its indexes. Names of indexes stay when tables are renamed, so they are new."""
        token = token_hex(4)
        statement = "SELECT type, name, sql FROM spare.sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL"
        for kind, written, sql in connection.execute(statement, (name,)).fetchall():
            if kind == "table":
                connection.execute(sql.replace(name, f"main.{STAGED}{name}", 1))
            elif kind == "index":
                text = sql.replace(written, f"main.{written}_{token}", 1)
                connection.execute(text.replace(f"ON {name} ", f"ON {STAGED}{name} ", 1))

    @contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        with map_error(self._path), closing(open_writer(self._path)) as connection:
            yield connection


def _files(path: Path) -> list[Path]:
    """The file of an index, and its logs."""
    return [file for end in ("", "-wal", "-shm") if (file := path.with_name(path.name + end)).exists()]


def _repeat(connection: sqlite3.Connection, work: Callable[[], bool]) -> bool:
    """Do small pieces of work in one transaction, for as long as others may wait; whether there was no more to do."""
    end = monotonic() + PART
    with transaction(connection, "BEGIN IMMEDIATE"):
        while work():
            if monotonic() >= end:
                return False
    return True


def _names(connection: sqlite3.Connection) -> frozenset[str]:
    return frozenset(name for (name,) in connection.execute("SELECT name FROM main.sqlite_master"))


def _delete_some(connection: sqlite3.Connection, prefix: str) -> bool:
    """Delete an index of the first of these tables, else some of its rows, else the table; whether there was any.

    To drop a large table at once would take long.
    """
    there = _names(connection)
    # The id first: without it these are no index any more.
    table = next((table for table in reversed(_TABLES) if prefix + table.name in there), None)
    if table is None:
        return False
    name, (_, key, chunk) = prefix + table.name, table
    indexes = "SELECT name FROM main.sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    part = f"SELECT DISTINCT {key} AS place FROM main.{name} ORDER BY {key} LIMIT ?"
    end = connection.execute(f"SELECT max(place) FROM ({part})", (chunk,)).fetchone()[0]
    if index := connection.execute(indexes, (name,)).fetchone():
        connection.execute(f'DROP INDEX main."{index[0]}"')
    elif end is not None:
        connection.execute(f"DELETE FROM main.{name} WHERE {key} <= ?", (end,))
    else:
        connection.execute(f"DROP TABLE main.{name}")
    return True
