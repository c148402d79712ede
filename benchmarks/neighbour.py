"""What another client of the same MinIO notices of bulk work beside it.

    python benchmarks/neighbour.py [--seconds 15] [--rounds 3] [--rate 50] [--backfill | --command COMMAND]

The other client, a process of its own, reads an object of 100 KiB at a fixed rate. Its latency counts from the moment
at which a request was due, so that one that hangs also makes the next ones late. There are rounds of three phases:
alone, beside bulk work at full speed, and beside bulk work that a governor admits; medians of the rounds are shown.
Bulk work asks for the headers of each object and reads it, 16 at once. With ``--backfill`` it is `imgtag backfill`,
which labels 3,000 photographs of 500x375 in a bucket of their own: it needs the servers of `python scripts/servers.py
install`. With ``--command`` it is that command, with the address and the keys of the server in the environment, as
`imgtag` takes them. Either is started again when it ends, and there is no phase at full speed. It all takes three to
four minutes, on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shlex
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import anyio

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from backfill import CONFIG, put
from minio import Minio
from pipeline import make_pictures

from imgtag.flow.governor import Caps, Governor
from imgtag.ops.pressure import MachinePressure
from imgtag_s3 import SPEC
from imgtag_s3.client import Client
from servers.minio import MinioServer
from servers.nats import NatsServer

BUCKET = "pictures"
OBJECTS, SIZE = 500, 100 << 10
PHOTOGRAPHS = 3_000
CONCURRENCY = 16
WARM_UP = 5.0
"""Seconds of bulk work before the other client is measured: a governor needs some to find its limit."""


async def fill(client: Client) -> None:
    await client.send("PUT", BUCKET)
    for number in range(OBJECTS):
        await client.send("PUT", BUCKET, f"{number}.jpg", body=os.urandom(SIZE))


async def be_neighbour(settings: dict[str, object], rate: float, seconds: float) -> None:
    """Print the latency of each GET, in seconds, as JSON."""
    latencies: list[float] = []

    async def get(client: Client, number: int, due: float) -> None:
        await client.send("GET", BUCKET, f"{number % OBJECTS}.jpg")
        latencies.append(time.perf_counter() - due)

    async with Client(SPEC.settings(**settings)) as client, anyio.create_task_group() as tasks:
        await client.send("GET", BUCKET, "0.jpg")
        started = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = started + number / rate
            await anyio.sleep(max(0.0, due - time.perf_counter()))
            tasks.start_soon(get, client, number * 7, due)
    print(json.dumps(latencies))


async def work(client: Client, governor: Governor | None, done: list[int]) -> None:
    """Bulk work, until cancelled."""

    async def process(number: int) -> None:
        started = time.perf_counter()
        await client.send("HEAD", BUCKET, f"{number}.jpg")
        if governor:
            governor.observe(time.perf_counter() - started)
        await client.send("GET", BUCKET, f"{number}.jpg")
        done.append(number)

    async def loop(number: int) -> None:
        while True:
            number = (number + CONCURRENCY) % OBJECTS
            if governor:
                async with governor.admit(SIZE):
                    await process(number)
            else:
                await process(number)

    async with anyio.create_task_group() as tasks:
        if governor:
            tasks.start_soon(governor.run)
        for number in range(CONCURRENCY):
            tasks.start_soon(loop, number)


async def repeat(command: str, settings: dict[str, object]) -> None:
    """Run a shell command again and again, until cancelled."""
    names = {"endpoint": "ENDPOINT", "access_key": "ACCESS_KEY", "secret_key": "SECRET_KEY"}
    environment = {f"IMGTAG_STORE__S3__{name}": str(settings[key]) for key, name in names.items()}
    while True:
        process = await anyio.open_process(
            command, env=os.environ | environment, stdout=None, stderr=None, start_new_session=True
        )
        async with process:
            try:
                await process.wait()
            finally:
                with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)  # the shell, and what it runs
                    await process.wait()


def prepare_backfill(server: MinioServer, nats: NatsServer, folder: Path) -> tuple[str, Path]:
    """Photographs in a bucket of their own; the command that labels them, and the file of its index."""
    config = folder / "imgtag.toml"
    config.write_text(CONFIG.format(minio=server, nats=nats, folder=folder))
    client = Minio(f"127.0.0.1:{server.port}", server.access_key, server.secret_key, secure=False, region="us-east-1")
    paths = make_pictures(folder / "pictures", (500, 375), PHOTOGRAPHS)
    put(client, "photos", {path.name: path.read_bytes() for path in paths})
    command = shlex.join([sys.executable, "-m", "imgtag", "--config", str(config), "backfill", "photos", "--yes"])
    return f"exec {command} 2> {shlex.quote(str(folder / 'log'))}", folder / "state" / "index.sqlite3"


def count_documents(index: Path | None) -> int:
    """How many objects are labelled so far; 0 without an index."""
    if index is None or not index.exists():
        return 0
    with closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM documents").fetchone()[0])


async def measure(settings: dict[str, object], options: argparse.Namespace) -> None:
    medians: dict[str, list[float]] = defaultdict(list)
    slow: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    arguments = [sys.executable, __file__, "--neighbour", json.dumps(settings)]
    arguments += ["--rate", str(options.rate), "--seconds", str(options.seconds)]
    phases = ["alone", "governed"] if options.command else ["alone", "full speed", "governed"]
    async with Client(SPEC.settings(**settings)) as client:
        await fill(client)
        governor = Governor(Caps(concurrency=CONCURRENCY), pressure=MachinePressure())
        for _ in range(options.rounds):
            for phase in phases:
                done: list[int] = []
                async with anyio.create_task_group() as tasks:
                    if phase != "alone" and options.command:
                        tasks.start_soon(repeat, options.command, settings)
                    elif phase != "alone":
                        tasks.start_soon(work, client, governor if phase == "governed" else None, done)
                    await anyio.sleep(WARM_UP)
                    before = len(done) + count_documents(options.index)
                    answer = await anyio.run_process(arguments)
                    rates[phase].append((len(done) + count_documents(options.index) - before) / options.seconds)
                    if phase == "governed" and not options.command:
                        print(f"  governor: {governor.state}", file=sys.stderr)
                    tasks.cancel_scope.cancel()
                latencies = sorted(json.loads(answer.stdout))
                medians[phase].append(statistics.median(latencies))
                slow[phase].append(latencies[int(0.99 * (len(latencies) - 1))])
    for phase in phases:
        # Each round beside its own phase alone: what else the machine does changes from round to round.
        added = statistics.median(mine / alone for mine, alone in zip(slow[phase], slow["alone"], strict=True)) - 1
        print(
            f"{phase}: median {statistics.median(medians[phase]) * 1000:.1f} ms, "
            f"p99 {statistics.median(slow[phase]) * 1000:.1f} ms ({added:+.0%}); "
            f"bulk work {statistics.mean(rates[phase]):.1f} objects/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=50.0)
    bulk = parser.add_mutually_exclusive_group()
    bulk.add_argument("--backfill", action="store_true")
    bulk.add_argument("--command")
    parser.add_argument("--neighbour", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.neighbour:
        anyio.run(be_neighbour, options.neighbour, options.rate, options.seconds)
        return
    find = runpy.run_path(str(ROOT / "scripts" / "servers.py"))["find"]
    options.index = None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(MinioServer(find("minio"), folder / "minio"))
        if options.backfill:
            nats = stack.enter_context(NatsServer(find("nats-server"), folder / "nats"))
            options.command, options.index = prepare_backfill(server, nats, folder)
        anyio.run(measure, server.settings, options)


if __name__ == "__main__":
    main()
