"""Documents sorted by key, on disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any


class Spool:
    """A table in a temporary file, which SQLite makes and removes, so that memory does not grow with the index.

    The server sorts texts by at most 468 bytes and ignores case; here keys are in the order of all their bytes.
    For threads, one at a time.
    """

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, key BLOB, body TEXT) WITHOUT ROWID")

    def add(self, documents: Iterable[tuple[Mapping[str, Any], bool]]) -> None:
        """Add documents; of those that are not wanted only the id is kept."""
        rows = [
            (document["id"], document["key"].encode() if wanted else None, json.dumps(document) if wanted else None)
            for document, wanted in documents
        ]
        self._table.execute("BEGIN")
        self._table.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", rows)
        self._table.execute("COMMIT")

    def count(self) -> int:
        """How many documents are wanted."""
        return int(self._table.execute("SELECT count(key) FROM seen").fetchone()[0])

    def sorted(self) -> sqlite3.Cursor:
        """The wanted documents in order, to be read with `page`."""
        return self._table.execute("SELECT body FROM seen WHERE key IS NOT NULL ORDER BY key")

    def __contains__(self, id_: object) -> bool:
        return self._table.execute("SELECT 1 FROM seen WHERE id = ?", (id_,)).fetchone() is not None

    @staticmethod
    def page(rows: sqlite3.Cursor, size: int) -> list[dict[str, Any]]:
        """The next documents, at most ``size``."""
        return [json.loads(body) for (body,) in rows.fetchmany(size)]

    def close(self) -> None:
        """Remove the file."""
        self._table.close()
