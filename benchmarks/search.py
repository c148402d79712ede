"""How fast documents are indexed, and what typical searches take in a large index.

    python benchmarks/search.py [--documents 100000] [--rounds 30] [--folder FOLDER]

Both use the synthetic documents of `growth.py`. The indexers are `sqlite` and, where MEILISEARCH_URL (and
MEILISEARCH_KEY) are set, `meilisearch` with an index of its own, which is deleted afterwards. A search asks for 24 hits
and, unless it says otherwise, no facets. CPU time is this process's own, so it says nothing of a server.

With --folder, the SQLite index stays there and is not filled again by the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

sys.path.insert(0, str(Path(__file__).parent))

from growth import document
from pipeline import CORES, model_name

from imgtag.plugin import Indexer, PluginContext, Scope, SearchRequest, SimilarRequest, Upsert
from imgtag.query import parse
from imgtag_meilisearch.indexer import MeilisearchIndexer
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings

BATCH = 1_000
HITS = 24
QUERIES = (
    "",
    "red",
    '"red label7"',
    "label7>0.5",
    "ancestor3 -blue",
    "img* kit_label12",
    "after:2017-07-20 before:2017-07-22",
    "near:45,7,20km",
    'camera:"Camera 7" width>3000',
    "title:img_0001*",
    "prefix:album00042/",
)
FACETS = ("labels", "ancestors", "category", "camera", "type", "when_month")

Work = Callable[[], Awaitable[object]]


def reads(indexer: Indexer) -> Iterator[tuple[str, Work]]:
    """What is timed: a name, and a call."""

    async def scan() -> int:
        return len([found async for found in indexer.scan("local", Scope("photos", "album00042/"), fields=("etag",))])

    for text in QUERIES:
        yield f"`{text}`", lambda text=text: indexer.search(SearchRequest(query=parse(text), limit=HITS))
    for text in ("", "red", '"red label7"'):
        request = SearchRequest(query=parse(text), limit=HITS, facets=FACETS)
        yield f"`{text}`, {len(FACETS)} facets", lambda request=request: indexer.search(request)
    for text in ("", "prefix:album00042/"):
        like = SimilarRequest(id=document(42_000)["id"], query=parse(text), limit=HITS)
        yield f"`{text}`, similar", lambda like=like: indexer.similar(like)
    yield "get, 100 documents", lambda: indexer.get([document(number)["id"] for number in range(0, 1_000, 10)])
    yield "known, 3 words", lambda: indexer.known(["red", "label7", "nosuchword"])
    yield "suggest, `re`", lambda: indexer.suggest("re")
    yield "suggest, ``", lambda: indexer.suggest("")
    yield "count", lambda: indexer.count("local", Scope("photos"))
    yield "scan, 1,000 documents", scan


async def fill(indexer: Indexer, count: int) -> None:
    """Put the documents, and print how fast."""
    elapsed = cpu = 0.0
    for start in range(0, count, BATCH):
        changes = [Upsert(document(number)) for number in range(start, min(start + BATCH, count))]
        begun, used = time.perf_counter(), time.process_time()
        await indexer.apply(changes)
        elapsed += time.perf_counter() - begun
        cpu += time.process_time() - used
    print(f"{count / elapsed:,.0f} documents a second in batches of {BATCH:,}; CPU {1000 * cpu / count:.3f} ms each\n")


async def measure(indexer: Indexer, rounds: int) -> None:
    """Time each call; the first one of each is for warming up."""
    print("| call | p50 ms | p99 ms | CPU ms |\n|---|---|---|---|")
    for name, work in reads(indexer):
        await work()
        times, used = [], time.process_time()
        for _ in range(rounds):
            begun = time.perf_counter()
            await work()
            times.append(1000 * (time.perf_counter() - begun))
        cpu = 1000 * (time.process_time() - used) / rounds
        tail = statistics.quantiles(times, n=100, method="inclusive")[98]
        print(f"| {name} | {statistics.median(times):.1f} | {tail:.1f} | {cpu:.1f} |", flush=True)
    print()


async def run(count: int, rounds: int, folder: Path) -> None:
    context = PluginContext(site="local", state_dir=folder)
    print("## sqlite\n")
    async with SqliteIndexer(SqliteSettings(), context) as indexer:
        if await indexer.count("local", Scope("photos")) < count:
            await fill(indexer, count)
        await measure(indexer, rounds)
    if url := os.environ.get("MEILISEARCH_URL"):
        print("## meilisearch\n")
        name, key = f"imgtag-bench-{token_hex(6)}", os.environ.get("MEILISEARCH_KEY")
        settings = MeilisearchSettings(url=url, api_key=key, index=name)  # pyright: ignore[reportArgumentType]
        try:
            async with MeilisearchIndexer(settings, context) as indexer:
                await indexer.setup(apply=True)
                await fill(indexer, count)
                await measure(indexer, rounds)
        finally:
            import meilisearch

            with suppress(meilisearch.errors.MeilisearchError):
                meilisearch.Client(url, key).delete_index(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30, help="calls timed of each kind")
    parser.add_argument("--folder", type=Path, help="keep the SQLite index here")
    options = parser.parse_args()
    print(f"{platform.machine()}, {CORES} cores, {model_name()}, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="imgtag-bench-") as folder:
        asyncio.run(run(options.documents, options.rounds, options.folder or Path(folder)))


if __name__ == "__main__":
    main()
