"""The real command between servers that are restarted, slowed and cut, and beside another one with another model."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from secrets import token_hex

import pytest
import urllib3
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from acceptance.conftest import SUBJECT, Site, uploader
from acceptance_support import wait_until, wait_until_quiet
from fake_meilisearch import FakeMeilisearch
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.toxiproxy import Toxiproxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PLAIN, VERSIONED = "plain", "versioned"
ACK_WAIT = 5
"""Seconds until what a connection had taken that was cut comes again."""


@dataclass
class World:
    """All servers, and the ways to them through which the sidecar goes."""

    minio: MinioServer
    nats: NatsServer
    ways: dict
    index: dict
    fake: FakeMeilisearch | None
    user: Minio

    def configure(self, site: Site, more: str = "") -> Site:
        store, nats, index = (f"http://127.0.0.1:{self.ways[name].port}" for name in ("minio", "nats", "index"))
        rules = "".join(f'[[rules]]\nbucket = "{bucket}"\n' for bucket in (PLAIN, VERSIONED))
        site.file.write_text(
            f'[store.s3]\nendpoint = "{store}"\naccess_key = "{self.minio.access_key}"\n'
            f'secret_key = "{self.minio.secret_key}"\n'
            f'[source.nats]\nurl = "{nats.replace("http", "nats")}"\nsubject = "{SUBJECT}"\n'
            f"ack_wait = {ACK_WAIT}\npark = 1\n"
            f'[indexer.meilisearch]\nurl = "{index}"\napi_key = "{self.index["key"]}"\nindex = "{self.index["uid"]}"\n'
            f'{rules}[state]\ndir = "{site.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f'[labels]\nmark_key = "shared"\n'
            f"[pipeline]\nworkers = 2\nretry_first = 0.1\nretry_max = 2\n{more}\n"
        )
        return site

    def put(self, bucket, key, data):
        """Upload as people do: until it is taken."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.user.put_object(bucket, key, BytesIO(data), len(data), content_type="image/jpeg")
            except Exception:  # the server is being restarted
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def marks(self, prefix: str) -> dict[str, str]:
        """The mark of each object below a prefix that has one."""
        found = {}
        for bucket in (PLAIN, VERSIONED):
            for listed in self.user.list_objects(bucket, prefix, recursive=True):
                metadata = self.user.stat_object(bucket, listed.object_name).metadata
                if mark := metadata.get("x-amz-meta-imgtag-mark"):
                    found[f"{bucket}/{listed.object_name}"] = mark
        return found

    def etags(self, prefix: str) -> dict[str, str]:
        """Of each object below a prefix, as a document has it."""
        return {
            f"{bucket}/{listed.object_name}": listed.etag
            for bucket in (PLAIN, VERSIONED)
            for listed in self.user.list_objects(bucket, prefix, recursive=True)
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def world(folder):
    """Servers for all tests, each with keys of its own; the index is the fake one, or what MEILISEARCH_URL names."""
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(binary("nats-server"), folder / "nats"))
        minio = MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue"))
        stack.enter_context(minio)
        fake, index = None, {"uid": f"imgtag-test-{token_hex(6)}"}
        if url := os.environ.get("MEILISEARCH_URL"):
            index |= {"key": os.environ["MEILISEARCH_KEY"], "port": urllib3.util.parse_url(url).port}
        else:
            fake = stack.enter_context(FakeMeilisearch("a key"))
            index |= {"key": "a key", "port": fake.port}
        proxy = stack.enter_context(Toxiproxy(binary("toxiproxy-server"), folder / "toxiproxy"))
        ports = {"minio": minio.port, "nats": nats.port, "index": index["port"]}
        ways = {name: stack.enter_context(proxy.proxy(port)) for name, port in ports.items()}
        user = uploader(minio)
        user.make_bucket(PLAIN)
        user.make_bucket(VERSIONED)
        user.set_bucket_versioning(VERSIONED, VersioningConfig(ENABLED))
        yield World(minio, nats, ways, index, fake, user)
        where = f"http://127.0.0.1:{index['port']}/indexes/{index['uid']}"
        urllib3.request("DELETE", where, headers={"Authorization": f"Bearer {index['key']}"}, retries=False)


@pytest.fixture(scope="module")
def running(folder, world):
    """One sidecar, set up."""
    site = world.configure(Site(folder))
    site.ask("setup", "--yes")
    with site.running():
        yield site


def etags_found(site, prefix) -> dict[str, str]:
    """As `World.etags`, by the documents."""
    return {f"{document['bucket']}/{document['key']}": document["etag"] for document in site.found(f"prefix:{prefix}")}


def inferred(site) -> float:
    """How often the model was asked."""
    return site.metric('imgtag_stage_seconds_count{stage="infer"}')


