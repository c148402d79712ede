"""`imgtag plan` on a real MinIO and in a folder: it changes nothing, and the backfill then does what it said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from acceptance.conftest import SUBJECT, Site
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import CUSTOMER_KEY, MinioServer, make_certificate, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

LIFECYCLE = (
    "<LifecycleConfiguration><Rule><ID>{id}</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>"
    "<Expiration><Days>90</Days></Expiration></Rule></LifecycleConfiguration>"
)
LOCKED_UNTIL = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
RETENTION = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": LOCKED_UNTIL}
BUCKETS = ("plain", "versioned", "locked")


@pytest.fixture(scope="module")
def buckets(
    tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]
) -> Iterator[tuple[Site, dict[str, Bucket]]]:
    """One object of everything that decides how an object is written, or whether it is."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "site").mkdir()
    (folder / "certs").mkdir()
    site = Site(folder / "site")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", certs=make_certificate(folder / "certs")) as minio,
    ):
        ca = folder / "certs/public.crt"
        site.file.write_text(
            f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\nca = "{ca}"\n'
            f'secret_key = "{minio.secret_key}"\n[source.nats]\nurl = "{nats.url}"\nsubject = "{SUBJECT}"\n'
            f'[indexer.sqlite]\n[state]\ndir = "{site.base / "state"}"\n[pipeline]\nworkers = 2\nmax_bytes = "1MB"\n'
            + "".join(f'[[rules]]\nbucket = "{name}"\n' for name in BUCKETS)
        )
        with closing(S3Client(SPEC.settings(**minio.settings, ca=ca))) as client:
            made = {name: Bucket(client, name) for name in BUCKETS}
            _fill(made, photographs["cat"])
            yield site, made


def _fill(buckets: dict[str, Bucket], picture: bytes) -> None:
    plain, versioned, locked = buckets.values()
    plain.make()
    versioned.make()
    versioned.set_versioning("Enabled")
    locked.make(lock=True)
    jpeg = {"Content-Type": "image/jpeg"}
    plain.set("lifecycle", LIFECYCLE.format(id="clean up", prefix="old/"))
    plain.put_with("a.jpg", picture, jpeg)
    plain.put_with("old/b.jpg", picture, jpeg)
    plain.put_with("tagged.jpg", picture, jpeg)
    plain.tag("tagged.jpg", {"project": "lynx"})
    plain.put_with("customer.jpg", picture, jpeg | CUSTOMER_KEY)
    plain.put_with("full.jpg", picture, jpeg | {"x-amz-meta-story": "x" * 2000})
    plain.put_with("tight.jpg", picture, jpeg | {"x-amz-meta-story": "x" * 1500})
    plain.put_with("large.jpg", picture + bytes(1_000_000), jpeg)
    plain.put_with("notes.txt", b"no image", {"Content-Type": "text/plain"})
    versioned.put_with("c.jpg", picture, jpeg)
    versioned.put_with("d.jpg", picture, jpeg)
    locked.put_with("free.jpg", picture, jpeg)
    locked.put_with("hold.jpg", picture, jpeg | {"x-amz-object-lock-legal-hold": "ON"})
    locked.put_with("retained.jpg", picture, jpeg | RETENTION)


def _keys(bucket: Bucket) -> list[str]:
    root = bucket.client.send("GET", bucket.name, query={"list-type": "2"}).data.decode()
    return [part.partition("</Key>")[0] for part in root.split("<Key>")[1:]]


def _versions(buckets: dict[str, Bucket]) -> dict[str, list]:
    return {f"{name}/{key}": bucket.versions(key) for name, bucket in buckets.items() for key in _keys(bucket)}


def _ask(site: Site, *arguments: str) -> tuple[dict[tuple[str, str | None], dict], dict]:
    """The findings by kind and code, and the totals."""
    lines = [json.loads(line) for line in site.ask("plan", "--json", *arguments).splitlines()]
    return {(line["kind"], line["code"]): line for line in lines[:-1]}, lines[-1]


