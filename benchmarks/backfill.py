"""What a backfill costs: the first one, one that finds everything current, and its memory.

    python benchmarks/backfill.py [--pictures 2000] [--passes 20] [--listed 100000]

Needs the servers of `python scripts/servers.py install`. The pictures are 500x375, the index is an SQLite file.

first       all pictures are new: pictures a second, CPU of main process and workers by picture
live        the same pictures through `imgtag run`, as benchmarks/live.py does: see there
current     the same again, several times over: objects a second, CPU of the main process by object
memory      peak of the main process over a bucket with 1,000 objects and over one with `--listed`, that are no images
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import psutil
from minio import Minio

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from pipeline import CORES, make_pictures, model_name

from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer

CONFIG = """\
[store.s3]
endpoint = "{minio.endpoint}"
access_key = "{minio.access_key}"
secret_key = "{minio.secret_key}"
[source.nats]
url = "{nats.url}"
[indexer.sqlite]
[labels]
mark_key = "of the benchmark, and long enough"
[[rules]]
bucket = "photos"
[[rules]]
bucket = "few"
[[rules]]
bucket = "many"
[state]
dir = "{folder}/state"
"""


def put(client: Minio, bucket: str, objects: dict[str, bytes]) -> None:
    client.make_bucket(bucket)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: client.put_object(bucket, key, BytesIO(objects[key]), len(objects[key])), objects))


def backfill(config: Path, *scopes: str) -> tuple[dict, float, float, float]:
    """The last line of the command; the CPU of the main process and of its workers; its peak memory in MB."""
    command = [
        sys.executable,
        "-m",
        "imgtag",
        "--config",
        str(config),
        "backfill",
        *scopes,
        "--yes",
        "--json",
        "--full-speed",
    ]
    process = subprocess.Popen([*command, "--concurrency", "48"], stdout=subprocess.PIPE, text=True)
    watched, main, workers, peak = psutil.Process(process.pid), 0.0, 0.0, 0
    while process.poll() is None:
        try:
            times = watched.cpu_times()
            children = [child.cpu_times() for child in watched.children()]
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (psutil.Error, OSError):
            break
        main = times.user + times.system
        workers = max(workers, sum(each.user + each.system for each in children))
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.05)
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"backfill ended with {process.returncode}")
    return json.loads(output.splitlines()[-1]), main, workers, peak / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2_000)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--listed", type=int, default=100_000)
    options = parser.parse_args()
    print(f"{model_name()}, {CORES} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nats_binary = minio_binary().with_name("nats-server")
        with NatsServer(nats_binary, folder / "nats") as nats, MinioServer(minio_binary(), folder / "minio") as minio:
            config = folder / "imgtag.toml"
            config.write_text(CONFIG.format(minio=minio, nats=nats, folder=folder))
            keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
            client = Minio(f"127.0.0.1:{minio.port}", **keys, secure=False, region="us-east-1")
            paths = make_pictures(folder / "pictures", (500, 375), options.pictures)
            put(client, "photos", {path.name: path.read_bytes() for path in paths})
            put(client, "few", {f"{number:06}.txt": b"x" for number in range(1_000)})
            if options.listed:
                put(client, "many", {f"{number:06}.txt": b"x" for number in range(options.listed)})

            done, cpu, workers, _ = backfill(config, "photos")
            rate = done["labelled"] / done["seconds"]
            cost = f"{1000 * cpu / done['labelled']:.1f} ms main, {1000 * workers / done['labelled']:.1f} ms workers"
            print(f"first    {done['labelled']} pictures, {rate:.1f} a second, CPU by picture with the start: {cost}")

            done, cpu, _, _ = backfill(config, *["photos"] * options.passes)
            assert done["skipped"] == done["listed"], done
            print(
                f"current  {done['listed']} objects, {done['listed'] / done['seconds']:,.0f} a second, "
                f"CPU of the main process {1e6 * cpu / done['listed']:.0f} us by object with the start"
            )
            for bucket in ["few", "many"] if options.listed else ["few"]:
                done, _, _, peak = backfill(config, bucket)
                print(f"memory   {done['listed']} objects: peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
