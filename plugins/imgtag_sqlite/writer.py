"""Changes to the tables, within one transaction."""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from imgtag_sqlite.document import Rows
from imgtag_sqlite.schema import NUMBERS, SEGMENT_BITS, pack_ids, segment_of, unpack_ids

MAX_IDS = 20_000
"""Values whose ids are remembered: about 5 MB."""
COLUMNS = (
    *("id", "site", "bucket", "key", "compared_key", "title", "status"),
    *(f'"{number}"' for number in NUMBERS),
    *("latitude", "longitude"),
)
INSERT = f"INSERT INTO documents ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
UPDATE = f"UPDATE documents SET {', '.join(f'{column} = ?' for column in COLUMNS)} WHERE row = ?"
INSERT_FACET = "INSERT INTO facets (field, value, shown, documents, first, last) VALUES (?, ?, ?, 0, ?, ?)"
COUNT_ADDED = """
    UPDATE facets SET documents = documents + ?2, first = min(first, ?3), last = max(last, ?4) WHERE id = ?1
"""
DELETE_EMPTY = f"""
    DELETE FROM segments WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM documents WHERE row BETWEEN ?1 << {SEGMENT_BITS} AND (?1 + 1 << {SEGMENT_BITS}) - 1)
"""
TABLES = ("document_facets", "vectors", "bodies", "documents")


class Writer:
    """Writes batches; remembers the ids of values from one to the next, which saves a tenth of the time."""

    def __init__(self) -> None:
        self._ids: dict[tuple[str, str], int] = {}
        self._state: tuple[sqlite3.Connection | None, int] = (None, 0)

    def write(self, connection: sqlite3.Connection, changes: Sequence[Rows | str]) -> None:
        """Put documents, or delete them by id; of several changes of an id the last one holds."""
        # The version changes when another process writes; a transaction that fails closes its connection.
        # https://www.sqlite.org/pragma.html#pragma_data_version
        state = (connection, connection.execute("PRAGMA data_version").fetchone()[0])
        if state != self._state or len(self._ids) > MAX_IDS:
            self._ids, self._state = {}, state
        batch = Batch(connection, self._ids)
        last = {change if isinstance(change, str) else change.id: change for change in changes}
        for change in last.values():
            if isinstance(change, str):
                batch.delete(change)
            else:
                batch.put(change)
        batch.close()


class Batch:
    """The changes of one transaction. No document may be changed twice; `close` writes the postings, in their order.

    `ids` are those of values, by field and text. The batch adds to them what holds once it is committed.
    """

    def __init__(self, connection: sqlite3.Connection, ids: dict[tuple[str, str], int]) -> None:
        self._connection = connection
        self._ids = ids
        self._added: list[tuple[int, int, int, float | None]] = []
        self._removed: list[tuple[int, int, int]] = []

    def put(self, rows: Rows) -> None:
        """Put a document."""
        run = self._connection.execute
        row = self._row(rows.id)
        if row is None:
            row = run(INSERT, rows.columns).lastrowid
            assert row is not None  # it was just inserted
            before: set[int] = set()
        else:
            run(UPDATE, (*rows.columns, row))
            run("DELETE FROM vectors WHERE row = ?", (row,))
            before = self._posted(row)
        run("INSERT OR REPLACE INTO bodies (row, body) VALUES (?, ?)", (row, rows.body))
        if rows.vector is not None:
            run("INSERT INTO vectors (row, vector) VALUES (?, ?)", (row, rows.vector))
        self.index(row, rows, before)

    def delete(self, id_: str) -> None:
        """Delete a document by its id, if there is one."""
        row = self._row(id_)
        if row is not None:
            self._removed += [(segment_of(row), facet, row) for facet in self._posted(row)]
            for table in TABLES:
                self._connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))

    def index(self, row: int, rows: Rows, before: AbstractSet[int] = frozenset()) -> None:
        """Index the values of a document, which had other ones before."""
        segment = segment_of(row)
        counted = [self._facet(name, shown, segment) for name, shown in rows.counted.items()]
        others = {self._facet(name, "", segment): score for name, score in rows.others.items()}
        after: dict[int, float | None] = {**dict.fromkeys(counted), **others}
        # A posting with a confidence is written again, as that may be another one.
        same = {facet for facet in before if facet in after and after[facet] is None}
        self._removed += [(segment, facet, row) for facet in before - same]
        self._added += [(segment, facet, row, score) for facet, score in after.items() if facet not in same]
        statement = "INSERT OR REPLACE INTO document_facets (row, counted, others) VALUES (?, ?, ?)"
        self._connection.execute(statement, (row, pack_ids(counted), pack_ids(others)))

    def close(self) -> None:
        """Write the postings and the counts, and delete values and segments that no document has any more."""
        many, added, removed = self._connection.executemany, sorted(self._added), sorted(self._removed)
        many("DELETE FROM postings WHERE segment = ? AND facet = ? AND row = ?", removed)
        many("INSERT INTO postings (segment, facet, row, score) VALUES (?, ?, ?, ?)", added)
        last = {facet: segment for segment, facet, _, _ in added}
        first = {facet: segment for segment, facet, _, _ in reversed(added)}
        counts = sorted(Counter(facet for _, facet, _, _ in added).items())
        many(COUNT_ADDED, [(facet, count, first[facet], last[facet]) for facet, count in counts])
        many("INSERT OR IGNORE INTO segments (id) VALUES (?)", [(id_,) for id_ in {segment for segment, *_ in added}])
        counts = sorted(Counter(facet for _, facet, _ in removed).items())
        many("UPDATE facets SET documents = documents - ?2 WHERE id = ?1", counts)
        many(DELETE_EMPTY, [(segment,) for segment in {segment for segment, _, _ in removed}])
        if many("DELETE FROM facets WHERE id = ? AND documents = 0", [(facet,) for facet, _ in counts]).rowcount > 0:
            self._ids.clear()

    def _row(self, id_: str) -> int | None:
        first = self._connection.execute("SELECT row FROM documents WHERE id = ?", (id_,)).fetchone()
        return int(first[0]) if first else None

    def _posted(self, row: int) -> set[int]:
        """The values that a document has."""
        statement = "SELECT counted, others FROM document_facets WHERE row = ?"
        return set(unpack_ids(b"".join(self._connection.execute(statement, (row,)).fetchone())))

    def _facet(self, name: tuple[str, str], shown: str, segment: int) -> int:
        """The id of a value; one that is new is first in this segment."""
        id_ = self._ids.get(name)
        if id_ is None:
            run = self._connection.execute
            columns = run("SELECT id FROM facets WHERE field = ? AND value = ?", name).fetchone()
            id_ = columns[0] if columns else run(INSERT_FACET, (*name, shown, segment, segment)).lastrowid
            assert id_ is not None  # it was just inserted
            self._ids[name] = id_
        return id_
