"""Indexes of older formats, as the releases that had them left them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from imgtag_sqlite.document import split_document
from imgtag_sqlite.schema import APPLICATION, DOCUMENTS, INDEX_ID, VECTORS
from imgtag_sqlite.writer import INSERT

BY_LATITUDE = "CREATE INDEX documents_by_latitude ON documents (latitude) WHERE latitude IS NOT NULL"
FORMAT_1 = (
    BY_LATITUDE,
    "CREATE VIRTUAL TABLE texts USING fts5 (terms, words, tokenize = 'ascii', detail = 'column', columnsize = 0)",
    "CREATE VIRTUAL TABLE vocabulary USING fts5vocab (texts, 'col')",
    "CREATE TABLE facets (id INTEGER PRIMARY KEY, field TEXT, value TEXT, shown TEXT, UNIQUE (field, value))",
    "CREATE TABLE postings (facet INTEGER, row INTEGER, PRIMARY KEY (facet, row)) WITHOUT ROWID",
    "CREATE INDEX postings_by_row ON postings (row)",
    "CREATE TABLE scores (label TEXT, row INTEGER, score REAL, PRIMARY KEY (label, row)) WITHOUT ROWID",
    "CREATE INDEX scores_by_row ON scores (row)",
    "INSERT INTO texts (rowid, terms, words) VALUES (1, 'fox', 'zoo')",
    "INSERT INTO facets (id, field, value, shown) VALUES (1, 'camera', 'x', 'X')",
    "INSERT INTO postings (facet, row) VALUES (1, 1)",
    "INSERT INTO scores (label, row, score) VALUES ('fox', 1, 0.5)",
)


def write_format_5(path: Path) -> None:
    """Turn an index of the present format into one of format 5, which had latitudes in an index of their own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP INDEX documents_by_place")
        connection.execute(BY_LATITUDE)
        connection.execute("PRAGMA user_version = 5")


def write_index(path: Path, world: list[dict[str, Any]], version: int = 3) -> None:
    """Write the index of these documents in a format."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        for statement in (*DOCUMENTS, *FORMAT_1, *VECTORS * (version > 1), *INDEX_ID * (version > 2)):
            connection.execute(statement)
        for document in world:
            rows = split_document(document)
            row = connection.execute(INSERT, rows.columns).lastrowid
            connection.execute("INSERT INTO bodies (row, body) VALUES (?, ?)", (row, rows.body))
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
