"""Two sidecars of one site, each a process with a state folder of its own, and what they do on a schedule."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import md5
from pathlib import Path

import anyio
import pytest

from acceptance.conftest import IMGTAG, SUBJECT, Site, uploader
from acceptance_support import wait_until
from imgtag.config.load import load
from imgtag.engine import open_job_parts
from imgtag.jobs.audit_record import AuditRecord
from imgtag.service import scheduled_audit
from imgtag.service.scheduled_audit import ScheduledAudit
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client
from unit.jobs.inventories import manifest, row, to_csv

pytestmark = pytest.mark.timeout(240)

TAKEOVER = 60.0
"""Seconds within which a killed sidecar is replaced, on a machine with other things to do."""


class Pair:
    """Two sidecars on the same servers and the same index."""

    def __init__(self, folder: Path, minio: MinioServer, nats: NatsServer, client: S3Client) -> None:
        self._minio, self._nats, self._index = minio, nats, folder / "index.sqlite3"
        self.user, self.client = uploader(minio), client
        self.sites = []
        for name in ("first", "second"):
            (folder / name).mkdir()
            self.sites.append(Site(folder / name, workers=1))

    def configure(self, bucket: str, site: str, more: str) -> None:
        """What both are to do."""
        for each in self.sites:
            rules = f'[[rules]]\nbucket = "{bucket}"\n[site]\nname = "{site}"\n[labels]\nmark_key = "key"\n'
            each.connect(self._minio, self._nats, f"{rules}{more}", source="ack_wait = 5")
            text = each.file.read_text().replace(SUBJECT, f"imgtag.{site}.events")  # a site has a stream of its own
            each.file.write_text(text.replace("[indexer.sqlite]", f'[indexer.sqlite]\npath = "{self._index}"'))

    def fill(self, name: str, photographs: dict[str, bytes], count: int) -> Bucket:
        """A new bucket with so many photographs, of which nobody is notified."""
        bucket = Bucket(self.client, name)
        bucket.make()
        for number in range(count):
            bucket.put_with(f"{number:02}.jpg", photographs["cat"] + bytes([number]), {"content-type": "image/jpeg"})
        return bucket

    def begun(self, event: str) -> list[int]:
        """How often the processes that run now have logged this."""
        return [site.events().count(event) for site in self.sites]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MinioServer, NatsServer, S3Client]]:
    folder = tmp_path_factory.mktemp("schedule")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio") as minio,
        closing(S3Client(SPEC.settings(**minio.settings))) as client,
    ):
        yield minio, nats, client


@pytest.fixture
def pair(tmp_path: Path, servers: tuple[MinioServer, NatsServer, S3Client]) -> Iterator[Pair]:
    made = Pair(tmp_path, *servers)
    yield made
    for site in made.sites:
        site.end()


@pytest.mark.slow
def test_one_audits_and_another_takes_over(pair, photographs):
    """The second waits while the first audits, and begins when the first is killed; what it found, both show.

    A restart begins no audit, because none is due; a sidecar that stops during one leaves nothing to wait for.
    """
    pair.fill("audited", photographs, 20)
    pair.configure("audited", "audited", '[audit]\nevery = "1d"')
    with ThreadPoolExecutor() as threads:  # both at once: one audits as soon as it is ready, and not for long
        list(threads.map(Site.start, pair.sites))
    wait_until(lambda: sum(pair.begun("scheduled_job_started")))
    first, second = sorted(pair.sites, key=lambda site: "scheduled_job_started" not in site.events())
    assert [1, 0] == [site.metric('imgtag_job_running{name="audit"}') for site in (first, second)]

    # Nothing is indexed, so the first one is about to look a second time.
    assert "scheduled_job_ended" not in first.events()
    first.kill()
    first.ask("backfill", "--yes", "--full-speed")
    wait_until(lambda: "audit_finished" in second.events(), TAKEOVER, lambda: second.log.read_text()[-2000:])
    (finished,) = [line for line in second.lines() if line["event"] == "audit_finished"]
    assert (20, {"missing": 0, "orphaned": 0, "differing": 0}) == (finished["objects"], finished["findings"])
    wait_until(lambda: 1 == second.metric('imgtag_jobs_total{name="audit",result="done"}'))

    first.start()
    shown = "imgtag_audit_last_success_timestamp_seconds"
    wait_until(lambda: first.metric(shown) == second.metric(shown) > 0)
    assert "scheduled_job_started" not in first.events()
    assert 1 == second.events().count("scheduled_job_started")
    assert 0 == first.stop()
    assert 0 == second.stop()


def test_repair_stops_at_many_deletions(site, photographs, monkeypatch, caplog):
    """What is missing is mended where the configuration says so; more than a twentieth is never deleted."""
    monkeypatch.setattr(scheduled_audit, "SETTLE", 0.0)
    caplog.set_level("INFO")
    for name in ("a", "b", "c"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"] + name.encode())

    async def audit() -> dict[str, int]:
        async with open_job_parts(config := load(site.file, env={})) as parts:
            await ScheduledAudit(config=config, parts=parts, hours=None).run()
            assert 0 == parts.metrics.registry.get_sample_value("imgtag_bulk_limit"), "no bulk work runs any more"
        return dict(AuditRecord.load(config.state_dir).findings)

    assert {"missing": 3, "orphaned": 0, "differing": 0} == anyio.run(audit)
    assert 3 == caplog.messages.count("audit_finding")
    site.configure("[audit]\nrepair = true")
    assert {"missing": 0, "orphaned": 0, "differing": 0} == anyio.run(audit)

    (site.root / "a.jpg").unlink()
    (site.root / "d.jpg").write_bytes(photographs["daisy"])
    assert {"missing": 1, "orphaned": 1, "differing": 0} == anyio.run(audit)
    assert "audit_repair_refused" in caplog.messages


def put_inventory(pair: Pair, day: int, keys: list[str]) -> None:
    """As S3 writes it, of the bucket `listed`."""
    bucket = Bucket(pair.client, "inventories")
    name = f"lists/listed/daily/data/{day}.csv.gz"
    data = to_csv([row(key, Bucket="listed", ETag="", Size="") for key in keys])
    content = manifest({name: data}, sourceBucket="listed")
    bucket.put(name, data)
    bucket.put(f"lists/listed/daily/2026-11-{day:02}T01-00Z/manifest.checksum", md5(content).hexdigest().encode())
    bucket.put(f"lists/listed/daily/2026-11-{day:02}T01-00Z/manifest.json", content)


@pytest.mark.slow
def test_an_inventory_starts_a_backfill_once(pair, photographs):
    """By a command, through a `kill -9` in the middle, and then by one of two sidecars that look for new ones."""
    pair.fill("listed", photographs, 10)
    Bucket(pair.client, "inventories").make()
    pair.configure("listed", "listed", '[backfill]\ninventory = "inventories/lists/"')
    first, second = pair.sites
    assert "" == first.ask("backfill", "--new")

    put_inventory(pair, 26, [f"{number:02}.jpg" for number in range(8)])
    command = [*IMGTAG, "--config", str(first.file), "backfill", "--new", "--yes", "--concurrency", "1", "--rate", "2"]
    talk = first.base / "talk"
    with talk.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as killed:
        # On a busy machine the backfill gives way, and takes five seconds for an object.
        wait_until(lambda: len(first.found()) >= 2, 2 * TAKEOVER, talk.read_text)
        killed.kill()
    assert 2 <= len(first.found()) < 8
    assert "8 objects" in first.ask("backfill", "--new", "--yes", "--full-speed")
    assert 8 == len(first.found("status:labelled"))
    for site in pair.sites:
        assert "" == site.ask("backfill", "--new", "--yes"), "the other one knows that it is done, too"

    put_inventory(pair, 27, [f"{number:02}.jpg" for number in range(10)])
    pair.configure("listed", "listed", '[backfill]\ninventory = "inventories/lists/"\nevery = "1m"')
    first.start()
    second.start()
    wait_until(lambda: sum(pair.begun("inventory_backfill_finished")), 2 * TAKEOVER)
    assert 1 == sum(pair.begun("inventory_backfill_started"))
    assert 10 == len(first.found("status:labelled"))
    wait_until(lambda: sum(pair.begun("scheduled_job_ended")) >= 1)
    assert 0 == first.stop()
    assert 0 == second.stop()
    assert "" == first.ask("backfill", "--new", "--yes")
