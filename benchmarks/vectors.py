"""How long an index takes to find similar pictures, and how the alternatives compare.

    python benchmarks/vectors.py [--count N]

indexer     the bundled SQLite indexer, all of it: condition, cosines, documents
numpy       blobs read from a table and compared with numpy, which is what the indexer does
function    the SQL function of sqlite-vec on the same blobs
vec0        the virtual table of sqlite-vec, which has a copy of them

sqlite-vec is not a dependency: install it with `pip install sqlite-vec`, in a Python whose SQLite loads extensions.
Medians of some runs, one thread.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import nan
from pathlib import Path

import numpy as np

from imgtag.plugin.indexer import SimilarRequest, Upsert
from imgtag.plugin.spec import PluginContext
from imgtag.query import parse
from imgtag.testing.conformance.corpus import document
from imgtag.types.vector import LENGTH, Vector
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings

RUNS = 7
BATCH = 1_000
WANTED = 20


def vectors(count: int) -> np.ndarray:
    """Like those of pictures: of a few hundred kinds, with a spread."""
    random = np.random.default_rng(1)
    kinds = random.normal(size=(500, LENGTH))
    real = kinds[random.integers(500, size=count)] + random.normal(size=(count, LENGTH)) * 0.7
    return np.rint(real * 127 / np.abs(real).max(axis=1, keepdims=True)).astype(np.int8)


def median(work: Callable[[], object]) -> float:
    """Milliseconds; the first run is for warming up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times[1:])


async def indexed(folder: Path, values: np.ndarray) -> list[tuple[str, float]]:
    context = PluginContext(site="home", state_dir=folder)
    async with SqliteIndexer(SqliteSettings(), context) as indexer:
        for start in range(0, len(values), BATCH):
            part = values[start : start + BATCH]
            numbered = enumerate(part, start)
            made = [document(f"{n:07}.jpg", {"owl": 0.5}, vec=Vector("svd1", row.tobytes())) for n, row in numbered]
            await indexer.apply([Upsert(document) for document in made])
        found = []
        for text in ("", "prefix:00000", "owl"):
            request = SimilarRequest(id=made[-1]["id"], query=parse(text), limit=WANTED)
            times = []
            for _ in range(RUNS + 1):
                start = time.perf_counter()
                await indexer.similar(request)
                times.append((time.perf_counter() - start) * 1000)
            found.append((f"indexer, query `{text}`", statistics.median(times[1:])))
        return found


def by_numpy(connection: sqlite3.Connection, query: np.ndarray) -> list[int]:
    rows, cosines = [], []
    cursor = connection.execute("SELECT row, vector FROM vectors")
    while part := cursor.fetchmany(10_000):
        others = np.frombuffer(b"".join(blob for _, blob in part), np.int8).reshape(-1, LENGTH).astype(np.float32)
        rows += [row for row, _ in part]
        cosines.append((others @ query) / np.linalg.norm(others, axis=1))
    return [rows[place] for place in np.argsort(-np.concatenate(cosines))[:WANTED]]


def alone(values: np.ndarray) -> Iterator[tuple[str, float]]:
    query = values[-1]
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL)")
    connection.executemany("INSERT INTO vectors VALUES (?, ?)", [(n, row.tobytes()) for n, row in enumerate(values)])
    right = by_numpy(connection, query.astype(np.float32))
    yield "numpy", median(lambda: by_numpy(connection, query.astype(np.float32)))
    if not hasattr(connection, "enable_load_extension") or find_spec("sqlite_vec") is None:
        yield "sqlite-vec: not installed, or this Python loads no extensions", nan
        return
    import sqlite_vec

    connection.enable_load_extension(True)  # noqa: FBT003
    sqlite_vec.load(connection)
    function = """
        SELECT row FROM vectors ORDER BY vec_distance_cosine(vec_int8(vector), vec_int8(?)) LIMIT ?
    """
    ask = lambda: [row for (row,) in connection.execute(function, (query.tobytes(), WANTED))]  # noqa: E731
    agreeing = len({*ask()} & {*right})
    yield f"function ({agreeing} of {WANTED} the same)", median(ask)
    connection.execute(f"CREATE VIRTUAL TABLE near USING vec0 (vector int8[{LENGTH}] distance_metric=cosine)")
    connection.execute("INSERT INTO near (rowid, vector) SELECT row, vec_int8(vector) FROM vectors")
    table = "SELECT rowid FROM near WHERE vector MATCH vec_int8(?) AND k = ? ORDER BY distance"
    ask = lambda: [row for (row,) in connection.execute(table, (query.tobytes(), WANTED))]  # noqa: E731
    agreeing = len({*ask()} & {*right})
    yield f"vec0 ({agreeing} of {WANTED} the same)", median(ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    values = vectors(options.count)
    print(f"{options.count} vectors, the nearest {WANTED}\n\n| way | ms |\n|---|---|")
    for name, milliseconds in alone(values):
        print(f"| {name} | {milliseconds:.0f} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, milliseconds in asyncio.run(indexed(Path(folder), values)):
            print(f"| {name} | {milliseconds:.0f} |")


if __name__ == "__main__":
    main()
