"""`imgtag backfill --distributed` with two sidecars on a real MinIO and nats-server, which are killed and held up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig
from PIL import Image

from acceptance.conftest import IMGTAG, SUBJECT, Site, uploader
from acceptance_support import wait_until
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer

OBJECTS = int(os.environ.get("IMGTAG_DISTRIBUTED", "200"))
QUEUE = 100
"""Objects that fit into the queue: fewer than there are."""
IN_HAND = 16
"""Objects that a sidecar takes at once, at most, at full speed."""
BUCKET = "photos"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Pair:
    """Two sidecars of one site with one index, each with a state folder of its own; and what is in the bucket."""

    def __init__(self, folder: Path, minio: MinioServer, nats: NatsServer, photograph: bytes) -> None:
        self.client = uploader(minio)
        self.photograph = photograph
        self.client.make_bucket(BUCKET)
        self.client.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
        self.sites = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            site = Site(folder / name)
            site.connect(
                minio,
                nats,
                f'[labels]\nmark_key = "shared"\n[[rules]]\nbucket = "{BUCKET}"',
                source=f"ack_wait = 3\nbackfill_messages = {QUEUE}",
            )
            index = f'[indexer.sqlite]\npath = "{folder / "index.sqlite3"}"\n'
            site.file.write_text(site.file.read_text().replace("[indexer.sqlite]\n", index))
            self.sites.append(site)
        self.sites[0].run("setup", "--yes")

    def put(self, key: str, number: int) -> None:
        """Different bytes under each key."""
        data = self.photograph + b"%d" % number
        self.client.put_object(BUCKET, key, BytesIO(data), len(data), "image/jpeg")

    def fill(self, prefix: str, count: int) -> None:
        """While no event tells of it."""
        notification = self.client.get_bucket_notification(BUCKET)
        self.client.delete_bucket_notification(BUCKET)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: self.put(f"{prefix}/{number:05}.jpg", number), range(count)))
        self.client.set_bucket_notification(BUCKET, notification)

    def versions(self, prefix: str) -> Counter[str]:
        listed = self.client.list_objects(BUCKET, prefix, recursive=True, include_version=True)
        return Counter(item.object_name for item in listed)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Both sidecars, of which a test may kill one."""
        with self.sites[0].running(), self.sites[1].running():
            yield

    @contextmanager
    def begin(self, prefix: str, *pace: str) -> Iterator[subprocess.Popen[str]]:
        """The command, which publishes and waits; it is killed at the end of the block if it has not ended by then."""
        command = [*IMGTAG, "--config", str(self.sites[0].file), "backfill", f"{BUCKET}/{prefix}"]
        options = ["--distributed", *(pace or ("--full-speed",)), "--yes", "--json"]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, start_new_session=True)
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def backfills(self) -> list[dict]:
        """As `imgtag status` has them, from the sidecar that was not killed."""
        return json.loads(self.sites[0].get("/status"))["backfills"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("distributed")
    with Image.open(BytesIO(photographs["cat"])) as picture:
        picture.thumbnail((160, 160))
        picture.save(buffer := BytesIO(), "JPEG")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
    ):
        yield Pair(folder, minio, nats, buffer.getvalue())


def _labelled(site: Site) -> float:
    """How many objects of backfills it has labelled."""
    return site.metric('imgtag_backfill_objects_total{outcome="labelled"}')


