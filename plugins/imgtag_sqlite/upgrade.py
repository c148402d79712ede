"""The documents of an index whose format is older are indexed again.

That is done a part at a time, before anything else reads or writes, and each part is durable: a process that is killed
meanwhile goes on where it stopped, and processes that start together share the work.
"""

from __future__ import annotations

import json
import sqlite3

from imgtag.errors import DocumentError
from imgtag_sqlite.document import Rows, split_document
from imgtag_sqlite.writer import Batch

PART = 1_000  # documents, within a second or two
NOTHING = Rows(id="", columns=(), body="", counted={}, others={}, vector=None)


def missing(connection: sqlite3.Connection) -> int:
    """About how many documents are left to do."""
    greatest = "SELECT coalesce(max(row), 0) FROM"
    return int(connection.execute(f"SELECT ({greatest} documents) - ({greatest} document_facets)").fetchone()[0])


def index_part(connection: sqlite3.Connection) -> None:
    """Index the next documents in the order of their rows, as they are in `bodies`."""
    batch = Batch(connection, {})
    statement = """
        SELECT row, body FROM documents LEFT JOIN bodies USING (row)
        WHERE row > (SELECT coalesce(max(row), 0) FROM document_facets) ORDER BY row LIMIT ?
    """
    for row, body in connection.execute(statement, (PART,)).fetchall():
        try:
            rows = split_document(json.loads(body))
        except (DocumentError, TypeError, ValueError):
            rows = NOTHING  # it is found by its key until it is put again
        batch.index(row, rows)
    batch.close()
