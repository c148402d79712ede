"""`imgtag reindex` as it is typed: the rebuilt index is the live one, document for document."""

from __future__ import annotations

import json
import random
import re
import socket
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from acceptance.conftest import IMGTAG, SUBJECT, Site
from acceptance_support import wait_until, wait_until_quiet
from fake_meilisearch import FakeMeilisearch
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

pytestmark = pytest.mark.timeout(180)
COUNTS = ("indexed", "taken_over", "missing", "skipped", "failed")
JPEG = {"Content-Type": "image/jpeg"}


def documents(site: Site) -> dict[str, dict]:
    """All documents of the SQLite index in use, by id."""
    path = site.base / "state" / "index.sqlite3"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as index:
        return {
            id_: json.loads(body)
            for id_, body in index.execute("SELECT id, body FROM documents JOIN bodies USING (row)")
        }


def reindex(site: Site, *options: str, code: int = 0) -> tuple[list[tuple[str, str, str]], dict]:
    """What it finds as (fate, key, reason), and the last line."""
    output = site.ask("reindex", "--json", "--yes", "--full-speed", *options, code=code)
    *lines, last = map(json.loads, output.splitlines())
    assert last.pop("done")
    assert last["listed"] == sum(last[name] for name in COUNTS)
    return [(line["finding"], line["key"], line["reason"]) for line in lines if "finding" in line], last


def test_a_folder(site, photographs):
    """Labelled, failed, index-only and other files: the same documents, another index, and no file was touched."""
    for folder in ("", "kept/"):
        (site.root / folder).mkdir(exist_ok=True)
        for number in range(5):
            (site.root / f"{folder}{number}.jpg").write_bytes(photographs["cat"] + bytes([number]))
    (site.root / "truncated.jpg").write_bytes(photographs["cat"][:2_000])
    (site.root / "notes.txt").write_text("no image")
    site.configure(
        '[[rules]]\nbucket = "pictures"\ninclude = ["kept/**"]\nwriteback = { strategy = "none" }\n'
        '[[rules]]\nbucket = "pictures"\n'
    )
    with site.running():
        wait_until(lambda: len(site.found("status:labelled")) == 10 and site.found("status:failed"))
    before = documents(site)
    changes = {path: path.stat().st_ctime_ns for path in site.root.rglob("*")}

    assert {"indexed": 5, "taken_over": 6, "changed": 0, "lost": 0, "swapped": False}.items() <= reindex(
        site, "--dry-run"
    )[1].items()
    findings, last = reindex(site)
    assert ([], 12, 5, 6, 0, 1) == (
        findings,
        *(last[name] for name in ("listed", "indexed", "taken_over", "missing", "skipped")),
    )
    assert last["swapped"]
    assert before == documents(site)
    assert changes == {path: path.stat().st_ctime_ns for path in site.root.rglob("*")}
    assert not [*(site.base / "state").glob("*-rebuild*"), *(site.base / "state" / "reindex").glob("*.json")]
    assert [] == site.ask("audit", "--json").splitlines()[:-1]


