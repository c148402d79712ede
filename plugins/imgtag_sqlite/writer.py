"""Changes to the tables, within one transaction."""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from imgtag_sqlite.document import Rows
from imgtag_sqlite.schema import NUMBERS

COLUMNS = (
    *("id", "site", "bucket", "key", "compared_key", "title", "status"),
    *(f'"{number}"' for number in NUMBERS),
    *("latitude", "longitude"),
)
INSERT = f"INSERT INTO documents ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
UPDATE = f"UPDATE documents SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE row = ?"
DELETE_UNUSED = "DELETE FROM facets WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM postings WHERE facet = ?1)"


class Batch:
    """The changes of one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._facets: dict[tuple[str, str], int] = {}
        self._released: set[int] = set()

    def write(self, changes: Sequence[Rows | str]) -> None:
        """Put documents, or delete them by id, in this order."""
        for change in changes:
            if isinstance(change, str):
                self._delete(change)
            else:
                self._put(change)
        # A value that no document has any more is dead weight in each later search.
        self._connection.executemany(DELETE_UNUSED, [(facet,) for facet in self._released])

    def _put(self, rows: Rows) -> None:
        run = self._connection.execute
        row = self._row(rows.id)
        if row is None:
            row = run(INSERT, rows.columns).lastrowid
            assert row is not None  # it was just inserted
        else:
            run(UPDATE, (*rows.columns, row))
            # A virtual table has no UPSERT, and labels may be gone: https://www.sqlite.org/lang_upsert.html
            run("DELETE FROM texts WHERE rowid = ?", (row,))
            run("DELETE FROM scores WHERE row = ?", (row,))
            run("DELETE FROM vectors WHERE row = ?", (row,))
        run("INSERT OR REPLACE INTO bodies (row, body) VALUES (?, ?)", (row, rows.body))
        run("INSERT INTO texts (rowid, terms, words) VALUES (?, ?, ?)", (row, rows.terms, rows.words))
        if rows.vector is not None:
            run("INSERT INTO vectors (row, vector) VALUES (?, ?)", (row, rows.vector))
        scores = [(label, row, score) for label, score in rows.scores.items()]
        self._connection.executemany("INSERT INTO scores (label, row, score) VALUES (?, ?, ?)", scores)
        self._update_postings(row, {self._facet(field, value, shown) for (field, value), shown in rows.facets.items()})

    def _delete(self, id_: str) -> None:
        row = self._row(id_)
        if row is None:
            return
        self._update_postings(row, set())
        for statement in (
            "DELETE FROM scores WHERE row = ?",
            "DELETE FROM vectors WHERE row = ?",
            "DELETE FROM texts WHERE rowid = ?",
            "DELETE FROM bodies WHERE row = ?",
            "DELETE FROM documents WHERE row = ?",
        ):
            self._connection.execute(statement, (row,))

    def _row(self, id_: str) -> int | None:
        first = self._connection.execute("SELECT row FROM documents WHERE id = ?", (id_,)).fetchone()
        return int(first[0]) if first else None

    def _facet(self, field: str, value: str, shown: str) -> int:
        id_ = self._facets.get((field, value))
        if id_ is None:
            run = self._connection.execute
            run("INSERT OR IGNORE INTO facets (field, value, shown) VALUES (?, ?, ?)", (field, value, shown))
            id_ = run("SELECT id FROM facets WHERE field = ? AND value = ?", (field, value)).fetchone()[0]
            self._facets[field, value] = id_
        return id_

    def _update_postings(self, row: int, facets: set[int]) -> None:
        before = {facet for (facet,) in self._connection.execute("SELECT facet FROM postings WHERE row = ?", (row,))}
        removed, added = before - facets, facets - before
        self._connection.executemany("DELETE FROM postings WHERE facet = ? AND row = ?", [(f, row) for f in removed])
        self._connection.executemany("INSERT INTO postings (facet, row) VALUES (?, ?)", [(f, row) for f in added])
        self._released |= removed
