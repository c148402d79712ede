"""How long other uploaders wait while one uploads hundreds of the slowest images that are admitted.

    python benchmarks/fairness.py [--slow 500] [--others 50]

Two workers, a real nats-server, a store and an index in memory. The slow images all wait in the stream before the
first other one is uploaded.
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from imgtag.plugin.spec import PluginContext
from imgtag_nats import SPEC
from integration.nats.flood import flooded, measure
from servers.nats import NatsServer


async def run(url: str, folder: Path, slow: int, others: int) -> None:
    source = SPEC.load()(
        SPEC.settings(url=url), PluginContext(site="fairness", state_dir=folder, buckets=("pictures",))
    )
    async with flooded(source, url, "imgtag.fairness.events") as flood:
        cpu = time.process_time()
        waits = await measure(flood, slow, others)
        cpu = time.process_time() - cpu
        deferred = flood.bench.count("imgtag_deferred_total")
    seconds = sorted(wait.seconds for wait in waits)
    print(
        f"{others} images beside {slow} slow ones: median {statistics.median(seconds):.2f} s, longest "
        f"{seconds[-1]:.2f} s; slow ones done meanwhile: {max(wait.slow for wait in waits)} at most; "
        f"deferrals {deferred:.0f}; CPU of the main process and the load {cpu:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--others", type=int, default=50)
    options = parser.parse_args()
    find = runpy.run_path(str(ROOT / "scripts" / "servers.py"))["find"]
    with tempfile.TemporaryDirectory() as folder, NatsServer(find("nats-server"), Path(folder, "nats")) as server:
        anyio.run(run, server.url, Path(folder), options.slow, options.others)


if __name__ == "__main__":
    main()
