"""How fast documents are indexed, and what typical searches take in a large index.

    python benchmarks/search.py [--documents 100000] [--rounds 30] [--folder FOLDER] [--page]

Both use the synthetic documents of `growth.py`. The indexers are `sqlite` and, where MEILISEARCH_URL (and
MEILISEARCH_KEY) are set, `meilisearch` with an index of its own, which is deleted afterwards. A search asks for 24 hits
and, unless it says otherwise, no facets. CPU time is this process's own, so it says nothing of a server.

With --folder, the SQLite index stays there and is not filled again by the next run. With --page, the search page over
that index is opened in Chromium, by a listener of its own: how long until the first picture has its place, and how many
thumbnails of 1600x1200 a second. The newest documents have a real image for that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from secrets import token_hex

sys.path.insert(0, str(Path(__file__).parent))

import anyio
import numpy as np
import psutil
import urllib3
from growth import document
from PIL import Image
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

PICTURES = 400
"""Documents with a real image."""
LOADS = 5
LOAD_PAUSE = 5.0
"""Seconds between two openings of the page, which is a client whose requests are limited."""
AT_ONCE = 8
"""Thumbnails that are asked for at once."""
CONFIG = """\
[store.directory]
root = "{folder}/photos"
[state]
dir = "{folder}"
[web]
listen = "127.0.0.1:0"
"""
FIRST_TILE = """
new MutationObserver(() => {
  if (!window.firstTile && document.querySelector('.tile')) window.firstTile = performance.now();
}).observe(document, { childList: true, subtree: true });
"""

Work = Callable[[], Awaitable[object]]


def reads(indexer: Indexer, count: int) -> Iterator[tuple[str, Work]]:
    """What is timed: a name, and a call."""

    async def scan() -> int:
        return len([found async for found in indexer.scan("local", Scope("photos", "album00042/"), fields=("etag",))])

    for text in QUERIES:
        yield f"`{text}`", lambda text=text: indexer.search(SearchRequest(query=parse(text), limit=HITS))
    for text in ("", "red", '"red label7"'):
        request = SearchRequest(query=parse(text), limit=HITS, facets=FACETS)
        yield f"`{text}`, {len(FACETS)} facets", lambda request=request: indexer.search(request)
    for text in ("", "prefix:album00042/"):
        like = SimilarRequest(id=document(min(42_000, count - 1))["id"], query=parse(text), limit=HITS)
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


async def measure(indexer: Indexer, count: int, rounds: int) -> None:
    """Time each call; the first one of each is for warming up."""
    print("| call | p50 ms | p99 ms | CPU ms |\n|---|---|---|---|")
    for name, work in reads(indexer, count):
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


def print_sizes(folder: Path) -> None:
    """Print what the SQLite index takes on the disk, and this process of the memory."""
    size = sum(file.stat().st_size for file in folder.glob("*.sqlite*"))
    memory = psutil.Process().memory_info().rss
    print(f"index: {size / 1e6:,.0f} MB on disk; memory of this process: {memory / 1e6:,.0f} MB\n")


async def run(count: int, rounds: int, folder: Path) -> None:
    context = PluginContext(site="local", state_dir=folder)
    print("## sqlite\n")
    async with SqliteIndexer(SqliteSettings(), context) as indexer:
        if await indexer.count("local", Scope("photos")) < count:
            await fill(indexer, count)
        await measure(indexer, count, rounds)
    await anyio.to_thread.run_sync(print_sizes, folder)
    if url := os.environ.get("MEILISEARCH_URL"):
        print("## meilisearch\n")
        name, key = f"imgtag-bench-{token_hex(6)}", os.environ.get("MEILISEARCH_KEY")
        settings = MeilisearchSettings(url=url, api_key=key, index=name)  # pyright: ignore[reportArgumentType]
        try:
            async with MeilisearchIndexer(settings, context) as indexer:
                await indexer.setup(apply=True)
                await fill(indexer, count)
                await measure(indexer, count, rounds)
        finally:
            import meilisearch

            with suppress(meilisearch.errors.MeilisearchError):
                meilisearch.Client(url, key).delete_index(name)


def make_pictures(folder: Path, count: int) -> list[str]:
    """Put images where the newest documents say that there are some; returns the ids of these documents."""
    noise = np.random.default_rng(1).normal(0, 12, (1200, 1600, 3))
    slope = np.linspace(0, 200, 1600)[None, :, None]
    newest = [document(number) for number in range(max(0, count - PICTURES), count)]
    for place, fields in enumerate(newest):
        path = folder / "photos" / fields["key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(slope + noise + place % 50, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=70)
    return [fields["id"] for fields in newest]


async def serve(folder: Path) -> None:
    """Serve the page over the index in a folder, and print the port."""
    from imgtag.assembly import make_pool
    from imgtag.config.load import load
    from imgtag.models.resolver import ModelResolver
    from imgtag.ops.health import Health
    from imgtag.ops.metrics import Metrics
    from imgtag.web.application import serve_web
    from imgtag.web.arrivals import Arrivals
    from imgtag.workers.generations import ModelGenerations

    config = load(folder / "imgtag.toml")
    async with (
        ModelGenerations(lambda models, known: make_pool(config, None, models, known)) as generations,
        anyio.create_task_group() as tasks,
    ):
        await generations.replace({"": ModelResolver(config).resolve()})
        listen = partial(serve_web, config, lambda: generations.models, Arrivals(), metrics=Metrics(), health=Health())
        print(await tasks.start(listen), flush=True)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """A listener in a process of its own, and its port."""
    (folder / "imgtag.toml").write_text(CONFIG.format(folder=folder))
    command = [sys.executable, __file__, "--serve", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield psutil.Process(process.pid), int(process.stdout.readline())
        finally:
            process.terminate()


def measure_page(folder: Path, count: int) -> None:
    """Open the page a few times, then ask for thumbnails as fast as they come."""
    from playwright.sync_api import sync_playwright

    ids = make_pictures(folder, count)
    with serving(folder) as (process, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        times = []
        for _ in range(LOADS):
            page = browser.new_page()
            page.add_init_script(FIRST_TILE)
            page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
            page.locator(".tile").first.wait_for(timeout=60_000)
            times.append(page.evaluate("window.firstTile"))
            page.close()
            time.sleep(LOAD_PAUSE)
        browser.close()
        shown = ", ".join(f"{value:,.0f}" for value in times)
        middle = statistics.median(times)
        print(f"page, ms until the first picture has its place: {middle:,.0f} (first load first: {shown})")
        # Each address is a client of its own, whose requests are limited.
        sources = cycle([(f"127.0.0.{number}", 0) for number in range(2, 22)])
        pools = cycle([urllib3.HTTPConnectionPool("127.0.0.1", port, source_address=next(sources)) for _ in range(20)])
        with ThreadPoolExecutor(AT_ONCE) as threads:
            begun = time.perf_counter()
            asked = [(next(pools), f"/api/objects/{id_}/thumb?width=200") for id_ in ids]
            statuses = list(threads.map(lambda each: each[0].request("GET", each[1], retries=False).status, asked))
            seconds = time.perf_counter() - begun
        made = statuses.count(200)
        print(f"thumbnails: {made / seconds:,.0f} a second ({made} of {len(ids)} made)")
        print(f"memory of the listener: {process.memory_info().rss / 1e6:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30, help="calls timed of each kind")
    parser.add_argument("--folder", type=Path, help="keep the SQLite index here")
    parser.add_argument("--page", action="store_true", help="also the search page, in Chromium")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        anyio.run(serve, options.folder)
        return
    print(f"{platform.machine()}, {CORES} cores, {model_name()}, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory(prefix="imgtag-bench-") as folder:
        home = options.folder or Path(folder)
        asyncio.run(run(options.documents, options.rounds, home))
        if options.page:
            measure_page(home, options.documents)


if __name__ == "__main__":
    main()
