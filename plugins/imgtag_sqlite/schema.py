"""The tables of an index.

`documents` has a row per object with what is compared directly, `bodies` the documents themselves,
apart from it so that reading through it stays quick. `texts` holds terms and words; `facets` and
`postings` every other value and where it is found; `scores` the confidences; `vectors` int8 values, compared in full.
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
ADDED = (TABLES, VECTORS)
"""What each version has more than the one before; how tables are filled has not changed in between."""
VERSION = len(ADDED)