def test_the_backfill_does_what_the_plan_says(buckets):
    """Objects, refusals, versions and dropped entries are those of the plan, and only then is anything changed."""
    site, made = buckets
    before = _versions(made)

    findings, total = _ask(site)
    assert before == _versions(made), "the plan has written"
    counts = {kind: finding["objects"] for kind, finding in findings.items()}
    assert {
        ("to_label", None): 10,
        ("last_modified", None): 7,
        ("new_version", None): 3,
        ("lifecycle", "plain: clean up (deletes after 90 days)"): 1,
        ("dropped", "vec"): 1,
        ("not_written", "metadata_full"): 1,
        ("not_written", "legal_hold"): 1,
        ("not_written", "retention"): 1,
        ("refused", "customer_key"): 1,
        ("refused", "too_large"): 1,
        ("skipped", "no_image"): 1,
        ("unknown", "if_match"): 0,
    } == {kind: count for kind, count in counts.items() if kind != ("dropped", "facts")}
    assert (13, 10, 2, 3) == tuple(total[name] for name in ("objects", "to_label", "refused", "versions"))
    assert all(finding["low"] == finding["objects"] == finding["high"] for finding in findings.values())
    assert 0 < total["seconds"] < 600

    done = json.loads(site.ask("backfill", "--full-speed", "--yes", "--json").splitlines()[-1])
    assert (total["to_label"], total["refused"]) == (done["labelled"], done["refused"])
    not_written = {code: count for (kind, code), count in counts.items() if kind == "not_written"}
    assert not_written == done["not_written"]
    after = _versions(made)
    versions = sum(len(versions) for versions in after.values()) - sum(len(versions) for versions in before.values())
    assert total["versions"] == versions
    changed = [name for name, versions in after.items() if versions != before[name]]
    assert counts["last_modified", None] == len(changed)
    assert findings["lifecycle", "plain: clean up (deletes after 90 days)"]["examples"] == ["plain/old/b.jpg"]
    assert "x-amz-meta-imgtag-vec" not in made["plain"].headers("tight.jpg")

    findings, total = _ask(site)
    assert (0, 0) == (total["to_label"], total["bytes_read"])
    standing = {code: finding["objects"] for (kind, code), finding in findings.items() if kind == "skipped"}
    assert {"current": 9, "incomplete": 1, "refused": 2, "no_image": 1} == standing


def test_a_sample_says_how_sure_it_is(buckets):
    """All are listed, a few are looked at, and every finding has its bounds; the same seed draws the same."""
    site, _ = buckets
    (site.base / "state/index.sqlite3").unlink()

    findings, total = _ask(site, "plain", "--sample", "4", "--seed", "3")
    assert (8, 4, 3) == (total["objects"], total["sampled"], total["seed"])
    assert all(0 <= finding["low"] <= finding["objects"] <= finding["high"] <= 8 for finding in findings.values())
    assert _ask(site, "plain", "--sample", "4", "--seed", "3")[0] == findings


def test_in_a_folder(site: Site, photographs):
    """The same for files: nothing looks modified afterwards, nothing is sent back, and nothing is created."""
    Path(site.root, "cat.jpg").write_bytes(photographs["cat"])
    Path(site.root, "broken.jpg").write_bytes(photographs["cat"][:500])
    Path(site.root, "notes.txt").write_text("no image")

    findings, total = _ask(site)
    assert (3, 2, 0, 0) == tuple(total[name] for name in ("objects", "to_label", "bytes_written", "versions"))
    assert 1 == findings["failed", "truncated"]["objects"]
    assert ("last_modified", None) not in findings
    assert set() == site.marked()
    assert not (site.base / "state/index.sqlite3").exists()

    shown = site.run("plan")
    assert "2 to work on, all looked at" in shown
    assert "no images, by their type or suffix" in shown