def test_two_sidecars_share_it_and_one_is_killed(pair: Pair) -> None:
    """Each object is written on once and counted once; uploads meanwhile wait only for what was in hand before them."""
    pair.fill("old", OBJECTS)
    first, second = pair.sites
    # The rate of each: one that hears of it some seconds later still finds work.
    with pair.running(), pair.begin("old/", "--rate", str(OBJECTS // 12)) as command:
        wait_until(lambda: _labelled(second) and sum(pair.versions("old/").values()) > OBJECTS * 6 // 5, 60)
        by_second = _labelled(second)
        second.kill()
        seen = len(first.lines())
        for number in range(5):
            pair.put(f"new/{number}.jpg", OBJECTS + number)
        wait_until(lambda: len(first.found("prefix:new/")) == 5, 60)
        (backfill,) = pair.backfills()
        shown = first.run("status", "--once", "--url", _url(first))
        last = json.loads(command.communicate(timeout=120)[0].splitlines()[-1])
        keys = [line["key"] for line in first.lines()[seen:] if line["event"] == "object_processed"]

    assert 0 < by_second < OBJECTS
    assert backfill["left"] > 0
    live = max(keys.index(f"new/{number}.jpg") for number in range(5))
    assert sum(key.startswith("old/") for key in keys[:live]) <= 2 * IN_HAND
    assert f"{backfill['id']}: {BUCKET}/old/: " in shown
    assert command.returncode == 0
    assert {"done": True, "listed": OBJECTS, "labelled": OBJECTS, "skipped": 0, "refused": 0, "failed": 0} == {
        name: last[name] for name in ("done", "listed", "labelled", "skipped", "refused", "failed")
    }
    assert {2} == set(pair.versions("").values())
    assert OBJECTS + 5 == len(first.found("status:labelled"))


def test_a_publisher_waits_for_room_and_is_killed(pair: Pair) -> None:
    """The same command publishes the rest, nothing is worked on twice, and another one waits for the same result."""
    count = QUEUE + 20
    pair.fill("more", count)
    with pair.begin("more/") as command:
        waits = next(line for line in command.stdout if "the queue is full" in (json.loads(line)["held_back"] or ""))
        os.killpg(command.pid, signal.SIGKILL)
    with pair.begin("more/") as again:
        next(again.stdout)  # so that it has begun
        with pair.begin("more/") as joining:
            next(joining.stdout)
            with pair.running():
                results = [json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in (again, joining)]

    assert json.loads(waits)["left"] <= QUEUE
    assert [(count, count, 0)] * 2 == [(result["listed"], result["labelled"], result["skipped"]) for result in results]
    assert {2} == set(pair.versions("more/").values())


def test_another_run_is_not_taken_for_the_one_that_is_waited_for(pair: Pair) -> None:
    """A command that did not see the end of its backfill, because the same command began it anew, shows its own."""
    count = 20
    pair.fill("twice", count)
    with pair.begin("twice/") as waiting:
        assert any(json.loads(line)["published"] for line in waiting.stdout)
        os.killpg(waiting.pid, signal.SIGSTOP)
        try:
            with pair.running():
                wait_until(lambda: [0] == [each["left"] for each in pair.backfills() if each["listed"] == count], 60)
                with pair.begin("twice/") as later:
                    second = json.loads(later.communicate(timeout=60)[0].splitlines()[-1])
        finally:
            os.killpg(waiting.pid, signal.SIGCONT)
        first = json.loads(waiting.communicate(timeout=60)[0].splitlines()[-1])

    assert (0, count) == (second["labelled"], second["skipped"])
    assert (0, True, count, 0) == (waiting.returncode, first["done"], first["listed"], first["skipped"])


def test_a_cancelled_one_is_over(pair: Pair) -> None:
    """With `--detach` the command returns when all is published; cancelled, nobody works on it."""
    pair.fill("never", 5)
    site, command = pair.sites[0], ["backfill", f"{BUCKET}/never/", "--distributed", "--detach", "--json", "--yes"]
    published = json.loads(site.run(*command).splitlines()[-1])
    complaint = site.fails("backfill", "--cancel", "unknown", "--yes", code=2)
    site.run("backfill", "--cancel", published["id"], "--yes")
    with site.running():
        pair.put("new/after.jpg", 1)
        wait_until(lambda: site.found("prefix:new/after"), 30)
        backfills = pair.backfills()

    assert (False, True, 5, 5) == tuple(published[name] for name in ("done", "published", "listed", "left"))
    assert published["id"] in complaint
    assert published["id"] not in {backfill["id"] for backfill in backfills}
    assert {1} == set(pair.versions("never/").values())


def test_what_cannot_be_distributed_is_said(pair: Pair, tmp_path: Path) -> None:
    """A folder has one sidecar; a report and a dry run are made by the process that does the work."""
    complaints = [
        pair.sites[0].ask_wrongly("backfill", "--distributed", *options, code=2)
        for options in (["--report", "r.csv"], ["--dry-run"], ["--keys", "-", "--yes"])
    ]

    assert "keeps a queue for all sidecars" in Site(tmp_path).ask_wrongly("backfill", "--distributed", code=2)
    assert ["--report", "--dry-run", "--keys"] == [
        next(word for word in ("--report", "--dry-run", "--keys") if word in complaint) for complaint in complaints
    ]


def _url(site: Site) -> str:
    port = next(line["port"] for line in site.lines() if line["event"] == "ops_listening")
    return f"http://127.0.0.1:{port}"
