"""The real command sets up real servers, says what it cannot, and takes back what it made."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
import time
from io import BytesIO

import pytest
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider

from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch
from integration.conftest import binary
from integration.nats.publishing import client
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    with NatsServer(binary("nats-server"), tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def minio(tmp_path_factory):
    """MinIO as it is installed: it notifies nobody."""
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def index():
    with FakeMeilisearch() as server:
        yield server


@pytest.fixture
def user(minio):
    """Somebody who uploads."""
    keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
    user = Minio(f"127.0.0.1:{minio.port}", **keys, secure=False, region="us-east-1")
    if not user.bucket_exists("photos"):
        user.make_bucket("photos")
    return user


@pytest.fixture
def configured(site, minio, nats, index, user):
    """A site between the servers, on which nothing is set up."""
    site.file.write_text(
        f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
        f'secret_key = "{minio.secret_key}"\n[source.nats]\nurl = "{nats.url}"\n'
        f'[indexer.meilisearch]\nurl = "{index.url}"\n[[rules]]\nbucket = "photos"\n'
        f'[state]\ndir = "{site.base / "state"}"\n'
    )
    return site


def streams(nats) -> dict[str, int]:
    """The messages of each."""

    async def ask():
        async with client(nats.url) as connection:
            return {stream.config.name: stream.state.messages for stream in await connection.jetstream().streams_info()}

    return asyncio.run(ask())


def make_stream(nats, name) -> None:
    async def ask():
        async with client(nats.url) as connection:
            await connection.jetstream().add_stream(name=name, subjects=[name])

    asyncio.run(ask())


def notified(user) -> set[str]:
    return {entry.queue for entry in user.get_bucket_notification("photos").queue_config_list}


def has_targets(minio) -> bool:
    """They come up some time after MinIO takes requests."""
    provider = StaticProvider(minio.access_key, minio.secret_key)
    return "SAFE:nats" in MinioAdmin(endpoint=f"127.0.0.1:{minio.port}", credentials=provider, secure=False).info()


def test_setup_that_is_killed_is_taken_back(configured, nats, index):
    """Killed while the index is being created, before the answer arrives: --remove knows of it all the same."""
    index.queue.held.set()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "imgtag", "--config", str(configured.file), "setup"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"create these?" not in shown:
            shown += os.read(ours, 10_000)
        os.write(ours, b"y\n")
        wait_until(lambda: index.queue.tasks)
        process.kill()
    os.close(ours)
    index.queue.release()
    wait_until(lambda: index.indexes)

    assert b"missing: stream imgtag-local" in shown
    assert "removed: index images, with 0 documents" in configured.run("setup", "--remove", "--yes")
    assert {} == index.indexes == streams(nats)
    assert "" == configured.ask("setup", "--remove", "--yes")


def test_printed_lines_are_enough(configured, minio, nats, index, user, tmp_path):
    """Setup makes all but the notifications; with the lines that it prints MinIO learns its targets, and uploads are
    heard of; what was made is removed again, and nothing else.
    """
    make_stream(nats, "theirs")
    before = notified(user), streams(nats), set(index.indexes)
    output = configured.ask("setup", "--yes", code=1).splitlines()

    assert {"created: index images", "created: stream imgtag-local"} < set(output)
    assert [line for line in output if line.startswith("NOT created: ")] == [
        "NOT created: notify a target of new and removed objects in photos: no target is known"
    ]
    assert "restart MinIO, run setup again" in "\n".join(output)
    (tmp_path / "queue").mkdir()
    lines = dict(line.split("=") for line in output if line.startswith("MINIO_"))
    minio.environment |= {name: value.replace("<folder>", str(tmp_path / "queue")) for name, value in lines.items()}
    minio.restart()
    wait_until(lambda: has_targets(minio))
    assert 2 == configured.ask("setup", "--yes").count("created: notify")
    assert 2 == len(notified(user))

    wait_until(lambda: put(user) or streams(nats)["imgtag-local"])  # the notifier comes up later still
    assert (tmp_path / "queue" / "minio-nats-SAFE").is_dir()
    removed = configured.ask("setup", "--remove", "--yes")
    assert "removed: stream imgtag-local, with " in removed
    assert before == (notified(user), streams(nats), set(index.indexes))


def put(user) -> None:
    user.put_object("photos", f"{time.time()}.jpg", BytesIO(b"x"), 1)
