#!/usr/bin/env python3
"""Rebuild published labelling systems from imgtag and real servers on this machine, one after the other.

python examples/published_systems/rebuild.py [--once] [hyperstore] [rekognition] [inventory]

hyperstore    S3 + SQS + TFLite beside the store + Elasticsearch
rekognition   S3 + SQS + Amazon Rekognition + Elasticsearch
inventory     the inventory of a bucket, Amazon Rekognition with limited concurrency, Elasticsearch

The configuration of each is the file beside this one. MinIO is the store, ElasticMQ the queue, moto stands for
Rekognition (it sees a mobile phone in every image), OpenSearch for Elasticsearch. `make servers` installs them.
Everything is in a temporary folder and on free loopback ports, and is stopped and removed at the end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import md5
from io import BytesIO
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote_plus

import anyio
import urllib3
from minio import Minio
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

from demo_servers import (
    ENDS,
    IMGTAG,
    DemoMinio,
    Failed,
    Shell,
    Sidecar,
    find_program,
)
from servers.elasticmq import ElasticMq
from servers.opensearch import OpenSearchServer
from servers.process import ServerProcess
from servers.sqs_bridge import SqsBridge

from imgtag.assembly import make_indexer
from imgtag.cli.demo.output import copy_with_credits, show_progress
from imgtag.config.load import load
from imgtag.errors import ImgtagError

PROGRAMS = {name: find_program(name) for name in ("minio", "mc", "elasticmq", "opensearch")}
MOTO = Path(sys.executable).with_name("moto_server")
QUEUES = {"hyperstore": "imgtag-hyperstore", "rekognition": "imgtag-rekognition"}
"""The queue of each system that has one."""
PER_SECOND, AT_ONCE = "4", "2"
"""Objects that the inventory's backfill labels, at most: a second, and at once."""