def test_uploads_while_everything_is_restarted_slowed_and_cut(running, world, photographs):
    """200 uploads: all are labelled with one write each, nothing goes round, nothing is given up."""
    kinds = list(photographs.values())
    parts = [range(start, start + 50) for start in range(0, 200, 50)]

    def upload(numbers):
        for number in numbers:
            bucket = (PLAIN, VERSIONED)[number % 2]
            world.put(bucket, f"faults/{number}.jpg", kinds[number % 3] + number.to_bytes(4, "big"))

    def meanwhile(numbers, happens):
        uploads = threading.Thread(target=upload, args=(numbers,))
        uploads.start()
        time.sleep(0.5)
        happens()
        uploads.join()

    def slowed():
        with ExitStack() as stack:
            for way in world.ways.values():
                stack.enter_context(way.slow(60, 40))
            time.sleep(4)

    def cut():
        for way in (*world.ways.values(), *world.ways.values()):
            with way.cut():
                time.sleep(0.7)
            time.sleep(0.3)

    def index_restarts():
        if world.fake is None:  # a real one is not ours to restart: the way to it is cut
            with world.ways["index"].cut():
                time.sleep(3)
        else:
            world.fake.down()
            time.sleep(3)
            world.fake.up()

    meanwhile(parts[0], world.nats.restart)
    meanwhile(parts[1], index_restarts)
    meanwhile(parts[2], slowed)
    wait_until(lambda: len(world.marks("faults/")) == 150, 90, lambda: f"{len(world.marks('faults/'))} marked")
    world.minio.restart()
    meanwhile(parts[3], cut)
    wait_until(
        lambda: len(etags_found(running, "faults/")) == 200, 120, lambda: f"{etags_found(running, 'faults/')} found"
    )
    wait_until_quiet(running, seconds=ACK_WAIT + 1)

    documents = etags_found(running, "faults/")
    assert world.etags("faults/") == documents
    assert set(world.marks("faults/")) == set(documents)
    assert running.metric("imgtag_writes_total") <= 200  # a write whose answer is lost is found by the next look
    versions = [version.object_name for version in world.user.list_objects(VERSIONED, "faults/", include_version=True)]
    assert 200 == len(versions)  # of 100 objects: what was uploaded, and what we wrote
    assert "" == running.ask("dlq", "list")


def test_the_index_is_down_for_the_whole_run(running, world, photographs):
    """Labelling goes on; afterwards, also after a crash, the documents are there without a second inference."""
    before = inferred(running)
    with world.ways["index"].cut():
        for number in range(30):
            world.put(PLAIN, f"down/{number}.jpg", photographs["cat"] + number.to_bytes(4, "big"))
        wait_until(lambda: len(world.marks("down/")) == 30, 90)
        assert before + 30 == inferred(running)
        running.kill()
        running.start(until="waiting_for_dependency")
        time.sleep(2)
    wait_until(lambda: len(etags_found(running, "down/")) == 30, 90, lambda: f"{etags_found(running, 'down/')} found")

    assert 0 == inferred(running)
    assert 0 == running.metric("imgtag_writes_total")
    assert "" == running.ask("dlq", "list")


# Two sidecars on one consumer, one of them with another model.


@pytest.fixture(scope="module")
def pair(running, world, folder):
    """The running one, and one that tells colours."""
    (folder / "second").mkdir()
    other = Site(folder / "second")
    plugins = other.base / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / "colours.py").write_text("from imgtag.testing.classifier import SPEC\n")
    (plugins / "colours.py").chmod(0o644)
    world.configure(other, f'[plugins]\ndir = "{plugins}"\n[classifier.colour]\n')
    with other.running():
        yield running, other


def test_two_sidecars_with_different_models_do_not_undo_each_other(pair, world, photographs):
    """Each upload is written once by whichever took it; both models are seen, and it ends."""
    before = sum(site.metric("imgtag_writes_total") for site in pair)
    for number in range(60):
        world.put(VERSIONED, f"two/{number}.jpg", photographs["cat"] + number.to_bytes(4, "big"))
    wait_until(lambda: len(etags_found(pair[0], "two/")) == 60, 90)
    wait_until_quiet(*pair)

    assert 2 == len({document["model"] for document in pair[0].found("prefix:two/")})
    # One that is taken back, or doubted because the other wrote as well, is not counted.
    assert sum(site.metric("imgtag_writes_total") for site in pair) <= before + 60
    assert 120 == len(list(world.user.list_objects(VERSIONED, "two/", include_version=True)))
    assert world.etags("two/") == etags_found(pair[0], "two/")


def test_no_older_document_stays_over_a_newer_one(pair, world, photographs):
    """200 quick overwrites of ten keys: in the end each has the last upload, its mark, and the document of both."""
    chance = random.Random(3)
    kinds = list(photographs.values())
    last = {}
    for number in range(200):
        bucket, key = (PLAIN, VERSIONED)[number % 2], f"quick/{chance.randrange(5)}.jpg"
        last[bucket, key] = kinds[number % 3] + number.to_bytes(4, "big")
        world.put(bucket, key, last[bucket, key])
        time.sleep(chance.uniform(0, 0.05))

    def settled():
        documents = etags_found(pair[0], "quick/")
        return documents == world.etags("quick/") and set(documents) == set(world.marks("quick/"))

    wait_until(settled, 120)
    wait_until_quiet(*pair)
    assert settled()
    for (bucket, key), data in last.items():
        with world.user.get_object(bucket, key) as answer:
            assert data == answer.read(), key
    assert "" == pair[0].ask("dlq", "list")


def test_the_work_of_one_that_is_killed_is_done_by_the_other(pair, world, photographs):
    """Whatever the killed one had taken comes again after its ack wait."""
    for number in range(40):
        world.put(PLAIN, f"killed/{number}.jpg", photographs["daisy"] + number.to_bytes(4, "big"))
        if number == 20:
            pair[1].kill()
    wait_until(lambda: len(etags_found(pair[0], "killed/")) == 40, 90, lambda: f"{etags_found(pair[0], 'killed/')}")

    assert set(world.etags("killed/")) == set(world.marks("killed/"))
    assert "" == pair[0].ask("dlq", "list")
