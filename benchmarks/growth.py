"""What one document costs in a small and in a large index.

    python benchmarks/growth.py [--sizes 1000,10000,100000] [--rounds 137]

An SQLite index is filled with synthetic documents and copied at each size; a size of 1,000,000 takes 8 GB of disk and,
before anything is timed, the time of a million documents. Then a batch of 15 documents is put into one copy after the
other, round after round, as `imgtag run` puts them: one transaction each, durable. So what else the machine does slows
down all sizes alike. CPU time is the process's own.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pipeline import CORES, model_name

from imgtag.plugin import PluginContext, Upsert
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings

BATCH = 15
FILLING = 1_000
LABELS = [f"{colour} label{number}" for colour in ("red", "blue", "kit", "grey") for number in range(250)]


def document(number: int) -> dict:
    """Like that of a labelled image; the keys lie in folders of a thousand."""
    chance = random.Random(number)
    labels = chance.sample(LABELS, 4)
    ancestors = [f"ancestor{chance.randrange(80)}" for _ in range(5)]
    folder = f"album{number // 1000:05}/"
    key, when = f"{folder}IMG_{number:08}.jpg", 1_500_000_000 + number * 60
    day = time.strftime("%Y-%m-%d", time.gmtime(when))
    return {
        "id": sha256(key.encode()).hexdigest(), "site": "local", "bucket": "photos", "key": key,
        "title": f"IMG_{number:08}", "location": f"s3://photos/{key}", "prefixes": [folder],
        "words": sorted({"img", f"{number:08}", folder[:-1]}), "type": "image/jpeg", "size": chance.randrange(10**7),
        "etag": f'"{number:032x}"', "modified": when, "status": "labelled", "width": 4000, "height": 3000,
        "taken": when, "when": when, "when_day": day, "when_month": day[:7], "camera": f"Camera {number % 40}",
        "_geo": {"lat": chance.uniform(40, 50), "lng": chance.uniform(0, 15)}, "labels": labels,
        "ancestors": sorted(set(ancestors)), "terms": sorted({*labels, *ancestors, *" ".join(labels).split()}),
        "scores": {name: round(chance.uniform(0.1, 0.9), 2) for name in (*labels, *ancestors)},
        "top_label": labels[0], "top_confidence": 0.9, "category": "animal", "model": "synthetic@12345678",
        "rules": "12345678", "labelled": when, "space": "svd1",
        "_vectors": {"img": [chance.randrange(-127, 128) for _ in range(128)]},
    }  # fmt: skip


async def fill(folder: Path, sizes: list[int]) -> list[Path]:
    """Fill an index, and return the folders of its copies at each size."""
    number, copies = 0, []
    for size in sizes:
        async with open_index(folder / "filled") as indexer:
            while number < size:
                count = min(FILLING, size - number)
                await indexer.apply([Upsert(document(number + place)) for place in range(count)])
                number += count
        copies.append(Path(shutil.copytree(folder / "filled", folder / str(size))))
    return copies


async def measure(sizes: list[int], rounds: int, folder: Path) -> None:
    """Time batches in the copies, in turn."""
    copies = await fill(folder, sizes)
    elapsed: list[list[float]] = [[] for _ in sizes]
    cpu: list[list[float]] = [[] for _ in sizes]
    async with AsyncExitStack() as stack:
        indexers = [await stack.enter_async_context(open_index(copy)) for copy in copies]
        for put in range(0, rounds * BATCH, BATCH):
            for place, size in enumerate(sizes):
                changes = [Upsert(document(size + put + number)) for number in range(BATCH)]
                begun, start = time.process_time(), time.perf_counter()
                await indexers[place].apply(changes)
                elapsed[place].append(1000 * (time.perf_counter() - start))
                cpu[place].append(1000 * (time.process_time() - begun) / BATCH)
    first = statistics.fmean(cpu[0])
    for size, copy, times, used in zip(sizes, copies, elapsed, cpu, strict=True):
        mean, megabytes = statistics.fmean(used), (copy / "index.sqlite3").stat().st_size / 2**20
        cells = (f"{size:,}", f"{statistics.median(used):.3f}", f"{mean:.3f}", f"{mean / first:.2f}")
        cells += (f"{statistics.median(times):.0f}", f"{max(times):.0f}", f"{megabytes:,.0f} MB")
        print(f"| {' | '.join(cells)} |", flush=True)


def open_index(folder: Path) -> SqliteIndexer:
    folder.mkdir(exist_ok=True)
    return SqliteIndexer(SqliteSettings(), PluginContext(site="local", state_dir=folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="documents, smallest first")
    parser.add_argument("--rounds", type=int, default=137, help="batches timed at each size; these fill two segments")
    options = parser.parse_args()
    print(f"{platform.machine()}, {CORES} cores, {model_name()}, Python {platform.python_version()}\n")
    heads = (
        "documents",
        "CPU ms, median",
        "CPU ms, mean",
        "against the first",
        "batch, ms",
        "longest batch, ms",
        "file",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    with tempfile.TemporaryDirectory(prefix="imgtag-bench-") as folder:
        asyncio.run(measure([int(size) for size in options.sizes.split(",")], options.rounds, Path(folder)))


if __name__ == "__main__":
    main()
