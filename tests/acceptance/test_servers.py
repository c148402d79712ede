"""The real command between a real MinIO and a real nats-server: put a picture, find it, and what was given up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import nats as client
import pytest
from minio import Minio

from acceptance.conftest import SUBJECT, Site, uploader
from acceptance_support import wait_until
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def nats(folder: Path) -> Iterator[NatsServer]:
    with NatsServer(binary("nats-server"), folder / "nats") as server:
        yield server


@pytest.fixture(scope="module")
def minio(folder: Path, nats: NatsServer) -> Iterator[MinioServer]:
    """With two targets, at once and durable."""
    with MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as server:
        yield server


@pytest.fixture(scope="module")
def user(minio: MinioServer) -> Minio:
    return uploader(minio)


@pytest.fixture(scope="module")
def running(folder: Path, minio: MinioServer, nats: NatsServer, user: Minio) -> Iterator[Site]:
    """A sidecar on a bucket with notifications, for tests that keep to keys of their own."""
    site = Site(folder)
    site.connect(minio, nats, '[[rules]]\nbucket = "photos"')
    user.make_bucket("photos")
    site.ask("setup", "--yes")
    with site.running():
        yield site


def put(user, key, data):
    user.put_object("photos", key, BytesIO(data), len(data), content_type="image/jpeg")


def letters(site):
    return [json.loads(line) for line in site.ask("dlq", "list", "--json").splitlines()]


def test_setup_makes_what_is_missing_and_says_so(running, user):
    """Both lanes are on the bucket; a second time there is nothing to do; without --yes nobody is overrun."""
    queues = user.get_bucket_notification("photos").queue_config_list

    assert {"arn:minio:sqs::FAST:nats", "arn:minio:sqs::SAFE:nats"} == {entry.queue for entry in queues}
    assert "" == running.ask("setup")
    user.delete_bucket_notification("photos")
    assert "missing: notify arn:minio:sqs::FAST:nats" in running.ask("setup", code=2)
    assert "created: notify" in running.ask("setup", "--yes")


def test_a_broken_picture_is_listed_replayed_and_dropped(running, user, photographs):
    """One letter a key with its reason; what is replayed is tried again; what is dropped is forgotten."""
    for key in ("broken/a.jpg", "broken/b.jpg"):
        put(user, key, photographs["cat"][:2_000])
    wait_until(lambda: len(letters(running)) == 2)
    found = {letter["key"]: letter for letter in letters(running)}

    assert {"broken/a.jpg", "broken/b.jpg"} == set(found)
    assert {"photos"} == {letter["bucket"] for letter in found.values()}
    assert all(letter["reason"] and letter["code"] for letter in found.values())
    before = running.metric('imgtag_objects_total{result="failed"}')
    running.run("dlq", "replay", found["broken/a.jpg"]["id"])
    # Tried again, it has another letter.
    wait_until(lambda: found["broken/a.jpg"]["id"] not in {letter["id"] for letter in letters(running)})
    wait_until(lambda: len(letters(running)) == 2)
    assert running.metric('imgtag_objects_total{result="failed"}') > before
    wait_until(lambda: running.metric("imgtag_backlog") == running.metric("imgtag_queue") == 0)
    assert "broken/a.jpg" in {letter["key"] for letter in letters(running)}
    running.ask("dlq", "drop", "--all", code=2)
    running.ask("dlq", "drop", "--all", "--yes")
    assert [] == letters(running)
    put(user, "broken/a.jpg", photographs["cat"])
    wait_until(lambda: running.found("prefix:broken/ cat"))


def test_a_message_that_is_no_notification_is_listed(running, nats, user, photographs):
    """Its text is kept; what follows is worked off."""

    async def publish():
        connection = await client.connect(nats.url)
        await connection.jetstream().publish(SUBJECT, b"not a notification")
        await connection.close()

    asyncio.run(publish())
    put(user, "follows.jpg", photographs["cat"])
    wait_until(lambda: letters(running) and running.found("title:follows"))

    (letter,) = letters(running)
    assert (None, None) == (letter["bucket"], letter["key"])
    assert letter["reason"]
    running.ask("dlq", "drop", letter["id"], "--yes")


def test_every_upload_is_written_once_and_restarts_of_the_servers_lose_none(running, user, photographs, nats, minio):
    """Both lanes bring every event, and our own writes make further ones: still one write an upload. The durable
    target delivers uploads that happened while nats-server was away; MinIO comes back as well.
    """
    before, took = running.metric("imgtag_writes_total"), running.metric("imgtag_latency_seconds_count")
    kinds = list(photographs.values())
    for number in range(20):
        put(user, f"many/{number}.jpg", kinds[number % 3] + number.to_bytes(4, "big"))
    wait_until(lambda: running.metric("imgtag_latency_seconds_count") >= took + 20)
    wait_until(lambda: running.metric("imgtag_backlog") == running.metric("imgtag_queue") == 0)
    nats.stop()
    for number in range(20, 30):
        put(user, f"many/{number}.jpg", kinds[number % 3] + number.to_bytes(4, "big"))
    nats.start()
    wait_until(lambda: len(running.found("prefix:many/")) == 30, 90)
    minio.restart()
    put(user, "many/after.jpg", photographs["espresso"])
    wait_until(lambda: len(running.found("prefix:many/")) == 31)
    wait_until(lambda: running.metric("imgtag_queue") == 0)

    assert before + 31 == running.metric("imgtag_writes_total")
    assert 0 < running.metric("imgtag_latency_seconds_sum") < 60 * running.metric("imgtag_latency_seconds_count")
    assert [] == letters(running)
