"""Questions asked of the tables, within a transaction."""

# ruff: noqa: S608  # the parts of these statements are names from schema.py; every value is a bound parameter

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgtag.plugin.indexer import Page, SearchRequest, Similar, SimilarRequest, vector_of
from imgtag.query import Condition, Query
from imgtag.types.document import Document
from imgtag.types.folding import fold
from imgtag.types.ref import Scope
from imgtag_sqlite import token
from imgtag_sqlite.sql import after, condition

MANY = 500  # parameters of one statement
FACET_VALUES = 2000  # of one field, the most frequent
COMPARED = 10_000  # vectors at a time

IN_SCOPE = "site = ?1 AND bucket = ?2 AND key >= ?3 AND (?4 = '' OR key < ?4)"
FROM_HITS = "temp.hits AS hits CROSS JOIN postings ON postings.row = hits.row CROSS JOIN facets ON facets.id = facet"
FROM_FACETS = "facets CROSS JOIN postings ON facet = facets.id CROSS JOIN temp.hits AS hits ON hits.row = postings.row"


def search(connection: sqlite3.Connection, request: SearchRequest) -> Page:
    """Answer a search."""
    total = _hit(connection, request.query.condition)
    rows = _ordered(connection, request.query, request.limit, request.offset)
    return Page(hits=_bodies(connection, rows), total=total, facets=_counts(connection, request.facets, total))


def similar(connection: sqlite3.Connection, request: SimilarRequest) -> list[Similar]:
    """Answer what looks like a document: its vector is compared with each that may be."""
    asked = get(connection, [request.id]).get(request.id)
    _hit(connection, request.among(asked))
    connection.execute("DELETE FROM temp.hits WHERE row = (SELECT row FROM documents WHERE id = ?)", (request.id,))
    rows, cosines = _compared(connection, np.array(asked and vector_of(asked), np.float32))
    best = np.argsort(-cosines, kind="stable")[: max(request.limit, 0)]
    bodies = _bodies(connection, rows[best].tolist())
    return [Similar(body, each) for body, each in zip(bodies, cosines[best].tolist(), strict=True)]


def get(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Document]:
    """Return the documents of these ids; absent ones are left out."""
    found: dict[str, Document] = {}
    for start in range(0, len(ids), MANY):
        part = ids[start : start + MANY]
        statement = f"SELECT id, body FROM documents JOIN bodies USING (row) WHERE id IN ({_marks(part)})"
        found |= {id_: json.loads(body) for id_, body in connection.execute(statement, part)}
    return found


def page(connection: sqlite3.Connection, site: str, scope: Scope, last: str, size: int) -> list[Document]:
    """Return documents of a site and scope in the order of their keys, from after the key `last`."""
    statement = f"""
        SELECT body FROM documents JOIN bodies USING (row)
        WHERE {IN_SCOPE} AND key != ?5 ORDER BY key LIMIT ?6
    """
    found = connection.execute(statement, (*_scope(site, scope, last), last, size))
    return [json.loads(body) for (body,) in found]


def count(connection: sqlite3.Connection, site: str, scope: Scope) -> int:
    """Return how many documents a site and scope have."""
    found = connection.execute(f"SELECT count(*) FROM documents WHERE {IN_SCOPE}", _scope(site, scope, ""))
    return int(found.fetchone()[0])


def known(connection: sqlite3.Connection, texts: Sequence[str]) -> frozenset[str]:
    """Return those of the texts that are a term or a word of some document."""
    statement = "SELECT 1 FROM vocabulary WHERE term = ? LIMIT 1"
    return frozenset(text for text in texts if connection.execute(statement, (token.hide(fold(text)),)).fetchone())


def suggest(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Return the terms that begin so, those of most documents first."""
    start = token.hide(fold(prefix))
    statement = """
        SELECT term FROM vocabulary WHERE term >= ? AND (? = '' OR term < ?) AND col = 'terms'
        ORDER BY doc DESC, term LIMIT ?
    """
    found = connection.execute(statement, (start, after(start), after(start), limit))
    return [token.show(term) for (term,) in found]


def _hit(connection: sqlite3.Connection, wanted: Condition) -> int:
    """Put the rows for which a condition holds into `temp.hits`; returns how many there are."""
    found = condition(wanted)
    connection.execute("DELETE FROM temp.hits")
    insert = f"INSERT INTO temp.hits SELECT row FROM documents WHERE {found.text}"
    return connection.execute(insert, found.parameters).rowcount


def _compared(connection: sqlite3.Connection, vector: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Rows of `temp.hits` that have a vector, and the cosines of theirs and this one."""
    rows, cosines = [np.empty(0, np.int64)], [np.empty(0)]
    statement = "SELECT hits.row, vector FROM temp.hits AS hits CROSS JOIN vectors ON vectors.row = hits.row"
    cursor = connection.execute(statement)
    while part := cursor.fetchmany(COMPARED):
        others = np.frombuffer(b"".join(blob for _, blob in part), np.int8).reshape(len(part), -1).astype(np.float32)
        sizes = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
        rows.append(np.array([row for row, _ in part]))
        cosines.append((others @ vector) / np.maximum(sizes, 1))  # of whole numbers: only nothing is less
    return np.concatenate(rows), np.concatenate(cosines)


def _ordered(connection: sqlite3.Connection, query: Query, limit: int, offset: int) -> list[int]:
    ranked = [f"score_{place}" for place in range(len(query.ranking))]
    joins = " ".join(f"LEFT JOIN scores AS {name} ON {name}.label = ? AND {name}.row = hits.row" for name in ranked)
    orders = ", ".join([f"{name}.score DESC" for name in ranked] + ['"when" DESC', "key", "bucket", "site"])
    statement = f"""
        SELECT hits.row FROM temp.hits AS hits CROSS JOIN documents ON documents.row = hits.row {joins}
        ORDER BY {orders} LIMIT ? OFFSET ?
    """
    return [row for (row,) in connection.execute(statement, (*query.ranking, max(limit, 0), max(offset, 0)))]


def _bodies(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Document]:
    found: dict[int, Document] = {}
    for start in range(0, len(rows), MANY):
        part = rows[start : start + MANY]
        statement = f"SELECT row, body FROM bodies WHERE row IN ({_marks(part)})"
        found |= {row: json.loads(body) for row, body in connection.execute(statement, part)}
    return [found[row] for row in rows]


def _counts(connection: sqlite3.Connection, fields: Sequence[str], total: int) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {field: {} for field in fields}
    rows = connection.execute("SELECT max(row) FROM documents").fetchone()[0] or 0
    statement = f"""
        SELECT field, shown, count(*) AS found FROM {FROM_HITS if 2 * total < rows else FROM_FACETS}
        WHERE field IN ({_marks(fields)}) GROUP BY facet ORDER BY found DESC, value
    """
    for field, shown, found in connection.execute(statement, fields) if fields else ():
        if len(counts[field]) < FACET_VALUES:
            counts[field][shown] = found
    return counts


def _scope(site: str, scope: Scope, last: str) -> tuple[str, ...]:
    return site, scope.bucket, max(scope.prefix, last), after(scope.prefix)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