@dataclass
class Shop:
    """Buckets of several kinds under one sidecar, and its index."""

    site: Site
    minio: MinioServer
    buckets: dict[str, Bucket]
    meilisearch: FakeMeilisearch | None
    pictures: dict[str, bytes]
    stop: threading.Event = field(default_factory=threading.Event)
    changes: int = 0

    def documents(self) -> dict[str, dict]:
        """All documents of the index in use, by id."""
        if self.meilisearch is None:
            return documents(self.site)
        index = self.meilisearch.index("images")
        return {document["id"]: document for document in list(index.documents.values())}

    def put(self, bucket: str, key: str, name: str = "cat", **headers: str) -> None:
        """Upload a picture with these entries of user metadata."""
        more = {f"x-amz-meta-{header}": value for header, value in headers.items()}
        data = self.pictures[name] + f"{bucket}/{key} {self.changes}".encode()  # never twice the same
        self.buckets[bucket].put_with(key, data, JPEG | more)

    def change_at_random(self, seed: int) -> None:
        """Uploads, deletions, other contents and edits of metadata, until told to stop."""
        chance = random.Random(seed)
        while not self.stop.wait(0.05):
            bucket, number = chance.choice(["plain", "versioned", "quiet", "part"]), chance.randrange(8)
            key = f"{'in/' if bucket == 'part' else ''}{number:02}.jpg"
            match chance.randrange(4):
                case 0:
                    self.put(bucket, key, chance.choice(list(self.pictures)))
                case 1:
                    self.buckets[bucket].delete(key)
                case 2:
                    self.put(bucket, f"{key[:-4]}-{self.changes}.jpg")
                case _ if bucket != "quiet" and self.buckets[bucket].exists(key):
                    with suppress(Exception):  # it may be written on, or go, at this moment
                        self.edit(bucket, key)
            self.changes += 1

    def edit(self, bucket: str, key: str) -> None:
        """Change one entry of the user metadata, as a client does it that keeps the others."""
        there = self.buckets[bucket].headers(key)
        kept = {name: value for name, value in there.items() if name.lower().startswith("x-amz-meta-")}
        copy = {"x-amz-copy-source": f"/{bucket}/{key}", "x-amz-metadata-directive": "REPLACE"}
        self.buckets[bucket].put_with(key, b"", JPEG | kept | copy | {"x-amz-meta-owner": str(self.changes)})

    def assert_is_settled(self) -> None:
        """Every image has the document that it should have, and there is no other one."""
        wait_until_quiet(self.site)
        assert [] == self.site.ask("audit", "--json").splitlines()[:-1]

    def run(self, *options: str) -> subprocess.Popen[bytes]:
        """Begin a rebuild in a process of its own."""
        command = [*IMGTAG, "--config", str(self.site.file), "reindex", "--yes", "--json", "--full-speed", *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module", params=["sqlite", "meilisearch"])
def shop(request, tmp_path_factory, photographs) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp(f"reindex-{request.param}")
    (folder / "site").mkdir()
    site = Site(folder / "site")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
        closing(S3Client(SPEC.settings(**minio.settings))) as client,
        FakeMeilisearch() as fake,
    ):
        buckets = {name: Bucket(client, name) for name in ("plain", "versioned", "locked", "part", "quiet")}
        for name, bucket in buckets.items():
            bucket.make(lock=name == "locked")
        buckets["versioned"].set_versioning("Enabled")
        rules = (
            "".join(f'[[rules]]\nbucket = "{name}"\n' for name in ("plain", "versioned", "locked"))
            + '[[rules]]\nbucket = "part"\ninclude = ["in/**"]\n'
            + '[[rules]]\nbucket = "quiet"\nwriteback = { strategy = "none" }\n[labels]\nmark_key = "nobody knows it"\n'
            + '[document]\nmetadata = ["owner"]\n'
        )
        site.connect(minio, nats, rules)
        if request.param == "meilisearch":
            text = site.file.read_text().replace("[indexer.sqlite]", f'[indexer.meilisearch]\nurl = "{fake.url}"')
            site.file.write_text(text)
        shop = Shop(site, minio, buckets, fake if request.param == "meilisearch" else None, photographs)
        site.ask("setup", "--yes")
        site.start()
        try:
            for number in range(8):
                for bucket, prefix in (
                    ("plain", ""),
                    ("versioned", ""),
                    ("part", "in/"),
                    ("part", "out/"),
                    ("quiet", ""),
                ):
                    shop.put(bucket, f"{prefix}{number:02}.jpg", owner="me")
            shop.buckets["plain"].put_with("truncated.jpg", photographs["cat"][:2_000], JPEG)
            shop.buckets["plain"].put_with("notes.txt", b"no image", {"Content-Type": "text/plain"})
            shop.put("plain", "full.jpg", story="x" * 2_000)
            shop.put("plain", "\u00e9t\u00e9 +%.jpg", owner="\u00e9t\u00e9")
            shop.put("locked", "free.jpg")
            shop.buckets["locked"].put_with(
                "held.jpg", photographs["cat"], JPEG | {"x-amz-object-lock-legal-hold": "ON"}
            )
            wait_until(lambda: len(shop.documents()) == 37, 90, lambda: str(len(shop.documents())))
            yield shop
        finally:
            shop.stop.set()
            site.end()


