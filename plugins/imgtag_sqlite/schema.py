"""The tables of an index.

`documents` has one row per object with the columns that are compared directly; the whole documents are in `bodies`,
a table of their own, so that reading through `documents` stays quick. `texts` holds terms and words; `facets` and
`postings` hold every other value and the rows that have it; `scores` the confidences; `vectors` int8 values, all of
which a similarity search compares.
"""

from __future__ import annotations

APPLICATION = 0x696D6774  # "imgt"

NUMBERS = ("when", "taken", "modified", "labelled", "size", "width", "height", "top_confidence")
FACETS = (
    "site",
    "bucket",
    "prefixes",
    "labels",
    "ancestors",
    "top_label",
    "category",
    "type",
    "camera",
    "status",
    "code",
    "model",
    "rules",
    "space",
    "when_day",
    "when_month",
)

TABLES = (
    f"""
    CREATE TABLE documents (
        row INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        site TEXT NOT NULL,
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        compared_key TEXT NOT NULL,
        title TEXT NOT NULL,
        status TEXT NOT NULL,
        {", ".join(f'"{number}" REAL' for number in NUMBERS)},
        latitude REAL,
        longitude REAL
    )
    """,
    "CREATE INDEX documents_by_key ON documents (site, bucket, key)",
    "CREATE INDEX documents_by_compared_key ON documents (compared_key)",
    "CREATE INDEX documents_by_title ON documents (title)",
    'CREATE INDEX documents_by_time ON documents ("when")',
    "CREATE INDEX documents_by_latitude ON documents (latitude) WHERE latitude IS NOT NULL",
    "CREATE TABLE bodies (row INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE VIRTUAL TABLE texts USING fts5 (terms, words, tokenize = 'ascii', detail = 'column', columnsize = 0)",
    "CREATE VIRTUAL TABLE vocabulary USING fts5vocab (texts, 'col')",
    """
    CREATE TABLE facets (
        id INTEGER PRIMARY KEY,
        field TEXT NOT NULL,
        value TEXT NOT NULL,
        shown TEXT NOT NULL,
        UNIQUE (field, value)
    )
    """,
    "CREATE TABLE postings (facet INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (facet, row)) WITHOUT ROWID",
    "CREATE INDEX postings_by_row ON postings (row)",
    """
    CREATE TABLE scores (
        label TEXT NOT NULL,
        row INTEGER NOT NULL,
        score REAL NOT NULL,
        PRIMARY KEY (label, row)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX scores_by_row ON scores (row)",
)
VECTORS = ("CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL)",)
INDEX_ID = (
    "CREATE TABLE index_id (id TEXT NOT NULL)",
    "INSERT INTO index_id (id) VALUES (lower(hex(randomblob(16))))",
)
VERSIONS = (TABLES, VECTORS, INDEX_ID)
"""What each format adds to the one before; an older index is brought up to date by what it lacks."""
VERSION = len(VERSIONS)
