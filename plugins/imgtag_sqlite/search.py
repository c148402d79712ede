"""Searches and look-ups, each within one transaction."""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from imgtag.plugin import (
    Condition,
    Document,
    Page,
    Scope,
    SearchRequest,
    Similar,
    SimilarRequest,
    vector_of,
)
from imgtag_sqlite.filters import after, condition
from imgtag_sqlite.schema import SEGMENT_BITS, unpack_ids

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_PARAMETERS = 500  # of one statement
MAX_FACET_VALUES = 2000  # of one field, the most frequent
FACET_BATCH = 500
VECTOR_BATCH = 10_000

WALKED_SHARE = 1 / 4
"""Of all documents. Walking past a document costs half of what sorting a hit does."""
IS_HIT = "EXISTS (SELECT 1 FROM temp.hits AS hits WHERE hits.row = documents.row)"

SCORE = f"""
    SELECT score FROM postings WHERE segment = documents.row >> {SEGMENT_BITS} AND row = documents.row
    AND facet = (SELECT id FROM facets WHERE field = 'scores' AND value = ?)
"""
IN_SCOPE = "site = ?1 AND bucket = ?2 AND key >= ?3 AND (?4 = '' OR key < ?4)"


def index_id(connection: sqlite3.Connection) -> str:
    """Return the id of this index."""
    return str(connection.execute("SELECT id FROM index_id").fetchone()[0])


def search(connection: sqlite3.Connection, request: SearchRequest) -> Page:
    """Return the hits of a search."""
    total = _collect_hits(connection, request.query.condition)
    share = total / max(1, connection.execute("SELECT count(*) FROM documents").fetchone()[0])
    rows = _order(connection, request, share)
    return Page(hits=_bodies(connection, rows), total=total, facets=_count_values(connection, request.facets, share))


def similar(connection: sqlite3.Connection, request: SimilarRequest) -> list[Similar]:
    """Return the documents that look most like another: its vector is compared with each of its space."""
    asked = get(connection, [request.id]).get(request.id)
    _collect_hits(connection, request.among(asked))
    connection.execute("DELETE FROM temp.hits WHERE row = (SELECT row FROM documents WHERE id = ?)", (request.id,))
    import numpy as np  # noqa: PLC0415  (it takes a tenth of a second and 20 MB, and nothing else here needs it)

    rows, cosines = _cosines(connection, np.array(asked and vector_of(asked), np.float32))
    best = np.argsort(-cosines, kind="stable")[: max(request.limit, 0)]
    bodies = _bodies(connection, rows[best].tolist())
    return [Similar(body, cosine) for body, cosine in zip(bodies, cosines[best].tolist(), strict=True)]


def get(connection: sqlite3.Connection, ids: Sequence[str], fields: Sequence[str] = ()) -> dict[str, Document]:
    """Return the documents of these ids, or these fields of them; absent ones are left out."""
    documents: dict[str, Document] = {}
    # SQLite finds a few fields in half the time that it takes to decode the whole, and without holding the interpreter.
    body = f"json_extract(body, '$.id', {_marks(fields)})" if fields else "body"
    paths = [f'$."{field}"' for field in fields]
    for start in range(0, len(ids), MAX_PARAMETERS):
        part = ids[start : start + MAX_PARAMETERS]
        statement = f"SELECT id, {body} FROM documents JOIN bodies USING (row) WHERE id IN ({_marks(part)})"
        for id_, text in connection.execute(statement, (*paths, *part)):
            found = json.loads(text)
            if fields:
                found = {name: value for name, value in zip(fields, found[1:], strict=True) if value is not None}
            documents[id_] = found
    return documents


def page(connection: sqlite3.Connection, site: str, scope: Scope, last: str, size: int) -> list[Document]:
    """Return documents of a site and scope in the order of their keys, from after the key `last`."""
    statement = f"""
        SELECT body FROM documents JOIN bodies USING (row)
        WHERE {IN_SCOPE} AND key != ?5 ORDER BY key LIMIT ?6
    """
    rows = connection.execute(statement, (*_scope(site, scope, last), last, size))
    return [json.loads(body) for (body,) in rows]


def count(connection: sqlite3.Connection, site: str, scope: Scope) -> int:
    """Return how many documents a site and scope have."""
    rows = connection.execute(f"SELECT count(*) FROM documents WHERE {IN_SCOPE}", _scope(site, scope, ""))
    return int(rows.fetchone()[0])


def known(connection: sqlite3.Connection, texts: Sequence[str]) -> frozenset[str]:
    """Return those of the texts that are a term or a word of some document."""
    statement = "SELECT 1 FROM facets WHERE field IN ('terms', 'words') AND value = ?"
    return frozenset(text for text in texts if connection.execute(statement, (text,)).fetchone())


