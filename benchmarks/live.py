"""What a picture costs between real servers: MinIO notifies NATS, the sidecar reads, labels, writes and indexes.

    python benchmarks/live.py [--small 600] [--large 480] [--rounds 3]

Needs the servers of `python scripts/servers.py install`; the index is the fake Meilisearch of the tests, whose
own cost is not counted. As in pipeline.py, each round runs `alone` beside the sidecar and gives the ratio of CPU.

throughput  all pictures are in the bucket, and their events in the stream, before the sidecar resumes
latency     uploads at half of that rate; from the start of the upload to the request that indexes the picture
requests    what MinIO counted in the throughput run, without the uploads, by picture
index       requests to the index in the throughput run, by picture; below it reads, writes and questions after tasks
floor       the same throughput run with floor.py in place of the sidecar: the wire work and nothing else
naive       naive.py over a hundred of them, one after the other: the loop that one would write first, without an index

The beginning and the end of a run cost more: connections are opened, and the last pictures are indexed one by one.
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Self

import psutil
import urllib3
from minio import Minio

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from pipeline import CORES, WARM, Run, cpu_of, make_pictures, memory_of, model_name, run_alone

from fake_meilisearch import FakeMeilisearch
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer

SUBJECT = "imgtag.local.events"
CONFIG = """\
[store.s3]
endpoint = "{endpoint}"
access_key = "{minio.access_key}"
secret_key = "{minio.secret_key}"
[source.nats]
url = "{nats}"
subject = "{subject}"
[indexer.meilisearch]
url = "{index}"
[[rules]]
bucket = "photos"
[state]
dir = "{folder}/state"
[ops]
listen = ""
log_level = "error"
"""


class Index(FakeMeilisearch):
    """Notes when a key was first sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, float] = {}
        add = self.queue.add

        def noted(kind, index, data, note):
            if kind == "documentAdditionOrUpdate":
                for line in data["body"].splitlines():
                    self.sent.setdefault(json.loads(line)["key"], time.perf_counter())
            return add(kind, index, data, note)

        self.queue.add = noted


class World:
    """The servers with one sidecar that has loaded its model; or with the floor in its place."""

    def __init__(self, folder: Path, picture: bytes, *, floor: bool = False) -> None:
        with ExitStack() as stack:
            self.nats = stack.enter_context(NatsServer(binary("nats-server"), folder / "nats"))
            extra = {"MINIO_PROMETHEUS_AUTH_TYPE": "public", **lanes(self.nats, SUBJECT, folder / "queue")}
            self.minio = stack.enter_context(MinioServer(minio_binary(), folder / "minio", extra=extra))
            self.index = stack.enter_context(Index())
            self.user = Minio(
                f"127.0.0.1:{self.minio.port}", self.minio.access_key, self.minio.secret_key, secure=False
            )
            self.user.make_bucket("photos")
            self.sidecar = stack.enter_context(self._running(folder, floor=floor))
            self.put("first.jpg", picture)
            self.wait(1)
            time.sleep(WARM)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def _running(self, folder: Path, *, floor: bool) -> Iterator[psutil.Process]:
        file = folder / "imgtag.toml"
        values = {"endpoint": self.minio.endpoint, "nats": self.nats.url, "index": self.index.url}
        file.write_text(CONFIG.format(minio=self.minio, folder=folder, subject=SUBJECT, **values))
        command = [sys.executable, "-m", "imgtag", "--config", str(file)]
        subprocess.run([*command, "setup", "--yes"], check=True, capture_output=True)
        command += ["run"]
        if floor:
            keys = (self.minio.access_key, self.minio.secret_key)
            queue = (self.nats.url, "imgtag-local", "imgtag-local")
            command = [sys.executable, str(HERE / "floor.py"), self.minio.endpoint, *keys, *queue, self.index.url]
        process = psutil.Process(subprocess.Popen(command).pid)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def put(self, key: str, data: bytes) -> None:
        self.user.put_object("photos", key, BytesIO(data), len(data), content_type="image/jpeg")

    def wait(self, count: int) -> int:
        """Until so many pictures were sent to the index; returns the peak memory seen meanwhile."""
        peak, deadline = 0, time.monotonic() + 600
        while len(self.index.sent) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{len(self.index.sent)} of {count} pictures were indexed within ten minutes")
            peak = max(peak, memory_of(self.sidecar))
            time.sleep(0.25)
        return peak

    def index_requests(self) -> Counter[str]:
        """Requests that the index has answered, by kind."""
        kinds = {"GET /tasks": "tasks", "POST /indexes/images/documents": "writes"}
        kinds["POST /indexes/images/documents/delete-batch"] = "writes"
        return Counter(kinds.get(request, "reads") for request in tuple(self.index.faults.asked))

    def requests(self) -> Counter[str]:
        """Requests that MinIO has answered, by kind."""
        text = urllib3.request("GET", f"{self.minio.endpoint}/minio/v2/metrics/cluster").data.decode()
        counts: Counter[str] = Counter()
        for line in text.splitlines():
            if line.startswith("minio_s3_requests_total{"):
                counts[line.partition('api="')[2].partition('"')[0]] += int(float(line.rsplit(" ", 1)[1]))
        return counts


def binary(name: str) -> Path:
    path = runpy.run_path(str(HERE.parent / "scripts" / "servers.py"))["find"](name)
    if path is None:
        raise SystemExit(f"{name} is missing: python scripts/servers.py install")
    return path


