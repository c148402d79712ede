"""The real command, and users who change what they uploaded within 100 ms: in the end all is as they left it.

Within these 100 ms it is labelled, so the changes meet every step of the work on it.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from acceptance.conftest import SUBJECT, Site
from acceptance_support import DURABLE, wait_until, wait_until_quiet
from fake_meilisearch import FakeMeilisearch
from imgtag.types.mark import Mark, content_digest
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

TRIES = int(os.environ.get("IMGTAG_RACES", "3"))
"""Of each kind in each bucket. docs/design/20261127-requests-of-a-picture.md has the figures of 200."""
USERS = 4
ACK_WAIT = 5
"""Seconds until what a killed sidecar had taken comes again."""
BUCKETS = ("plain", "versioned")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400 + 10 * TRIES)]


class User:
    """Somebody who uploads a picture, and then does something with it."""

    def __init__(self, bucket: Bucket, photographs: dict[str, bytes]) -> None:
        self.bucket = bucket
        self.photographs = photographs

    def upload(self, key: str, kind: str, by: str) -> bytes:
        """Bytes that no other key has."""
        data = self.photographs[kind] + key.encode() + by.encode()
        self.bucket.put_with(key, data, {"content-type": "image/jpeg", "x-amz-meta-by": by})
        return data

    def overwrite(self, key: str) -> None:
        self.upload(key, "daisy", "her")

    def delete(self, key: str) -> None:
        self.bucket.delete(key)

    def edit(self, key: str) -> None:
        """As clients do: they read the metadata, ours included, and copy the object onto itself."""
        shown = self.bucket.headers(key)
        metadata = {name: value for name, value in shown.items() if name.startswith("x-amz-meta-")}
        self._copy(key, key, {**metadata, "x-amz-meta-by": "her"})

    def tag(self, key: str) -> None:
        self.bucket.tag(key, {"by": "her"})

    def copy_over(self, key: str) -> None:
        """A copy of another picture, with whatever was written on that."""
        self._copy("source.jpg", key, None)

    def upload_again(self, key: str) -> None:
        """The same bytes under other metadata."""
        data = self.photographs["cat"] + key.encode() + b"me"
        self.bucket.put_with(key, data, {"content-type": "image/jpeg", "x-amz-meta-by": "her"})

    def _copy(self, source: str, key: str, metadata: dict[str, str] | None) -> None:
        how = {"x-amz-metadata-directive": "REPLACE" if metadata else "COPY", "content-type": "image/jpeg"}
        self.bucket.put_with(
            key, b"", {"x-amz-copy-source": f"/{self.bucket.name}/{source}", **how, **(metadata or {})}
        )


ACTS = {
    "overwrite": User.overwrite,
    "delete": User.delete,
    "edit": User.edit,
    "tag": User.tag,
    "copy over": User.copy_over,
    "upload again": User.upload_again,
}
LOST_WITHIN_THE_WRITE = {
    *(("plain", act, "lost") for act in ("edit", "tag", "upload again")),
    ("versioned", "tag", "lost"),
}
"""What no precondition tells, because the ETag stays and no version is made: seldom it is lost between HEAD and PUT."""


class World:
    """A store, an index, and one or two sidecars that share a consumer."""

    def __init__(self, minio: MinioServer, nats: NatsServer, index: FakeMeilisearch, client: S3Client) -> None:
        self.minio = minio
        self.nats = nats
        self.index = index
        self.client = client
        self.sites: list[Site] = []

    def start(self, site: Site) -> Site:
        rules = "".join(f'[[rules]]\nbucket = "{bucket}"\n' for bucket in BUCKETS)
        site.file.write_text(
            f'[store.s3]\nendpoint = "{self.minio.endpoint}"\naccess_key = "{self.minio.access_key}"\n'
            f'secret_key = "{self.minio.secret_key}"\n'
            f'[source.nats]\nurl = "{self.nats.url}"\nsubject = "{SUBJECT}"\nack_wait = {ACK_WAIT}\n'
            f'[indexer.meilisearch]\nurl = "{self.index.url}"\napi_key = "a key"\n'
            f'{rules}[state]\ndir = "{site.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
            '[labels]\nmark_key = "shared"\n[document]\nmetadata = ["by"]\n'
            "[pipeline]\nworkers = 2\nretry_first = 0.1\nretry_max = 2\n"
        )
        if not self.sites:
            site.ask("setup", "--yes")
        self.sites.append(site)
        site.start()
        return site


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("races")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        nats = stack.enter_context(NatsServer(binary("nats-server"), folder / "nats"))
        targets = lanes(nats, SUBJECT, folder / "queue")
        minio = stack.enter_context(MinioServer(minio_binary(), folder / "minio", extra=targets))
        index = stack.enter_context(FakeMeilisearch("a key"))
        client = stack.enter_context(closing(S3Client(SPEC.settings(**minio.settings))))
        for name in BUCKETS:
            Bucket(client, name).make()
        Bucket(client, "versioned").set_versioning("Enabled")
        world = World(minio, nats, index, client)
        yield world
        for site in world.sites:
            site.end()


def is_marked(bucket: Bucket, key: str) -> bool:
    return "x-amz-meta-imgtag-mark" in bucket.headers(key)


def find_faults(user: User, key: str, act: str, documents: dict[str, dict]) -> set[str]:
    """What is not as it should be: ``lost``, what the user did last; ``unlabelled``; a ``document`` that differs."""
    bucket, document = user.bucket, documents.get(key)
    if not bucket.exists(key):
        facts = {"lost": act == "delete", "document": document is None}
        return {fault for fault, is_right in facts.items() if not is_right}
    response = bucket.client.send("GET", bucket.name, key)
    shown = {name.lower(): value for name, value in response.headers.items()}
    content, by = {
        "overwrite": ("daisy", "her"), "copy over": ("espresso", "source"), "tag": ("cat", "me"),
    }.get(act, ("cat", "her"))  # fmt: skip
    mark = Mark.decode(shown.get("x-amz-meta-imgtag-mark", ""))
    revision = shown["last-modified"] if bucket.name == "plain" else shown["x-amz-version-id"]
    agrees = mark and document and (shown["etag"].strip('"'), revision, mark.at, {"by": shown["x-amz-meta-by"]}) == (
        document["etag"], document["revision"], document["labelled"], document["meta"],
    )  # fmt: skip
    facts = {
        "lost": act != "delete"
        and response.data.startswith(user.photographs[content])
        and shown["x-amz-meta-by"] == by
        and bucket.tags(key) == ({"by": "her"} if act == "tag" else {}),
        "unlabelled": mark and mark.content == content_digest(response.data),
        "document": agrees,
    }
    return {fault for fault, is_right in facts.items() if not is_right}


@pytest.mark.parametrize(("sidecars", "kills"), [(1, 0), (2, 1 + TRIES // 20)], ids=["alone", "one-of-two-killed"])
def test_what_users_did_last_is_there_labelled_and_indexed(
    world, folder, photographs, sidecars, kills, record_property
):
    """Nothing is lost or hidden, and each document agrees with its object; also where a sidecar is killed in the
    middle, and started again.
    """
    while len(world.sites) < sidecars:
        base = folder / f"site{len(world.sites)}"
        base.mkdir()
        world.start(Site(base))
    users = {name: User(Bucket(world.client, name), photographs) for name in BUCKETS}
    for user in users.values():
        user.upload("source.jpg", "espresso", "source")
    wait_until(lambda: all(is_marked(user.bucket, "source.jpg") for user in users.values()))
    chance = random.Random(1)
    tries = [
        (name, f"{sidecars}/{act} {number}.jpg", act) for name in BUCKETS for act in ACTS for number in range(TRIES)
    ]
    chance.shuffle(tries)

    def change(name: str, key: str, act: str, delay: float) -> None:
        user = users[name]
        user.upload(key, "cat", "me")
        time.sleep(delay)
        ACTS[act](user, key)
        time.sleep(0.15)  # so that no queue grows, and the next change meets the work again

    moments = {len(tries) * number // (kills + 1) for number in range(1, kills + 1)}
    with ThreadPoolExecutor(USERS) as threads:
        changes = [threads.submit(change, *each, chance.uniform(0, 0.1)) for each in tries]
        for number, each in enumerate(changes, 1):
            each.result()
            if number in moments:
                world.sites[1].kill()
                world.sites[1].start()
    wait_until_quiet(*world.sites, seconds=ACK_WAIT + 1 if kills else DURABLE)
    found = world.sites[0].found()
    faults: Counter[tuple[str, str, str]] = Counter()
    for name, key, act in tries:
        documents = {document["key"]: document for document in found if document["bucket"] == name}
        faults.update((name, act, fault) for fault in find_faults(users[name], key, act, documents))
    record_property("faults", dict(faults))

    assert faults.keys() <= LOST_WITHIN_THE_WRITE
    assert "" == world.sites[0].ask("dlq", "list")
