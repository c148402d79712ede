"""Marks that are forged or stale, ETags that change, and what is left when something is gone, through everything."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager

import pytest
from minio.commonconfig import CopySource

from acceptance.conftest import SUBJECT, uploader
from acceptance.watched import LEFT, OLDER
from acceptance_support import wait_until, wait_until_quiet
from integration.conftest import binary
from integration.s3.bucket import without_made
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer

pytestmark = pytest.mark.timeout(120)

JPEG = {"Content-Type": "image/jpeg"}
MARK = "imgtag-mark"
META = "x-amz-meta-"
KMS = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "imgtag"}


def labelled_cat(watched, photographs, bucket, key):
    """Put a picture of a cat; what we wrote on it, as headers, to be put somewhere else."""
    watched.put(bucket, key, photographs["cat"])
    watched.labelled(bucket, key, "cat")
    return entries(watched, bucket, key)


def entries(watched, bucket, key):
    return {META + name: value for name, value in watched.metadata(bucket, key).items()}


def test_a_forged_mark_is_not_believed(watched, photographs):
    """The same bytes and a true mark beside another label: labelled again, and the forged label is never found."""
    cat = labelled_cat(watched, photographs, "plain", "forged.jpg")
    labels = {name for name in cat if name.startswith(f"{META}imgtag_")}
    forged = {name: value for name, value in cat.items() if name not in labels} | {f"{META}imgtag_pug": "0.99"}
    for key in ("forged.jpg", "elsewhere.jpg"):
        watched.bucket("plain").put_with(key, photographs["cat"], {**JPEG, **forged})
        wait_until(lambda key=key: "imgtag_pug" not in watched.metadata("plain", key))
        watched.labelled("plain", key, "cat")

        metadata = entries(watched, "plain", key)
        assert {name: cat[name] for name in labels} == {name: metadata[name] for name in metadata if name in labels}
    assert [] == watched.site.found("pug")


def test_a_true_mark_on_other_bytes_is_not_believed(watched, photographs):
    """Somebody overwrites a picture and sends the old metadata along: the labels are those of the new one."""
    old = labelled_cat(watched, photographs, "plain", "other.jpg")
    watched.bucket("plain").put_with("other.jpg", photographs["daisy"], {**JPEG, **old})
    document = watched.labelled("plain", "other.jpg", "daisy")

    assert "imgtag_tiger+cat" not in watched.metadata("plain", "other.jpg")
    assert old[f"{META}{MARK}"] != watched.metadata("plain", "other.jpg")[MARK]
    assert "tiger cat" not in document["scores"]


def test_a_forged_mark_costs_nobody_an_upload(watched, photographs):
    """In the versioned bucket, with a mark that calls the upload ours and an older version its source: it stays."""
    bucket, key = watched.bucket("versioned"), "forged.jpg"
    mark = labelled_cat(watched, photographs, "versioned", key)[f"{META}{MARK}"]
    watched.put("versioned", key, photographs["daisy"])
    watched.labelled("versioned", key, "daisy")
    bucket.put_with(key, photographs["espresso"], {**JPEG, f"{META}{MARK}": f"{mark},s=forged"})
    watched.labelled("versioned", key, "espresso")

    assert photographs["espresso"] == bucket.get(key)
    assert 6 == len(bucket.versions(key))


def test_a_stale_mark_is_counted_and_left(watched, photographs):
    """Copied into a bucket with other rules: indexed from what it carries, without inference and without a write."""
    cat = labelled_cat(watched, photographs, "plain", "true.jpg")
    work, stale = watched.work(), watched.count("imgtag_stale_total")
    watched.user.copy_object("strict", "stale.jpg", CopySource("plain", "true.jpg"))
    document = watched.labelled("strict", "stale.jpg", "cat")

    assert watched.document("plain", "true.jpg")["scores"] == document["scores"]
    assert cat == entries(watched, "strict", "stale.jpg")
    assert stale < watched.count("imgtag_stale_total")
    assert work == watched.work()


def test_a_store_that_changes_etags_makes_no_loop(watched, photographs):
    """Encrypted with a KMS key each write has another ETag: still one write an upload, and labels that are right."""
    kinds, key = ("plain", "versioned"), "kms.jpg"
    classified, written = watched.work()
    for label in ("cat", "daisy"):
        for kind in kinds:
            uploaded = watched.bucket(kind).put_with(key, photographs[label], {**JPEG, **KMS})
            assert uploaded["etag"].strip('"') != watched.labelled(kind, key, label)["etag"]
    before = {kind: watched.document(kind, key) for kind in kinds}
    wait_until_quiet(watched.site)

    assert (classified + 4, written + 4) == watched.work()
    assert before == {kind: watched.document(kind, key) for kind in kinds}
    assert [1, 4] == [len(watched.bucket(kind).versions(key)) for kind in kinds]


# What is left when something is gone.


@contextmanager
def busy(watched):
    """Somebody else writes to the index for as long as the context lasts."""
    with closing(sqlite3.connect(watched.index, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


PLACED = {
    "id",
    "key",
    "title",
    "location",
    "prefixes",
    "words",
    "labelled",
    "modified",
    "revision",
    "when",
    "when_day",
    "when_month",
}
"""What a document says of name and time."""


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_killed_between_the_write_and_the_index(watched, photographs, kind):
    """The document is there after a restart, as without the kill, and the model is not asked again."""
    watched.put(kind, "undisturbed.jpg", photographs["cat"])
    undisturbed = watched.labelled(kind, "undisturbed.jpg", "cat")
    with busy(watched):
        watched.put(kind, "killed.jpg", photographs["cat"])
        wait_until(lambda: MARK in watched.metadata(kind, "killed.jpg"))
        assert watched.document(kind, "killed.jpg") is None
        watched.site.kill()
    mark = watched.metadata(kind, "killed.jpg")[MARK]
    watched.site.start()
    document = watched.labelled(kind, "killed.jpg", "cat")

    assert (0, 0) == watched.work()
    assert mark == watched.metadata(kind, "killed.jpg")[MARK]
    plain = {name: value for name, value in document.items() if name not in PLACED}
    assert {name: value for name, value in undisturbed.items() if name not in PLACED} == plain


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Servers on which nothing is: of all buckets only `plain` is there, and empty."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
    ):
        uploader(minio).make_bucket("plain")
        yield minio, nats


def held_back(watched):
    """The buckets that the running sidecar takes for the wrong ones."""
    lines = [line for line in watched.site.lines() if line["event"] == "retry_scheduled"]
    return {line["target"].partition("/")[0] for line in lines if line["code"] == "bucket_absent"}


@pytest.mark.parametrize("heard", ["a change", "nothing"])
def test_a_wrong_endpoint_empties_no_index(watched, photographs, elsewhere, heard):
    """Not one document is deleted, neither where a notification comes nor where all is compared; doctor says why."""
    key = f"stays when {heard} is heard.jpg"
    for kind in ("plain", "versioned"):
        watched.put(kind, key, photographs["cat"])
        watched.labelled(kind, key, "cat")
    before = watched.bodies()
    minio, nats = elsewhere
    with watched.between(minio, watched.nats if heard == "a change" else nats):
        if heard == "a change":
            for kind in ("plain", "versioned"):
                watched.put(kind, key, photographs["daisy"])
        wait_until(lambda: {"plain", "versioned"} <= held_back(watched), describe=lambda: str(held_back(watched)))
        output = watched.site.ask("doctor", code=1)
        assert before == watched.bodies()
    assert "objects of plain, but the store shows none" in output
    assert "FAIL  bucket versioned" in output


def test_an_index_is_rebuilt_from_the_store_alone(watched, photographs, tmp_path):
    """With index and NATS lost: the document of what is labelled is, byte for byte, the one of its first labelling."""
    for kind in ("plain", "versioned"):
        watched.put(kind, "first.jpg", photographs["espresso"])
        watched.labelled(kind, "first.jpg", "espresso")
    # The index lacks what was there before the sidecar, unless another test has put it again.
    watched.put("suspended", OLDER, photographs["cat"])
    watched.labelled("suspended", OLDER, "cat")
    wait_until_quiet(watched.site)
    before = watched.bodies()
    marked = {place for place in before if MARK in watched.metadata(*place)}
    with NatsServer(binary("nats-server"), tmp_path / "nats") as new, watched.between(watched.minio, new, index=False):
        wait_until(lambda: before.keys() == watched.bodies().keys())
        after, (classified, written) = watched.bodies(), watched.work()

    assert {place: before[place] for place in marked} == {place: after[place] for place in marked}
    assert {("plain", "first.jpg"), ("versioned", "first.jpg")} <= marked
    assert (0, len(before) - len(marked)) == (written, classified)


EVERYTHING = {
    **JPEG,
    "Cache-Control": "max-age=31536000, immutable",
    "Content-Disposition": 'attachment; filename="a  b.jpg"',
    "x-amz-tagging": "project=a%20b&imgtag_mine=0.5",
    "x-amz-meta-imgtag_owner": "Zürich – Café",
}


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_what_is_stripped_is_what_nobody_labelled(watched, photographs, kind):
    """Copied out of the reach of the rules and stripped beside the running sidecar, which has nothing to do with it."""
    left = f"{LEFT}a.jpg"
    watched.bucket(kind).put_with("stripped.jpg", photographs["cat"], EVERYTHING)
    watched.twin(kind).put_with(left, photographs["cat"], EVERYTHING)
    watched.labelled(kind, "stripped.jpg", "cat")
    explained = json.loads(watched.site.run("explain", "--verify", "--json", f"{kind}/stripped.jpg"))
    watched.user.copy_object(kind, left, CopySource(kind, "stripped.jpg"))
    skipped = json.loads(watched.site.ask("explain", "--json", f"{kind}/{left}"))
    planned = watched.site.ask("strip", "--dry-run", "--json", f"{kind}/{LEFT}")
    watched.site.ask("strip", f"{kind}/{LEFT}", code=2)
    assert MARK in watched.metadata(kind, left)
    stripped = watched.site.ask("strip", "--yes", "--json", f"{kind}/{LEFT}")
    refused = watched.site.ask("strip", "--yes", f"{kind}/stripped.jpg", code=1)
    work = watched.work()
    wait_until_quiet(watched.site)
    before, after = watched.twin(kind).snapshot(left), watched.bucket(kind).snapshot(left)

    assert before == without_made(after, before)
    assert {"imgtag_owner"} == watched.metadata(kind, left).keys()
    assert work == watched.work()
    assert watched.document(kind, left) is None
    assert MARK in watched.metadata(kind, "stripped.jpg")
    assert "1 refused (admitted 1)" in refused
    assert ("labelled", True, True) == (explained["status"], explained["verified"], explained["mark"]["genuine"])
    assert ("skipped", "`imgtag strip` removes" in skipped["because"]) == (skipped["status"], True)
    for output in (planned, stripped):
        *objects, last = map(json.loads, output.splitlines())
        assert [{"ref": f"{kind}/{left}", "result": "stripped"}] == objects
        fates = [last[fate] for fate in ("stripped", "untouched", "refused", "failed")]
        assert (1, [1, 0, 0, 0], True) == (last["listed"], fates, last["done"])