def throughput(world: World, paths: list[Path]) -> tuple[Run, float, Counter[str], Counter[str]]:
    """All events wait while the sidecar is stopped; then it resumes.

    Also the CPU seconds of its main process alone, and the requests to MinIO and to the index.
    """
    world.sidecar.suspend()
    for path in paths:
        world.put(path.name, path.read_bytes())
    time.sleep(4)  # MinIO's durable target delivers three seconds late
    asked, indexed = world.requests(), world.index_requests()
    cpu, start = cpu_of(world.sidecar), time.perf_counter()
    main = sum(world.sidecar.cpu_times()[:2])
    world.sidecar.resume()
    memory = world.wait(len(paths) + 1)
    elapsed = max(world.index.sent.values()) - start
    time.sleep(5)  # the events of our own writes count, too
    run, main = Run(cpu_of(world.sidecar) - cpu, elapsed, memory), sum(world.sidecar.cpu_times()[:2]) - main
    time.sleep(7)  # MinIO updates its counters every ten seconds
    return run, main, world.requests() - asked, world.index_requests() - indexed


def latency(world: World, paths: list[Path], rate: float) -> list[float]:
    """Milliseconds from the start of each upload until its document is sent."""
    begun: dict[str, float] = {}
    start = time.perf_counter()

    def upload(place: int) -> None:
        for number in range(place, len(paths), 4):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            key = f"again-{paths[number].name}"
            begun[key] = time.perf_counter()
            world.put(key, paths[number].read_bytes())

    threads = [threading.Thread(target=upload, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.wait(2 * len(paths) + 1)
    return sorted(1000 * (world.index.sent[key] - moment) for key, moment in begun.items())


def run_naive(world: World) -> Run:
    """The loop over the bucket, while whatever else labels in this world is stopped; by picture."""
    world.sidecar.suspend()
    keys = (world.minio.endpoint, world.minio.access_key, world.minio.secret_key)
    command = [sys.executable, str(HERE / "naive.py"), *keys, "photos"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    count, elapsed, cpu = map(float, answer.stdout.split())
    return Run(cpu / count, elapsed / count)


def one_round(paths: list[Path], folder: Path) -> dict[str, float]:
    limit, first = run_alone(paths), paths[0].read_bytes()
    with tempfile.TemporaryDirectory(dir=folder) as base, World(Path(base), first, floor=True) as world:
        floor, floor_main, _, _ = throughput(world, paths)
    with tempfile.TemporaryDirectory(dir=folder) as base, World(Path(base), first) as world:
        run, main, asked, indexed = throughput(world, paths)
        waited = latency(world, paths, len(paths) / run.elapsed / 2)
        naive = run_naive(world)
    count = len(paths)
    results = {"rate": count / run.elapsed, "limit": count / limit.elapsed, "efficiency": limit.cpu / run.cpu}
    results |= {"alone": 1000 * limit.cpu / count, "cpu": 1000 * run.cpu / count, "memory": run.memory / 2**20}
    results |= {"floor": floor.elapsed / run.elapsed, "main": main / floor_main, "main cpu": 1000 * main / count}
    results |= {"p50": waited[count // 2], "p99": waited[int(count * 0.99)], "requests": asked.total() / count}
    results |= {"index": indexed.total() / count, "naive": 1 / naive.elapsed, "naive cpu": 1000 * naive.cpu}
    for requests in (asked, indexed):
        print("    ", {name: round(number / count, 2) for name, number in requests.items()}, file=sys.stderr)
    return results


def measure(size: tuple[int, int], count: int, rounds: int, folder: Path) -> None:
    paths = make_pictures(folder / str(size[0]), size, count)
    results = [one_round(paths, folder) for _ in range(rounds)]
    middle = {name: statistics.median(figures[name] for figures in results) for name in results[0]}
    spread = [figures["efficiency"] for figures in results]
    cells = (
        f"{size[0]}x{size[1]}, {count} pictures",
        f"{middle['limit']:.0f}",
        f"{middle['rate']:.0f}",
        f"{middle['alone']:.1f}",
        f"{middle['cpu']:.1f}",
        f"{middle['efficiency']:.2f} ({min(spread):.2f} to {max(spread):.2f})",
        f"{middle['floor']:.2f}",
        f"{middle['naive']:.0f} ({middle['naive cpu']:.1f} CPU ms)",
        f"{middle['main cpu']:.1f} ({middle['main']:.1f} of the floor)",
        f"{middle['p50']:.0f}",
        f"{middle['p99']:.0f}",
        f"{middle['requests']:.1f}",
        f"{middle['index']:.2f}",
        f"{middle['memory']:.0f} MB",
    )
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=600, help="pictures of 500x375")
    parser.add_argument("--large", type=int, default=480, help="pictures of 12 MP")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {CORES} cores, {model_name()}, Python {platform.python_version()}\n")
    heads = ("pictures", "alone, img/s", "sidecar, img/s", "alone, CPU ms", "sidecar, CPU ms", "efficiency")
    heads += (
        "img/s of the floor's",
        "naive, img/s",
        "main process, CPU ms",
        "p50 ms",
        "p99 ms",
        "requests",
        "to the index",
        "peak PSS",
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    with tempfile.TemporaryDirectory(prefix="imgtag-bench-") as folder:
        for size, count in (((500, 375), options.small), ((4000, 3000), options.large)):
            if count:
                measure(size, count, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