def suggest(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Return the terms with this prefix, those of most documents first."""
    statement = """
        SELECT value FROM facets WHERE field = 'terms' AND value >= ?1 AND (?2 = '' OR value < ?2)
        ORDER BY documents DESC, value LIMIT ?3
    """
    return [value for (value,) in connection.execute(statement, (prefix, after(prefix), max(limit, 0)))]


def _collect_hits(connection: sqlite3.Connection, wanted: Condition) -> int:
    """Put the rows for which a condition holds into `temp.hits`; returns how many there are."""
    where = condition(wanted)
    connection.execute("DELETE FROM temp.hits")
    insert = f"INSERT INTO temp.hits SELECT row FROM documents WHERE {where.text}"
    return connection.execute(insert, where.parameters).rowcount


def _cosines(connection: sqlite3.Connection, vector: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Rows of `temp.hits` that have a vector, and the cosines of theirs and this one."""
    import numpy as np  # noqa: PLC0415

    rows, cosines = [np.empty(0, np.int64)], [np.empty(0)]
    statement = "SELECT hits.row, vector FROM temp.hits AS hits CROSS JOIN vectors ON vectors.row = hits.row"
    cursor = connection.execute(statement)
    while part := cursor.fetchmany(VECTOR_BATCH):
        others = np.frombuffer(b"".join(blob for _, blob in part), np.int8).reshape(len(part), -1).astype(np.float32)
        sizes = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
        rows.append(np.array([row for row, _ in part]))
        cosines.append(
            (others @ vector) / np.maximum(sizes, 1)
        )  # whole numbers: only the zero vector has a norm below 1
    return np.concatenate(rows), np.concatenate(cosines)


def _order(connection: sqlite3.Connection, request: SearchRequest, share: float) -> list[int]:
    ranking, limit, offset = request.query.ranking, max(request.limit, 0), max(request.offset, 0)
    if share >= WALKED_SHARE and not ranking:
        # The newest documents by their index, until there are enough hits, instead of sorting all hits.
        source = f"documents WHERE {IS_HIT}"
    else:
        # CROSS JOIN keeps the order of the tables, which the planner would otherwise choose without knowing how many
        # hits there are: https://www.sqlite.org/optoverview.html#crossjoin
        source = "temp.hits AS hits CROSS JOIN documents ON documents.row = hits.row"
    statement = f"""
        SELECT documents.row FROM {source}
        ORDER BY {f"({SCORE}) DESC, " * len(ranking)}"when" DESC, key, bucket, site LIMIT ? OFFSET ?
    """
    return [row for (row,) in connection.execute(statement, (*ranking, limit, offset))]


def _bodies(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Document]:
    documents: dict[int, Document] = {}
    for start in range(0, len(rows), MAX_PARAMETERS):
        part = rows[start : start + MAX_PARAMETERS]
        statement = f"SELECT row, body FROM bodies WHERE row IN ({_marks(part)})"
        documents |= {row: json.loads(body) for row, body in connection.execute(statement, part)}
    return [documents[row] for row in rows]


def _count_values(connection: sqlite3.Connection, fields: Sequence[str], share: float) -> dict[str, dict[str, int]]:
    """How many hits have each value, which the index knows for all documents: the smaller part is counted."""
    counts: dict[str, dict[str, int]] = {field: {} for field in fields}
    if fields:
        source = f"documents WHERE NOT {IS_HIT}" if share > 1 / 2 else "temp.hits"
        statement = f"SELECT counted FROM (SELECT row FROM {source}) CROSS JOIN document_facets USING (row)"
        counted: Counter[int] = Counter()
        cursor = connection.execute(statement)
        while part := cursor.fetchmany(FACET_BATCH):
            counted.update(unpack_ids(b"".join(blob for (blob,) in part)))
        statement = f"""
            SELECT id, field, value, shown, documents FROM facets WHERE field IN ({_marks(fields)}) AND shown != ''
        """  # what is not counted has nothing to show
        values = [
            (counted[id_] - documents if share > 1 / 2 else -counted[id_], value, field, shown)
            for id_, field, value, shown, documents in connection.execute(statement, fields)
        ]
        for negative, _, field, shown in sorted(values):
            if negative and len(counts[field]) < MAX_FACET_VALUES:
                counts[field][shown] = -negative
    return counts


def _scope(site: str, scope: Scope, last: str) -> tuple[str, ...]:
    return site, scope.bucket, max(scope.prefix, last), after(scope.prefix)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
