"""What a notification costs from nats-server to its acknowledgement, with nothing done about it.

    python benchmarks/messages.py [--count 4000] [--rounds 3] [--profile]

CPU of the process that receives, with a stream that holds all notifications before the first is taken. An image causes
four of them: its upload and the write of its labels, each on two lanes. ``--profile`` adds where the time goes, in a
round of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import runpy
import sys
import tempfile
import time
from pathlib import Path

import anyio

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import anyio.lowlevel

from imgtag.plugin.spec import PluginContext
from imgtag_nats import SPEC
from integration.nats.publishing import client, notification
from servers.nats import NatsServer

SITE = "bench"
AT_ONCE = 16
"""Notifications in work at once."""


async def measure(folder: Path, count: int, profile: cProfile.Profile | None) -> float:
    """Milliseconds of CPU for each notification."""
    context = PluginContext(site=SITE, state_dir=folder / "state", buckets=("photos",))
    with NatsServer(
        runpy.run_path(str(HERE.parent / "scripts" / "servers.py"))["find"]("nats-server"), folder
    ) as server:
        async with SPEC.load()(SPEC.settings(url=server.url), context) as source, client(server.url) as store:
            await source.setup(apply=True)
            for number in range(count):
                await store.publish(f"imgtag.{SITE}.events", notification("photos", f"{number}.jpg"))
            while await source.backlog() < count:  # noqa: ASYNC110 - the server stores them one after the other
                await anyio.sleep(0.1)
            if profile:
                profile.enable()
            before = time.process_time()
            await receive(source, count)
            used = time.process_time() - before
            if profile:
                profile.disable()
    return 1000 * used / count


async def receive(source, count: int) -> None:
    room = anyio.Semaphore(AT_ONCE)

    async def work(delivery) -> None:
        await anyio.lowlevel.checkpoint()
        await delivery.ack()
        room.release()

    deliveries = source.deliveries()
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            await room.acquire()
            tasks.start_soon(work, await anext(deliveries))
    await deliveries.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profiles = [None] * options.rounds + [cProfile.Profile()] * options.profile
    for profile in profiles:
        with tempfile.TemporaryDirectory(prefix="imgtag-bench-") as folder:
            cost = asyncio.run(measure(Path(folder), options.count, profile))
        print(f"{cost:.3f} ms of CPU for each notification{' with the profiler' if profile else ''}", flush=True)
        if profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
