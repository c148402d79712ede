"""What a picture costs from the folder to the index, against decoding and classifying it alone.

    python benchmarks/pipeline.py [--small 1000] [--large 200] [--rounds 3]

Each round runs both sides, one after the other, so that a machine whose speed drifts changes both:

alone    decode + resize + invoke of the same files in memory, one thread a core, nothing else
sidecar  the real `imgtag run` on a folder, with attributes and SQLite index

efficiency = CPU of `alone` / CPU of all processes of `sidecar`
busy       = CPU of `sidecar` / elapsed time, in cores
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
from PIL import Image

CORES = len(os.sched_getaffinity(0))
WARM = 3.0
"""Seconds until all workers have loaded their model."""
CONFIG = """\
[store.directory]
root = "{root}"
[source.directory]
settle = 0.1
[state]
dir = "{state}"
[ops]
listen = ""
log_level = "error"
"""


@dataclass(frozen=True)
class Run:
    """CPU and elapsed seconds, peak memory (PSS of all processes, bytes)."""

    cpu: float
    elapsed: float
    memory: int = 0


def make_pictures(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """JPEGs of one photograph in several qualities, so that no two files are equal."""
    source = Path(find_spec("sklearn").origin).parent / "datasets/images/china.jpg"
    folder.mkdir()
    with Image.open(source) as photograph:
        picture = photograph.resize(size, Image.Resampling.LANCZOS)
    paths = []
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        if number < 10:
            picture.save(path, quality=80 + number)
        else:
            path.write_bytes((folder / f"{number % 10:05}.jpg").read_bytes() + number.to_bytes(4, "big"))
        paths.append(path)
    return paths


def run_alone(paths: list[Path]) -> Run:
    """In a process of its own: `alone` below."""
    code = f"import runpy; runpy.run_path({__file__!r}, run_name='alone')"
    command = [sys.executable, "-c", code, *map(str, paths)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    cpu, elapsed = map(float, answer.stdout.split())
    return Run(cpu, elapsed)


def alone(paths: list[str]) -> None:
    from imgtag.types.picture_limits import PictureLimits
    from imgtag.workers.child.decode import decode
    from imgtag_tflite.model import load_model
    from imgtag_tflite.settings import TFLiteSettings

    pictures = [Path(path).read_bytes() for path in paths]
    limits = PictureLimits(pixels=10**9, frames=1, memory=1 << 30, seconds=30)
    classifiers = [load_model(TFLiteSettings()) for _ in range(CORES)]

    def work(place: int) -> None:
        classifier = classifiers[place]
        for data in pictures[place::CORES]:
            classifier.classify([decode(data, classifier.info.size, limits).image])

    for classifier in classifiers:
        classifier.classify([decode(pictures[0], classifier.info.size, limits).image])
    cpu, start = time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=work, args=(place,)) for place in range(CORES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(time.process_time() - cpu, time.perf_counter() - start)


def run_sidecar(pictures: Path, count: int) -> Run:
    """The real command on a folder into which the pictures are moved at once."""
    with tempfile.TemporaryDirectory(dir=pictures.parent) as folder:
        base = Path(folder)
        root = base / "root"
        root.mkdir()
        (base / "imgtag.toml").write_text(CONFIG.format(root=root, state=base / "state"))
        shutil.copytree(pictures, base / "batch")
        (root / "first.jpg").write_bytes(next(pictures.iterdir()).read_bytes())
        process = psutil.Process(
            subprocess.Popen([sys.executable, "-m", "imgtag", "--config", str(base / "imgtag.toml"), "run"]).pid
        )
        try:
            wait_for(base / "state", 1)
            time.sleep(WARM)
            before, start = cpu_of(process), time.perf_counter()
            (base / "batch").rename(root / "batch")
            memory = wait_for(base / "state", count + 1, process)
            return Run(cpu_of(process) - before, time.perf_counter() - start, memory)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def wait_for(state: Path, count: int, process: psutil.Process | None = None) -> int:
    """Wait until the index has so many documents; returns the peak memory seen meanwhile."""
    peak, deadline = 0, time.monotonic() + 600
    while documents(state / "index.sqlite3") < count:
        if time.monotonic() > deadline:
            raise SystemExit("the sidecar did not get done within ten minutes")
        if process:
            peak = max(peak, memory_of(process))
        time.sleep(0.25)
    return peak


def documents(index: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{index}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def cpu_of(process: psutil.Process) -> float:
    times = [one.cpu_times() for one in family(process)]
    return sum(time.user + time.system for time in times)


def memory_of(process: psutil.Process) -> int:
    return sum(one.memory_full_info().pss for one in family(process))


def measure(name: str, size: tuple[int, int], count: int, rounds: int, folder: Path) -> None:
    pictures = folder / name
    paths = make_pictures(pictures, size, count)
    pairs = [(run_alone(paths), run_sidecar(pictures, count)) for _ in range(rounds)]
    ratios = [one.cpu / other.cpu for one, other in pairs]
    rates = [count / other.elapsed for _, other in pairs]
    limits = [count / one.elapsed for one, _ in pairs]
    busy = [other.cpu / other.elapsed for _, other in pairs]
    spent = [1000 * other.cpu / count for _, other in pairs]
    alone_spent = [1000 * one.cpu / count for one, _ in pairs]
    peak = max(other.memory for _, other in pairs) / 2**20
    kilobytes = sum(path.stat().st_size for path in paths) / count / 1000
    middle = statistics.median
    ratio = f"{middle(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    cells = (
        f"{size[0]}x{size[1]} ({kilobytes:.0f} kB), {count} pictures",
        f"{middle(limits):.0f}",
        f"{middle(rates):.0f}",
        f"{middle(alone_spent):.1f}",
        f"{middle(spent):.1f}",
        ratio,
        f"{middle(busy):.2f} of {CORES}",
        f"{peak:.0f} MB",
    )
    print(
        f"| {' | '.join(cells)} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1000, help="pictures of 500x375")
    parser.add_argument("--large", type=int, default=200, help="pictures of 12 MP")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {CORES} cores, {model_name()}, Python {platform.python_version()}\n")
    heads = ("pictures", "alone, img/s", "sidecar, img/s", "alone, CPU ms", "sidecar, CPU ms", "efficiency")
    print(f"| {' | '.join(heads)} | busy cores | peak PSS |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="imgtag-bench-", dir=os.environ.get("TMPDIR")) as folder:
        measure("small", (500, 375), options.small, options.rounds, Path(folder))
        measure("large", (4000, 3000), options.large, options.rounds, Path(folder))
    print(f"\npeak of the benchmark itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def model_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


if __name__ == "alone":
    alone(sys.argv[1:])
elif __name__ == "__main__":
    main()
