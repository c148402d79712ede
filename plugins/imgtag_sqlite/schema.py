"""The tables of an index.

`documents` has one row per object with the columns that are compared directly; the whole documents are in `bodies`,
a table of their own, so that reading through `documents` stays quick. `facets` is the dictionary of all other values
(terms, words, labels with a confidence, and so on). `postings` says which rows have a value, and `document_facets`
which values a row has. `vectors` are int8 values, all of which a similarity search compares.

A document has some fifty postings. If they were ordered by value alone, each would lie on a page of its own in a large
index, and the transaction would write all these pages. So the rows are divided into segments of a thousand, and only
the pages of the last one change: the cost of a document hardly depends on how many there are. A search looks for a
value in each segment between the first and the last that have it, and for a place in each segment.

A table is found by its name, an index by its table alone: after a rebuild (see `rebuild`) indexes have other names.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import pack, unpack

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

DOCUMENTS = (
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
    "CREATE TABLE bodies (row INTEGER PRIMARY KEY, body TEXT NOT NULL)",
)
VECTORS = ("CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL)",)
INDEX_ID = (
    "CREATE TABLE index_id (id TEXT NOT NULL)",
    "INSERT INTO index_id (id) VALUES (lower(hex(randomblob(16))))",
)
SEGMENT_BITS = 10  # of a row, below the number of its segment
# CROSS JOIN keeps the order of the tables: https://www.sqlite.org/optoverview.html#crossjoin
POSTED = """
    CREATE VIEW posted AS SELECT facets.id AS facet, field, value, row, score FROM facets
        CROSS JOIN segments ON segments.id BETWEEN first AND last
        CROSS JOIN postings ON segment = segments.id AND facet = facets.id
"""
FACETS_AND_POSTINGS = (
    *(f"DROP TABLE IF EXISTS {table}" for table in ("vocabulary", "texts", "facets", "postings", "scores")),
    """
    CREATE TABLE facets (
        id INTEGER PRIMARY KEY,
        field TEXT NOT NULL,
        value TEXT NOT NULL,
        shown TEXT NOT NULL,
        documents INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        UNIQUE (field, value)
    )
    """,
    "CREATE TABLE segments (id INTEGER PRIMARY KEY)",
    """
    CREATE TABLE postings (
        segment INTEGER NOT NULL,
        facet INTEGER NOT NULL,
        row INTEGER NOT NULL,
        score REAL,
        PRIMARY KEY (segment, facet, row)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE document_facets (row INTEGER PRIMARY KEY, counted BLOB NOT NULL, others BLOB NOT NULL)",
    POSTED,
)
PLACES = (
    "DROP INDEX IF EXISTS documents_by_latitude",
    # By segment, as postings are: each document would change a page of its own in an index of latitudes alone.
    f"CREATE INDEX documents_by_place ON documents (row >> {SEGMENT_BITS}, latitude) WHERE latitude IS NOT NULL",
)
VERSIONS = (DOCUMENTS, VECTORS, INDEX_ID, FACETS_AND_POSTINGS, (), PLACES)
"""What each format adds to the one before; an older index is brought up to date by what it lacks.

Format 5 added nothing: it says that all documents are in the tables of format 4.
"""
VERSION = len(VERSIONS) + 1
"""The format where all documents are in these tables, see `upgrade`."""


def segment_of(row: int) -> int:
    """Return the segment of a row."""
    return row >> SEGMENT_BITS


def pack_ids(ids: Collection[int]) -> bytes:
    """Write ids of facets as a column of `document_facets`: 4 bytes each, little-endian."""
    return pack(f"<{len(ids)}I", *ids)


def unpack_ids(blob: bytes) -> tuple[int, ...]:
    """Read what `pack_ids` wrote, also several columns one after another."""
    return unpack(f"<{len(blob) // 4}I", blob)
