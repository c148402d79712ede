"""The real command between MinIO, NATS and an inference server that goes away for a while."""

from __future__ import annotations

import json
from io import BytesIO

import psutil
import pytest
from minio.versioningconfig import ENABLED, VersioningConfig
from PIL import Image

from acceptance.conftest import SUBJECT, uploader
from acceptance_support import wait_until
from integration.conftest import binary
from servers.inference import V2Server
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.rekognition import RekognitionServer

pytestmark = pytest.mark.timeout(240)

BUCKET = "photos"
COLOURS = ("red", "blue", "yellow")
PICTURES = 18
MAX_GROWTH = 150 << 20
"""Bytes: what is read of waiting pictures is bounded by `bytes_in_flight`, 20 MB here."""


def picture(number: int) -> bytes:
    """A plain picture whose file takes two megabytes."""
    buffer = BytesIO()
    Image.new("RGB", (640, 480), COLOURS[number % len(COLOURS)]).save(buffer, "JPEG")
    return buffer.getvalue() + bytes([number]) + bytes(2 << 20)


def test_an_outage_of_the_server_loses_nothing(site, tmp_path):
    """A start waits for it, and pictures do: each is labelled with one write, and none becomes a dead letter; memory
    stays bounded.
    """
    with (
        NatsServer(binary("nats-server"), tmp_path / "nats") as nats,
        MinioServer(minio_binary(), tmp_path / "minio", extra=lanes(nats, SUBJECT, tmp_path / "queue")) as minio,
        V2Server() as server,
    ):
        user = uploader(minio)
        user.make_bucket(BUCKET)
        user.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
        site.connect(
            minio,
            nats,
            f'bytes_in_flight = 20000000\nmax_bytes = 10000000\nconcurrency = 8\n[[rules]]\nbucket = "{BUCKET}"\n'
            f'[classifier.http]\nurl = "{server.url}"\nmodel = "colours"\nconcurrency = 2\ntimeout = 5\n',
            source="ack_wait = 5",
        )
        site.run("setup", "--yes")

        def put(numbers: range) -> None:
            for number in numbers:
                data = picture(number)
                user.put_object(BUCKET, f"{number}.jpg", BytesIO(data), len(data), content_type="image/jpeg")

        def labelled() -> int:
            return sum("object_processed" == line["event"] for line in site.lines())

        server.stop()
        site.start(until="waiting_for_dependency")
        server.start()
        try:
            wait_until(lambda: "ready" in site.events(), 60, site.log.read_text)
            put(range(3))
            wait_until(lambda: labelled() == 3, 60, site.log.read_text)
            main = psutil.Process(site.process.pid)
            before = main.memory_info().rss
            server.stop()
            put(range(3, PICTURES))
            wait_until(lambda: site.events().count("retry_scheduled") >= 3, 60, site.log.read_text)
            waiting = main.memory_info().rss
            health = json.loads(site.get("/status"))
            server.start()
            wait_until(lambda: labelled() == PICTURES, 90, site.log.read_text)
            assert "dead_letter" not in site.events()
            assert 0 == site.stop()
        finally:
            site.end()

        assert waiting - before < MAX_GROWTH
        assert "classifier" in json.dumps(health)
        assert "" == site.ask("dlq", "list")
        versions = [listed.object_name for listed in user.list_objects(BUCKET, include_version=True)]
        assert dict.fromkeys(set(versions), 2) == {name: versions.count(name) for name in versions}
        top = {hit["key"]: hit["top_label"] for hit in site.found()}
        assert {f"{number}.jpg": COLOURS[number % len(COLOURS)] for number in range(PICTURES)} == top


def test_nobody_pays_to_be_told_the_price(site):
    """`plan`, `policy`, `doctor` and `search` buy nothing from AWS; `backfill` makes one call an image."""
    for number in range(3):
        (site.root / f"{number}.jpg").write_bytes(picture(number))
    with RekognitionServer() as aws:
        site.configure(
            f'[indexer.sqlite]\n[classifier.rekognition]\nmonthly_budget = 2\nendpoint = "{aws.url}"\n'
            'access_key = "AKIDEXAMPLE"\nsecret_key = "secret"\ncalls_per_second = 100\n'
        )
        told = json.loads(site.ask("plan", "--json").splitlines()[-1])
        assert (3, 0, 0.0) == (told["to_label"], told["calibrated"], told["dollars"])
        assert "about $0.00 to pay for classifying; $2.00 of this month's budget are left" in site.ask("plan")
        assert "rekognition:DetectLabels" in site.ask("policy", "rekognition")
        assert [] == aws.asked
        assert "$0.00 of $2.00 are spent this month" in site.ask("doctor")
        refused = len(aws.asked)
        site.ask("backfill", "--yes")
        assert refused + 3 == len(aws.asked)
        assert ["automobile"] * 3 == [
            word for hit in site.found("automobile") for word in hit["terms"] if word == "automobile"
        ]
        assert {"moderation"}.isdisjoint(site.found("car")[0]["ancestors"])
        assert "labels that are not known in advance" in site.ask("doctor")
        assert refused + 4 == len(aws.asked)
        (car, _) = json.loads(site.ask("label", "--json", str(site.root / "0.jpg")))["labels"]
        assert ("car", 0.9887) == (car["label"], car["confidence"])
