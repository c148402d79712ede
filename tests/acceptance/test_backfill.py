"""`imgtag backfill` on a real MinIO: what was there before is labelled once, however often the command is killed."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import anyio
import nats
import pytest
from minio import Minio
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from PIL import Image

from acceptance.conftest import IMGTAG, Site, uploader
from imgtag.cli.backfill import NICENESS
from integration.conftest import binary
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer

OBJECTS, KILLS = int(os.environ.get("IMGTAG_BACKFILL", "150")), int(os.environ.get("IMGTAG_KILLS", "2"))
"""20,000 and 10 take 15 minutes."""
PAGE = 1_000
PLAIN, VERSIONED = "plain", "versioned"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 + OBJECTS)]


class Store:
    """A MinIO whose buckets were filled before anybody asked it to notify."""

    def __init__(self, site: Site, client: Minio, nats: NatsServer, photographs: dict[str, bytes]) -> None:
        self.site = site
        self.nats = nats
        self.client = client
        self.photographs = list(photographs.values())
        for bucket in (PLAIN, VERSIONED):
            client.make_bucket(bucket)
        client.set_bucket_versioning(VERSIONED, VersioningConfig(ENABLED))

    def fill(self, bucket: str, count: int) -> None:
        """Different bytes under each key; the first photographs, small, so that the work on them is ours."""

        def put(number: int) -> None:
            data = _tiny(self.photographs[number % len(self.photographs)]) + b"%d" % number
            key = f"{number % 7}/{number:06}+ü.jpg"
            self.client.put_object(bucket, key, BytesIO(data), len(data), "image/jpeg", metadata={"by": "me"})

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(put, range(count)))

    def versions(self, bucket: str) -> Counter[str]:
        return Counter(
            item.object_name for item in self.client.list_objects(bucket, recursive=True, include_version=True)
        )

    async def streams(self) -> list[str]:
        connection = await nats.connect(self.nats.url)
        try:
            return [stream.config.name for stream in await connection.jetstream().streams_info()]
        finally:
            await connection.close()

    def labels(self, bucket: str, key: str) -> list[str]:
        metadata = self.client.stat_object(bucket, key).metadata
        return [name for name in metadata if name.lower().startswith("x-amz-meta-imgtag_")]

    def run(self, *arguments: str, code: int = 0) -> dict:
        """The last object that the command prints."""
        output = self.site.ask("backfill", "--full-speed", "--yes", "--json", *arguments, code=code)
        return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("backfill")
    (folder / "site").mkdir()
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats_server,
        MinioServer(minio_binary(), folder / "minio") as minio,
    ):
        site = Site(folder / "site")
        site.connect(minio, nats_server, "".join(f'[[rules]]\nbucket = "{name}"\n' for name in (PLAIN, VERSIONED)))
        yield Store(site, uploader(minio), nats_server, photographs)


def _tiny(photograph: bytes) -> bytes:
    with Image.open(BytesIO(photograph)) as picture:
        picture.thumbnail((160, 160))
        buffer = BytesIO()
        picture.save(buffer, "JPEG")
    return buffer.getvalue()


def test_a_dry_run_and_the_question_change_nothing(store, tmp_path):
    """No stream, index or state is made, whether a bucket is named or a list of keys."""
    keys = tmp_path / "keys"
    keys.write_text(f"{PLAIN}/new.jpg\n")
    store.client.put_object(PLAIN, "new.jpg", BytesIO(store.photographs[0]), len(store.photographs[0]), "image/jpeg")

    assert 1 == store.run(PLAIN, "--dry-run")["labelled"]
    assert 1 == store.run("--keys", str(keys), "--dry-run")["labelled"]
    assert "1 objects: 1 to look at" in store.site.ask_wrongly("backfill", "--keys", str(keys), code=2)

    store.client.remove_object(PLAIN, "new.jpg")
    assert [] == anyio.run(store.streams)
    assert not Path(store.site.base, "state").exists()


def test_each_object_is_written_once_however_often_it_is_killed(store, tmp_path):
    """Every version of ours is counted; a run does at most a page again; the report has each object once."""
    store.fill(VERSIONED, OBJECTS)
    report, chance, done = tmp_path / "report.csv", random.Random(1), 0
    command = [
        *IMGTAG,
        "--config",
        str(store.site.file),
        "backfill",
        VERSIONED,
        "--yes",
        "--rate",  # slow enough for a test that looks on
        str(max(10, OBJECTS // 15)),
        "--report",
        str(report),
    ]
    state = Path(store.site.base, "state", "backfill")

    def saved() -> int:
        return max((json.loads(file.read_bytes())["progress"]["listed"] for file in state.glob("*.json")), default=0)

    for _ in range(KILLS):
        checkpoint = saved()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        goal = done + chance.randint(1, OBJECTS // (KILLS + 1))
        while process.poll() is None and sum(count > 1 for count in store.versions(VERSIONED).values()) < goal:
            time.sleep(max(0.1, OBJECTS / 5_000))  # listing all versions is work for the store
        assert process.poll() is None, f"it ended by itself: {process.communicate()[1][-2000:]}"
        niceness = os.getpriority(os.PRIO_PROCESS, process.pid) - os.getpriority(os.PRIO_PROCESS, 0)
        assert niceness == NICENESS, "a running sidecar would not go first"
        os.killpg(process.pid, signal.SIGKILL)
        stderr = process.communicate()[1]
        assert not checkpoint or f"going on after {checkpoint:,} objects" in stderr, stderr
        done = sum(count > 1 for count in store.versions(VERSIONED).values())
        assert done - saved() <= PAGE

    result = store.run(VERSIONED, "--report", str(report))
    assert (OBJECTS, OBJECTS) == (result["listed"], result["labelled"] + result["skipped"])
    assert {2} == set(store.versions(VERSIONED).values())
    with report.open(newline="") as file:
        rows = Counter(row["key"] for row in csv.DictReader(file))
    assert OBJECTS == len(rows) == sum(rows.values())
    assert OBJECTS == len(store.site.found(f"bucket:{VERSIONED} status:labelled"))

    again = store.run(VERSIONED)
    assert (OBJECTS, 0) == (again["skipped_as"]["current"], again["bytes"])
    assert {2} == set(store.versions(VERSIONED).values())


def test_what_lost_its_labels_is_found_in_the_listing(store):
    """No event told of it: somebody copied the object onto itself with other metadata."""
    store.fill(PLAIN, 20)
    assert 20 == store.run(PLAIN)["labelled"]
    key = "3/000003+ü.jpg"
    data = store.client.get_object(PLAIN, key).read()
    store.client.put_object(PLAIN, key, BytesIO(data), len(data), "image/jpeg", metadata={"by": "her"})
    assert [] == store.labels(PLAIN, key)

    result = store.run(f"{PLAIN}/3/")
    assert (3, 1, 2) == (result["listed"], result["labelled"], result["skipped"])
    assert store.labels(PLAIN, key)


def test_stale_labels_are_written_again_without_the_bytes(store):
    """By new rules, from kept scores; the second time there is nothing left to do."""
    store.fill(VERSIONED, 10)
    part = f"{VERSIONED}/0/"
    store.run(part)
    settings = store.site.file.read_text()
    store.site.file.write_text(settings + "[labels]\nthreshold = 0.05\n")
    count = sum(key.startswith("0/") for key in store.versions(VERSIONED))

    assert count == store.run(part, "--dry-run")["skipped_as"]["stale"] > 0
    result = store.run(part, "--stale")
    assert (count, 0) == (result["labelled"], result["failed"])
    assert count == store.run(part, "--stale")["skipped_as"]["current"]
    store.site.file.write_text(settings)


def test_a_list_of_keys_is_worked_off(store, tmp_path):
    """As `imgtag search --keys -0` prints it; a line that names nothing is said, and the rest is done."""
    store.fill(PLAIN, 4)
    store.run(PLAIN)
    store.client.put_object(PLAIN, "a b.jpg", BytesIO(store.photographs[0]), len(store.photographs[0]), "image/jpeg")
    keys = tmp_path / "keys"
    keys.write_bytes(b"plain/a b.jpg\0plain/gone.jpg\0nothing\0plain/0/000000+\xc3\xbc.jpg")
    result = store.run("--keys", str(keys), "-0", code=1)
    assert (3, 1, 2) == (result["listed"], result["labelled"], result["skipped"])
    assert store.labels(PLAIN, "a b.jpg")


def test_setup_offers_it(store):
    """What was there before is counted."""
    done = subprocess.run(
        [*IMGTAG, "--config", str(store.site.file), "setup", "--yes"], capture_output=True, text=True, timeout=60
    )
    assert "objects are there already" in done.stderr
    assert "imgtag backfill" in done.stderr


def test_bad_input_is_explained(store):
    """Before anything is touched."""
    assert "no rule names the bucket other" in store.site.ask_wrongly("backfill", "other", "--yes", code=2)
    store.client.put_object(PLAIN, "new.jpg", BytesIO(b"?"), 1)
    assert "pass --yes" in store.site.ask_wrongly("backfill", PLAIN, code=2)
    assert "is not a size" in store.site.ask_wrongly("backfill", PLAIN, "--min-size", "huge", code=2)