@contextmanager
def counting(minio: MinioServer) -> Iterator[tuple[str, Counter[str]]]:
    """An endpoint that passes requests on to a server, and how many of each kind came on objects and on buckets."""
    requests: Counter[str] = Counter()
    listening = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, *, is_asking: bool) -> None:
        with suppress(OSError), source:
            while data := source.recv(65_536):
                if is_asking and (line := re.match(rb"([A-Z]+) /([^/? ]*)/?([^? ]*)(\S*) HTTP/1.1\r\n", data)):
                    about = "object" if line[3] else "bucket" if line[2] else "server"
                    requests[f"{line[1].decode()} {about}"] += 1
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                asking, _ = listening.accept()
                answering = socket.create_connection(("127.0.0.1", minio.port))
                for one, other, is_asking in ((asking, answering, True), (answering, asking, False)):
                    threading.Thread(
                        target=pump, args=(one, other), kwargs={"is_asking": is_asking}, daemon=True
                    ).start()

    threading.Thread(target=accept, daemon=True).start()
    with listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests


def test_the_same_documents(shop, monkeypatch):
    """Labelled, failed, locked, full, index-only, versions, a part of a bucket: the same, by HEADs and listings."""
    shop.assert_is_settled()
    before = shop.documents()
    with counting(shop.minio) as (endpoint, requests):
        monkeypatch.setenv("IMGTAG_STORE__S3__ENDPOINT", endpoint)
        findings, last = reindex(shop.site)

    assert ([], 0, 0, 0) == (findings, last["changed"], last["lost"], last["missing"])
    assert before == shop.documents()
    assert 37 == last["indexed"] + last["taken_over"] == last["documents"]
    assert 11 == last["taken_over"], "index-only, truncated, full and held"
    assert {"HEAD object", "GET bucket", "GET server"} >= requests.keys()
    assert 37 <= requests["HEAD object"] <= 40
    monkeypatch.undo()
    # The sidecar compares everything with the index that is there now, and has nothing to do.
    shop.site.stop()
    shop.site.start("index_replaced")
    wait_until(lambda: shop.site.events().count("resync_finished") == len(shop.buckets))
    looked_at = sum(line["keys"] for line in shop.site.lines() if line["event"] == "resync_finished")
    assert 1 == looked_at, "what is no image"
    assert before == shop.documents()


def test_changes_and_kills_meanwhile(shop):
    """Users and the sidecar go on, the command is killed with -9 at several moments: in the end nothing is lost.

    Every image has its document, no other one is there, and another rebuild changes nothing.
    """
    shop.stop.clear()
    user = threading.Thread(target=shop.change_at_random, args=(7,))
    user.start()
    try:
        for seconds in (1.8, 2.6, 3.4):
            process = shop.run("--concurrency", "2")
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
            process.kill()
            process.communicate()
            assert shop.site.found(), "the index in use is whole"
        process = shop.run()
        output = process.communicate(timeout=60)[0].decode()
        assert 0 == process.returncode, output
        assert json.loads(output.splitlines()[-1])["swapped"]
    finally:
        shop.stop.set()
        user.join()
    assert shop.changes > 30
    shop.assert_is_settled()
    before = shop.documents()
    findings, last = reindex(shop.site)
    assert ([], 0, 0) == (findings, last["changed"], last["lost"])
    assert before == shop.documents()
