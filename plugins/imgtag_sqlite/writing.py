"""Changes made to the tables, within a transaction."""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import sqlite3

from imgtag_sqlite.entry import Entry
from imgtag_sqlite.schema import NUMBERS

COLUMNS = (
    *("id", "site", "bucket", "key", "compared_key", "title", "status"),
    *(f'"{number}"' for number in NUMBERS),
    *("latitude", "longitude"),
)
INSERT = f"INSERT INTO documents ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
UPDATE = f"UPDATE documents SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE row = ?"
UNUSED = "DELETE FROM facets WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM postings WHERE facet = ?1)"


class Batch:
    """Changes of one transaction; `finish` ends them."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._facets: dict[tuple[str, str], int] = {}
        self._left: set[int] = set()

    def put(self, entry: Entry) -> None:
        """Put a document in the place of any older one."""
        row = self._row(entry.id)
        if row is None:
            row = self._connection.execute(INSERT, entry.columns).lastrowid
            assert row is not None  # it was just inserted
        else:
            self._connection.execute(UPDATE, (*entry.columns, row))
            self._connection.execute("DELETE FROM texts WHERE rowid = ?", (row,))
            self._connection.execute("DELETE FROM scores WHERE row = ?", (row,))
            self._connection.execute("DELETE FROM vectors WHERE row = ?", (row,))
        self._fill(row, entry)

    def delete(self, id_: str) -> None:
        """Remove a document, if there is one."""
        row = self._row(id_)
        if row is None:
            return
        self._post(row, set())
        for statement in (
            "DELETE FROM scores WHERE row = ?",
            "DELETE FROM vectors WHERE row = ?",
            "DELETE FROM texts WHERE rowid = ?",
            "DELETE FROM bodies WHERE row = ?",
            "DELETE FROM documents WHERE row = ?",
        ):
            self._connection.execute(statement, (row,))

    def finish(self) -> None:
        """Forget the values that no document has any more."""
        self._connection.executemany(UNUSED, [(facet,) for facet in self._left])

    def _row(self, id_: str) -> int | None:
        found = self._connection.execute("SELECT row FROM documents WHERE id = ?", (id_,)).fetchone()
        return int(found[0]) if found else None

    def _fill(self, row: int, entry: Entry) -> None:
        run = self._connection.execute
        run("INSERT OR REPLACE INTO bodies (row, body) VALUES (?, ?)", (row, entry.body))
        run("INSERT INTO texts (rowid, terms, words) VALUES (?, ?, ?)", (row, entry.terms, entry.words))
        if entry.vector is not None:
            run("INSERT INTO vectors (row, vector) VALUES (?, ?)", (row, entry.vector))
        scores = [(label, row, score) for label, score in entry.scores.items()]
        self._connection.executemany("INSERT INTO scores (label, row, score) VALUES (?, ?, ?)", scores)
        self._post(row, {self._facet(field, value, shown) for (field, value), shown in entry.facets.items()})

    def _facet(self, field: str, value: str, shown: str) -> int:
        known = self._facets.get((field, value))
        if known is None:
            run = self._connection.execute
            run("INSERT OR IGNORE INTO facets (field, value, shown) VALUES (?, ?, ?)", (field, value, shown))
            known = run("SELECT id FROM facets WHERE field = ? AND value = ?", (field, value)).fetchone()[0]
            self._facets[field, value] = known
        return known

    def _post(self, row: int, facets: set[int]) -> None:
        before = {facet for (facet,) in self._connection.execute("SELECT facet FROM postings WHERE row = ?", (row,))}
        gone, come = before - facets, facets - before
        self._connection.executemany("DELETE FROM postings WHERE facet = ? AND row = ?", [(f, row) for f in gone])
        self._connection.executemany("INSERT INTO postings (facet, row) VALUES (?, ?)", [(f, row) for f in come])
        self._left |= gone
