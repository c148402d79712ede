"""A store that sends no notifications: the sidecar finds by listing what has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from io import BytesIO

import pytest
from minio import Minio

from acceptance.conftest import Site
from acceptance_support import wait_until
from servers.minio import MinioServer, minio_binary


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A server that notifies nobody."""
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def polled(site: Site, minio: MinioServer) -> Site:
    site.file.write_text(
        f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
        f'secret_key = "{minio.secret_key}"\n[source.poll]\nevery = 1\nparts = ["photos/new/", "other"]\n'
        f'[indexer.sqlite]\n[state]\ndir = "{site.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n'
        '[pipeline]\nworkers = 1\n[[rules]]\nbucket = "photos"\n[[rules]]\nbucket = "other"\n'
    )
    return site


def keys(site: Site) -> set[str]:
    return {f"{document['bucket']}/{document['key']}" for document in site.found()}


def test_changes_are_found_by_listing(polled: Site, minio: MinioServer, photographs: dict[str, bytes]) -> None:
    """New, replaced and deleted objects, also those of a time when the sidecar was dead; nothing is labelled twice but
    what was uploaded again, and nothing outside the parts that are listed."""
    client = Minio(minio.endpoint.removeprefix("http://"), minio.access_key, minio.secret_key, secure=False)

    def put(bucket: str, key: str, name: str) -> None:
        client.put_object(bucket, key, BytesIO(photographs[name]), len(photographs[name]), "image/jpeg")

    for bucket in ("photos", "other"):
        client.make_bucket(bucket)
    for key in ("new/cat.jpg", "old/cat.jpg"):
        put("photos", key, "cat")
    with polled.running():
        wait_until(lambda: keys(polled) == {"photos/new/cat.jpg"})
        for key in ("cup.jpg", "stays.jpg"):  # an empty bucket would hold deletions back
            put("other", key, "espresso")
        wait_until(lambda: keys(polled) == {"photos/new/cat.jpg", "other/cup.jpg", "other/stays.jpg"})
        labelled = client.stat_object("photos", "new/cat.jpg").last_modified
        polled.kill()
        client.remove_object("other", "cup.jpg")
        put("photos", "new/later.jpg", "espresso")
        polled.start()
        wait_until(lambda: keys(polled) == {"photos/new/cat.jpg", "photos/new/later.jpg", "other/stays.jpg"})
        done = len([event for event in polled.events() if event == "resync_finished"])
        wait_until(lambda: len([event for event in polled.events() if event == "resync_finished"]) >= done + 4)

        assert labelled == client.stat_object("photos", "new/cat.jpg").last_modified
        put("photos", "new/cat.jpg", "espresso")
        wait_until(lambda: "espresso" in {hit["top_label"] for hit in polled.found("prefix:new/cat")})
        time.sleep(1)  # times on S3 are in seconds
        put("photos", "new/cat.jpg", "espresso")
        wait_until(lambda: "x-amz-meta-imgtag-mark" in client.stat_object("photos", "new/cat.jpg").metadata)
        assert 0 == polled.stop()


def test_nobody_expects_notifications(polled: Site, minio: MinioServer) -> None:
    """`setup` asks the store for none, and `doctor` misses none: it says what is listed."""
    client = Minio(minio.endpoint.removeprefix("http://"), minio.access_key, minio.secret_key, secure=False)
    for bucket in ("photos", "other"):
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
    plan = polled.ask("setup", "--yes")
    checks = {check["check"]: check for check in map(json.loads, polled.ask("doctor", "--json").splitlines())}

    assert "notify" not in plan
    assert "photos/new/, other/: listed every 1 s" == checks["poll"]["message"]
    assert [] == [name for name in checks if name.startswith("notifications")]


def test_a_part_that_no_rule_names(site: Site) -> None:
    """Without rules and without parts there is nothing to list; the hint says what to write."""
    site.file.write_text(
        f'[store.directory]\nroot = "{site.root}"\n[source.poll]\n[state]\ndir = "{site.base / "state"}"\n'
    )
    complaint = site.fails("run", code=78)

    assert "[source.poll] has nothing to list" in complaint
    assert "[[rules]]" in complaint
