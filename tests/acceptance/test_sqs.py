"""The real command between a queue, a store and an index of others: ElasticMQ, MinIO and OpenSearch.

MinIO's own events go over a bridge that sends them to the queue as AWS would.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import BytesIO

import pytest
import urllib3
from minio import Minio
from minio.error import S3Error
from minio.notificationconfig import NotificationConfig, QueueConfig
from minio.versioningconfig import ENABLED, VersioningConfig

from acceptance.conftest import Site, uploader
from acceptance_support import wait_until
from integration.conftest import binary
from servers.elasticmq import ElasticMq
from servers.minio import MinioServer, minio_binary
from servers.opensearch import OpenSearchServer
from servers.sqs_bridge import SqsBridge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]

BUCKET, QUEUE = "photos", "imgtag-local"
ACK_WAIT = 5
"""Seconds until what a killed sidecar had in work comes again."""
UPLOADS = 200


@dataclass
class World:
    """The servers, a sidecar between them, and somebody who uploads."""

    minio: MinioServer
    queue: ElasticMq
    index: OpenSearchServer
    site: Site
    user: Minio
    repeated: set[str] = field(default_factory=set)
    """Keys of uploads whose first answer was not heard: the store may have taken them twice."""

    def upload(self, numbers, photographs) -> None:
        """Upload as people do: until it is taken."""
        kinds = list(photographs.values())
        for number in numbers:
            data, deadline = kinds[number % 3] + number.to_bytes(4, "big"), time.monotonic() + 60
            while True:
                try:
                    self.user.put_object(BUCKET, f"{number}.jpg", BytesIO(data), len(data), content_type="image/jpeg")
                    break
                except (S3Error, urllib3.exceptions.HTTPError):  # the server is being restarted
                    self.repeated.add(f"{number}.jpg")
                    assert time.monotonic() < deadline
                    time.sleep(0.2)

    def versions(self) -> dict[str, list[bool]]:
        """For each version of each object, newest first, whether we wrote it: what was uploaded has no mark."""
        ours: dict[str, list[bool]] = {}
        for version in self.user.list_objects(BUCKET, recursive=True, include_version=True):
            metadata = self.user.stat_object(BUCKET, version.object_name, version_id=version.version_id).metadata
            ours.setdefault(version.object_name, []).append("x-amz-meta-imgtag-mark" in metadata)
        return ours

    def etags(self) -> dict[str, str]:
        return {listed.object_name: listed.etag for listed in self.user.list_objects(BUCKET, recursive=True)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sqs")
    (folder / "site").mkdir()
    (folder / "queue").mkdir()
    with ExitStack() as stack:
        queue = stack.enter_context(ElasticMq(binary("elasticmq"), folder / "elasticmq"))
        index = stack.enter_context(OpenSearchServer(binary("opensearch"), folder / "opensearch"))
        bridge = stack.enter_context(SqsBridge(queue))
        target = {"ENABLE": "on", "ENDPOINT": bridge.url_of(QUEUE), "QUEUE_DIR": str(folder / "queue")}
        extra = {f"MINIO_NOTIFY_WEBHOOK_{name}_BRIDGE": value for name, value in target.items()}
        minio = stack.enter_context(MinioServer(minio_binary(), folder / "minio", extra=extra))
        site = Site(folder / "site")
        site.file.write_text(
            f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
            f'secret_key = "{minio.secret_key}"\n'
            f'[source.sqs]\nendpoint = "{queue.url}"\nregion = "elasticmq"\naccess_key = "x"\nsecret_key = "x"\n'
            f"ack_wait = {ACK_WAIT}\nwait = 2\npark = 1\n"
            f'[indexer.elasticsearch]\nurl = "{index.url}"\nrefresh = "now"\nreplicas = 0\ntimeout = 5\n'
            f'[[rules]]\nbucket = "{BUCKET}"\n[state]\ndir = "{site.base / "state"}"\n'
            f'[ops]\nlisten = "127.0.0.1:0"\n[pipeline]\nworkers = 2\nretry_first = 0.1\nretry_max = 2\n'
        )
        user = uploader(minio)
        user.make_bucket(BUCKET)
        user.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
        # Its own target: MinIO cannot notify a queue.
        entry = QueueConfig(
            queue="arn:minio:sqs::BRIDGE:webhook", events=["s3:ObjectCreated:*", "s3:ObjectRemoved:*"], config_id="1"
        )
        user.set_bucket_notification(BUCKET, NotificationConfig(queue_config_list=[entry]))
        site.ask("setup", "--yes", code=1)  # the queues are created; the notification cannot be
        with site.running():
            yield World(minio, queue, index, site, user)


def test_uploads_while_everything_is_restarted_or_killed(world, photographs):
    """Every upload is labelled with one write, whatever is restarted or killed meanwhile; nothing is given up."""

    def kill_sidecar():
        world.site.kill()
        world.site.start(until="ready")

    def kill_queue():
        world.queue.kill()
        world.queue.start()

    def kill_index():
        world.index.kill()
        world.index.start()

    events = (world.queue.restart, kill_sidecar, world.minio.restart, kill_index, kill_queue)
    size = UPLOADS // len(events)
    for part, happens in enumerate(events):
        numbers = range(part * size, (part + 1) * size)
        uploads = threading.Thread(target=world.upload, args=(numbers, photographs))
        uploads.start()
        wait_until(world.site.found, 60)
        happens()
        uploads.join()

    def documents():
        return {document["key"]: document["etag"] for document in world.site.found()}

    wait_until(lambda: len(documents()) == UPLOADS, 240, lambda: f"{len(documents())} found")
    wait_until(lambda: all(ours[0] for ours in world.versions().values()), 90, lambda: f"{world.versions()}")
    wait_until(lambda: world.site.metric("imgtag_queue") == 0, 30)

    assert world.etags() == documents()
    for key, ours in world.versions().items():
        if key in world.repeated:
            assert ours[0], key
            assert ours.count(True) <= ours.count(False), key
        else:
            assert ours == [True, False], key  # what we wrote, and before it what was uploaded
    assert world.site.ask("dlq", "list") == ""
    world.site.ask("audit", "--json")  # the index agrees with every object, or it would end with 1
    # The log has events of ours alone: no library writes of its requests.
    assert [] == [line["event"] for line in world.site.lines() if not re.fullmatch("[a-z0-9_]+", line["event"])]


def test_what_is_given_up_can_be_retried(world, photographs):
    """A dead letter has its reason, is listed and dropped by any process, and a retry is work for the running one."""
    broken = b"\xff\xd8 no picture"
    world.user.put_object(BUCKET, "broken.jpg", BytesIO(broken), len(broken), content_type="image/jpeg")
    wait_until(lambda: "broken.jpg" in world.site.ask("dlq", "list"), 30)
    assert "not_an_image" in world.site.ask("dlq", "list")

    data = photographs["cat"]
    world.site.ask("dlq", "replay", "--all")
    wait_until(lambda: "broken.jpg" in world.site.ask("dlq", "list"), 30)
    world.user.put_object(BUCKET, "broken.jpg", BytesIO(data), len(data), content_type="image/jpeg")
    wait_until(lambda: any(found["key"] == "broken.jpg" for found in world.site.found("cat")), 30)
    wait_until(lambda: world.site.ask("dlq", "list") == "", 30)


def test_what_a_queue_cannot_do_is_said(world):
    """A distributed backfill ends with the reason."""
    assert "sqs" in world.site.fails("backfill", BUCKET, "--distributed", "--yes", code=2)


def test_doctor_and_policy(world):
    """Everything passes, and only setup may create queues."""
    report = world.site.ask("doctor", "--json")

    assert '"check": "permissions", "ok": true' in report
    assert "sqs:CreateQueue" in world.site.ask("policy", "--with", "setup", "sqs")
    assert "sqs:CreateQueue" not in world.site.ask("policy", "sqs")