class Moto(ServerProcess):
    """moto, which has the API of Amazon Rekognition."""

    patience = 60.0

    def arguments(self) -> Sequence[str]:
        return ["-H", "127.0.0.1", "-p", str(self.port)]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class Machine:
    """The servers that the systems share; ``stack`` stops them."""

    shell: Shell
    stack: ExitStack
    minio: DemoMinio = field(init=False)
    index: OpenSearchServer = field(init=False)
    addresses: dict[str, str] = field(init=False)
    """Values of the placeholders in the configurations."""

    def start(self) -> None:
        """Start all, the store last: it wants to know its targets. Raises Failed."""
        folder, programs = self.shell.folder, {name: path or Path() for name, path in PROGRAMS.items()}
        queues, moto = ElasticMq(programs["elasticmq"], folder / "elasticmq"), Moto(MOTO, folder / "moto")
        self.index = OpenSearchServer(programs["opensearch"], folder / "opensearch")
        for server in (queues, moto, self.index):
            self._start(server)
        bridge = self.stack.enter_context(SqsBridge(queues))
        targets = {}
        for system, queue in QUEUES.items():
            (events := folder / f"{queue}-events").mkdir()
            target = {"ENABLE": "on", "ENDPOINT": bridge.url_of(queue), "QUEUE_DIR": str(events)}
            targets |= {f"MINIO_NOTIFY_WEBHOOK_{key}_{system.upper()}": value for key, value in target.items()}
        self.minio = DemoMinio(programs["minio"], folder / "minio", extra=targets)
        self._start(self.minio)
        (folder / "s3.secret").write_text(self.minio.secret_key)
        self.shell.export(
            MC_HOST_demo=self.minio.endpoint.replace("//", f"//{self.minio.access_key}:{self.minio.secret_key}@")
        )
        self.addresses = {
            "s3": self.minio.endpoint,
            "sqs": queues.url,
            "rekognition": moto.url,
            "elasticsearch": self.index.url,
            "folder": str(folder),
        }

    def _start(self, server: ServerProcess) -> None:
        self.stack.callback(server.stop)
        self.shell.start(server)

    def configure(self, system: str) -> Path:
        """Write the configuration of a system, and show it."""
        file = self.shell.folder / f"{system}.toml"
        file.write_text(Template((HERE / file.name).read_text()).substitute(self.addresses))
        self.shell.export(IMGTAG_CONFIG=str(file))
        self.shell.run("cat", str(file))
        return file

    def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the index itself, as Kibana or a program would; print the request and what it found. Raises Failed."""
        console = self.shell.console
        console.print(Text(f"POST {self.index.url}/{index}/_search\n{json.dumps(body)}", style="bold"), soft_wrap=True)
        response = urllib3.request("POST", f"{self.index.url}/{index}/_search", json=body, retries=False)
        answer: dict[str, Any] = response.json()
        if response.status != 200:
            raise Failed(f"the index answered {response.status}: {answer}")
        for hit in answer["hits"]["hits"]:
            labels = (label for label in hit["_source"]["labels"] if not label.get("ancestor"))
            texts = ", ".join(f"{label['name']} {label['confidence']:.2f}" for label in labels)
            console.print(f"  {hit['_source']['key']}: {texts}")
        for bucket in answer.get("aggregations", {}).get("names", {}).get("buckets", ()):
            console.print(f"  {bucket['key']}: {bucket['doc_count']}")
        console.print()
        return answer


def watch_uploads(machine: Machine, system: str) -> None:
    """Set up a system with a queue, start its sidecar, upload the samples, wait for their labels."""
    shell = machine.shell
    shell.run("mc", "mb", f"demo/{system}")
    file = machine.configure(system)
    shell.run("imgtag", "setup", "--yes")
    sidecar = Sidecar(IMGTAG, shell.folder / f"{system}-sidecar")
    sidecar.environment["IMGTAG_CONFIG"] = str(file)
    machine.stack.callback(sidecar.stop)
    shell.start(sidecar)
    copy_with_credits(shell.console, shell.folder / f"{system}-pictures")
    shell.run("mc", "cp", "--quiet", "--recursive", f"{shell.folder}/{system}-pictures/", f"demo/{system}/")

    def check() -> None:
        if not sidecar.running:
            raise Failed(f"imgtag has ended; its last output:\n{sidecar.last_words}")

    async def wait() -> None:
        async with make_indexer(load(file, env={})) as indexer:
            await show_progress(shell.console, indexer, check)

    try:
        anyio.run(wait)
    except TimeoutError:
        raise Failed(f"not all images were labelled in time:\n{sidecar.last_words}") from None


def rebuild_hyperstore(machine: Machine) -> None:
    """The labels are on the objects and in the index; each of the three queries of the published system."""
    watch_uploads(machine, "hyperstore")
    machine.shell.run("mc", "stat", "demo/hyperstore/pets/chelsea.jpg")
    machine.shell.run("imgtag", "search", "palace")
    machine.shell.run("imgtag", "search", "tiger cat>0.2")
    machine.search("hyperstore", {"query": {"term": {"terms": "palace"}}})
    machine.search("hyperstore", {"query": {"wildcard": {"label_names": "*cat*"}}})
    machine.search("hyperstore", {"query": {"nested": {"path": "labels", "query": at_least("tiger cat", 0.2)}}})


def rebuild_rekognition(machine: Machine) -> None:
    """A label with at least 90 %, its parents, and the counts of a report."""
    watch_uploads(machine, "rekognition")
    machine.shell.run("imgtag", "search", "mobile phone@0.9 bucket:rekognition")
    machine.search("rekognition", {"query": {"nested": {"path": "labels", "query": at_least("mobile phone", 0.9)}}})
    machine.search("rekognition", {"size": 0, "aggs": {"names": {"terms": {"field": "label_names"}}}})


def rebuild_inventory(machine: Machine) -> None:
    """The bucket is full before imgtag is there. Its inventory names the objects; a report has the outcome of each."""
    shell = machine.shell
    shell.run("mc", "mb", "demo/inventory", "demo/logs")
    copy_with_credits(shell.console, shell.folder / "inventory-pictures")
    shell.run("mc", "cp", "--quiet", "--recursive", f"{shell.folder}/inventory-pictures/", "demo/inventory/")
    manifest = write_inventory(machine.minio, "inventory", "logs")
    machine.configure("inventory")
    shell.run("imgtag", "setup", "--yes")
    pace = ("--concurrency", AT_ONCE, "--rate", PER_SECOND)
    shell.run("imgtag", "backfill", "--inventory", manifest, *pace, "--report", "report.csv", "--yes")
    shell.run("cat", "report.csv")
    machine.search("inventory", {"query": {"nested": {"path": "labels", "query": at_least("mobile phone", 0.9)}}})


def at_least(label: str, confidence: float) -> dict[str, Any]:
    """A nested query: one element has the name and the confidence."""
    return {
        "bool": {
            "filter": [{"term": {"labels.name": label}}, {"range": {"labels.confidence": {"gte": confidence}}}],
        }
    }


def write_inventory(minio: DemoMinio, bucket: str, to: str) -> str:
    """Write the inventory of a bucket, as AWS does every day; returns its manifest as BUCKET/KEY.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
    """
    address = minio.endpoint.removeprefix("http://")
    client = Minio(address, minio.access_key, minio.secret_key, secure=False, region="us-east-1")
    rows = [
        f'"{bucket}","{quote_plus(listed.object_name or "", safe="/")}","{listed.size}","{listed.etag}"\n'
        for listed in client.list_objects(bucket, recursive=True)
    ]
    data, folder = gzip.compress("".join(rows).encode()), f"{bucket}/daily"
    name = f"{folder}/data/1.csv.gz"
    manifest = {
        "sourceBucket": bucket,
        "destinationBucket": f"arn:aws:s3:::{to}",
        "version": "2016-11-30",
        "creationTimestamp": "1795741200000",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size, ETag",
        "files": [{"key": name, "size": len(data), "MD5checksum": md5(data, usedforsecurity=False).hexdigest()}],
    }
    key = f"{folder}/2026-11-27T01-00Z/manifest.json"
    for target, content in ((name, data), (key, json.dumps(manifest).encode())):
        client.put_object(to, target, BytesIO(content), len(content))
    return f"{to}/{key}"


SYSTEMS: Mapping[str, Callable[[Machine], None]] = {
    "hyperstore": rebuild_hyperstore,
    "rekognition": rebuild_rekognition,
    "inventory": rebuild_inventory,
}


def main() -> int:
    """Return the exit code: 0, 1 if something failed, 130 if interrupted."""
    parser = argparse.ArgumentParser(description="Rebuild published labelling systems on this machine.")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"default: {', '.join(SYSTEMS)}")
    parser.add_argument("--once", action="store_true", help="end after the searches instead of at Ctrl-C")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.systems if name not in SYSTEMS]:
        parser.error(f"there is no system {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    if missing := [
        name for name, program in {**PROGRAMS, "moto_server": MOTO}.items() if not (program and program.is_file())
    ]:
        print(f"not installed: {', '.join(missing)}. `make servers` installs them.", file=sys.stderr)
        return 1
    for number in ENDS:
        signal.signal(number, signal.default_int_handler)
    console = Console()
    try:
        with tempfile.TemporaryDirectory(prefix="imgtag-systems-") as folder, ExitStack() as stack:
            machine = Machine(Shell(console, Path(folder)), stack)
            machine.start()
            for name in arguments.systems or SYSTEMS:
                console.rule(name)
                SYSTEMS[name](machine)
            if sys.stdout.isatty() and not arguments.once:
                console.print(f"OpenSearch: {machine.index.url}. Ctrl-C stops and removes everything.")
                signal.pause()
    except KeyboardInterrupt:
        console.print("Everything is stopped and removed.")
        return 130
    except (Failed, ImgtagError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
