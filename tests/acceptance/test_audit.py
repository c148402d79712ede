"""`imgtag audit` as it is typed: what lost, doubled and late events leave behind is found and mended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
from contextlib import closing
from urllib.parse import quote

import nats
import pytest

from acceptance.conftest import IMGTAG, SUBJECT, Site
from acceptance_support import wait_until, wait_until_quiet
from imgtag.stages.receive import CONFIRMATION_WAIT
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

pytestmark = pytest.mark.timeout(180)


def audit(site: Site, *options: str, code: int) -> tuple[list[tuple[str, str, str]], dict]:
    """The findings as (kind, key, reason), and the last line."""
    *findings, last = map(json.loads, site.ask("audit", "--json", *options, code=code).splitlines())
    assert last.pop("done")
    parts = ("current", "stale", "unlabelled", "refused", "failed", "missing")
    assert last["objects"] == sum(last[name] for name in parts)
    return [(finding["finding"], finding["key"], finding["reason"]) for finding in findings], last


def test_a_folder_is_audited_and_mended(site, photographs):
    """Files that came, changed, went and lost their labels while nothing ran; a truncated JPEG is no finding."""
    for number in range(30):
        (site.root / f"{number:02}.jpg").write_bytes(photographs["cat"] + bytes([number]))
    for name in ("changed", "gone", "stripped"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"] + name.encode())
    (site.root / "truncated.jpg").write_bytes(photographs["cat"][:2_000])
    with site.running():
        wait_until(lambda: len(site.found("status:labelled")) == 33 and site.found("status:failed"))
    findings, last = audit(site, code=0)
    assert ([], 33, 1) == (findings, last["current"], last["failed"])

    (site.root / "changed.jpg").write_bytes(photographs["daisy"])
    (site.root / "gone.jpg").unlink()
    os.removexattr(site.root / "stripped.jpg", "user.imgtag-mark")
    (site.root / "new.jpg").write_bytes(photographs["espresso"])
    (site.root / "notes.txt").write_text("no image")

    findings, last = audit(site, code=1)
    assert [
        ("differing", "changed.jpg", "etag"),
        ("orphaned", "gone.jpg", "object_gone"),
        ("missing", "new.jpg", "no_document"),
        ("differing", "stripped.jpg", "mark"),
    ] == findings
    assert {"missing": 1, "orphaned": 1, "differing": 2, "failed": 1, "objects": 34}.items() <= last.items()
    assert "user.imgtag-mark" not in os.listxattr(site.root / "new.jpg")

    findings, last = audit(site, "--repair", code=0)
    assert (4, 4, 33, 1) == (len(findings), last["repaired"], last["current"], last["failed"])
    assert [] == audit(site, code=0)[0]
    assert "user.imgtag-mark" in os.listxattr(site.root / "new.jpg")


def test_many_deletions_need_a_yes(site, photographs):
    """Without a terminal and without --yes nothing at all is mended, and it says so."""
    for name in ("a", "b"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"])
    with site.running():
        wait_until(lambda: len(site.found()) == 2)
    (site.root / "a.jpg").unlink()

    assert "no rule names the bucket picture," in site.ask_wrongly("audit", "picture", code=78)
    command = [*IMGTAG, "--config", str(site.file), "audit", "--repair"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert 2 == done.returncode
    assert "1 of 2 documents have no object that a rule admits" in done.stderr
    assert 2 == len(site.found())

    assert "1 keys were worked off" in site.ask("audit", "--repair", "--yes")
    assert ["b.jpg"] == [document["key"] for document in site.found()]


class Shop:
    """Buckets whose users' events pass through the hands of a test; those of the sidecar's writes are all lost."""

    def __init__(self, site: Site, minio: MinioServer, nats: NatsServer, client: S3Client) -> None:
        self.site = site
        self.nats = nats
        self.buckets = {name: Bucket(client, name) for name in ("plain", "versioned")}
        for bucket in self.buckets.values():
            bucket.make()
        self.buckets["versioned"].set_versioning("Enabled")
        rules = "".join(f'[[rules]]\nbucket = "{name}"\n' for name in self.buckets)
        site.connect(minio, nats, f'{rules}[labels]\nmark_key = "key"')

    def act(self, bucket: str, key: str, data: bytes | None) -> bytes:
        """Upload, or delete where there are no bytes; returns the event."""
        if data is None:
            self.buckets[bucket].delete(key)
        else:
            self.buckets[bucket].put_with(key, data, {"content-type": "image/jpeg"})
        kind = "s3:ObjectCreated:Put" if data else "s3:ObjectRemoved:Delete"
        content = {"bucket": {"name": bucket}, "object": {"key": quote(key)}}
        return json.dumps({"EventName": kind, "Records": [{"eventName": kind, "s3": content}]}).encode()

    def publish(self, events: list[bytes]) -> None:
        async def send() -> None:
            connection = await nats.connect(self.nats.url)
            for event in events:
                await connection.jetstream().publish(SUBJECT, event)
            await connection.close()

        asyncio.run(send())

    def hide(self, key: str, newer: bytes | None) -> None:
        """Put ours over something newer, as two writers at the same moment can."""
        bucket = self.buckets["versioned"]
        ours = bucket.versions(key)[0].id
        self.act("versioned", key, newer)
        bucket.put_with(key, b"", {"x-amz-copy-source": f"/versioned/{key}?versionId={ours}"})
        bucket.delete(key, ours)


@pytest.mark.slow
def test_lost_doubled_and_reordered_events(site, tmp_path, photographs):
    """A tenth is lost, a tenth doubled, and versions of ours hide two changes: exactly that is found, and mended.

    A truncated JPEG is no finding, before and after: it was tried, and failed.
    """
    chance = random.Random(7)
    with (
        NatsServer(binary("nats-server"), tmp_path / "nats") as nats_server,
        MinioServer(minio_binary(), tmp_path / "minio") as minio,
        closing(S3Client(SPEC.settings(**minio.settings))) as client,
    ):
        shop = Shop(site, minio, nats_server, client)
        keys = [(bucket, f"{number:02}.jpg") for bucket in shop.buckets for number in range(30)]
        with site.running():
            shop.publish([shop.act(*place, photographs["cat"] + "".join(place).encode()) for place in keys])
            shop.publish([shop.act("plain", "truncated.jpg", photographs["cat"][:2_000])])
            wait_until(lambda: len(site.found("status:labelled")) == len(keys) and site.found("status:failed"), 90)
            # The sidecar looks again at what it wrote and was told nothing of, which would find what is lost below.
            wait_until_quiet(site, seconds=CONFIRMATION_WAIT + 2)

            events, lost = [], {}
            for number, (bucket, key) in enumerate(keys):
                change = ("missing", "differing", "orphaned")[number % 3]
                place = (bucket, f"new-{key}") if change == "missing" else (bucket, key)
                data = None if change == "orphaned" else photographs["daisy"] + "".join(place).encode()
                event = shop.act(*place, data)
                if chance.random() < 0.1:
                    lost[place] = change
                else:
                    events += [event] * (2 if chance.random() < 0.1 else 1)
            chance.shuffle(events)
            shop.publish(events)
            wait_until_quiet(site)
        # Two of those that were labelled and then left alone.
        hidden = [place for place in keys[::3] if place[0] == "versioned"][:2]
        shop.hide(hidden[0][1], photographs["espresso"])
        shop.hide(hidden[1][1], None)

        assert lost
        assert len(set(lost.values())) > 1
        output = site.ask("audit", "--json", code=1).splitlines()
        found = {(finding["bucket"], finding["key"]): finding for finding in map(json.loads, output[:-1])}
        assert lost | dict.fromkeys(hidden, "differing") == {place: item["finding"] for place, item in found.items()}
        assert ["hides_newer"] * 2 == [found[place]["reason"] for place in hidden]

        audit(site, "--repair", "--yes", code=0)
        findings, last = audit(site, code=0)
        assert ([], 1) == (findings, last["failed"])
        assert not shop.buckets["versioned"].exists(hidden[1][1])
        assert photographs["espresso"] == shop.buckets["versioned"].get(hidden[0][1])
