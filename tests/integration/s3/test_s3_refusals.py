"""What cannot be written without harm is refused with a code, and stays as it was: on a real MinIO."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice

import pytest
from anyio import fail_after, to_thread
from multidict import CIMultiDict

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import ObjectRef
from imgtag_s3.client import Client
from imgtag_s3.errors import NoResponse, S3Error
from integration.s3.portal import LABELS, PortalStore

JPEG = b"\xff\xd8\xff" + os.urandom(3_000)
RETENTION = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
ENCRYPTION = (
    "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm>"
    "</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
)


def _locked_until():
    until = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}


LOCKS = {"legal_hold": {"x-amz-object-lock-legal-hold": "ON"}, "retention": _locked_until()}


def _refused(store, bucket, key, code, data=JPEG, strategy="auto"):
    before, count = bucket.snapshot(key), len(bucket.versions(key))
    with pytest.raises(WriteRefused) as refused:
        store.rewrite(store.stat(bucket, key), LABELS, data, strategy)
    assert refused.value.code == code
    assert bucket.snapshot(key) == before
    assert len(bucket.versions(key)) == count


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_bytes_with_another_digest_than_a_worker_says(store, make_bucket, tmp_path, versioning):
    """MinIO verifies the SHA-256 of what it is sent; a copy is sent no bytes, so it is made here."""
    bucket = make_bucket(versioning)
    bucket.put("a.jpg", JPEG)
    before = bucket.snapshot("a.jpg")
    with pytest.raises(WriteRefused) as refused:
        store.rewrite(store.stat(bucket, "a.jpg"), LABELS, JPEG, digest=sha256(b"other").digest())
    assert (refused.value.code, bucket.snapshot("a.jpg")) == ("checksum", before)

    written = store.rewrite(store.stat(bucket, "a.jpg"), LABELS, JPEG, digest=sha256(JPEG).digest())
    assert dict(written.metadata) == LABELS
    if versioning is None:
        (tested,) = json.loads((tmp_path / "s3-probe.json").read_text()).values()
        assert tested["verifies_digest"]["value"]


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_objects_are_only_read(store, make_bucket, lock):
    """Under a lock: readable, its state says why nothing is written, and a write is refused."""
    bucket = make_bucket(lock=True)
    bucket.put_with("a.jpg", JPEG, LOCKS[lock])

    assert store.stat(bucket, "a.jpg").readonly == lock
    assert store.read(bucket, "a.jpg") == JPEG
    _refused(store, bucket, "a.jpg", lock)


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_objects_are_written_when_asked_for(portal, connect, make_bucket, lock):
    """Asked for by name: the further version is under the same lock."""
    bucket = make_bucket(lock=True)
    bucket.put_with("a.jpg", JPEG, LOCKS[lock])
    before = bucket.snapshot("a.jpg")
    with portal.wrap_async_context_manager(connect(write_on=["legal_hold", "retention"])) as asked:
        PortalStore(portal, asked).label(bucket, "a.jpg")
    after = bucket.snapshot("a.jpg")
    added = {"x-amz-checksum-crc64nvme", "x-amz-checksum-type"}

    assert {n: v for n, v in after["headers"].items() if n not in added} == before["headers"]
    assert len(bucket.versions("a.jpg")) == 2


def test_default_retention(store, make_bucket):
    """In a bucket that locks whatever is written, an object from before is not written: it would be locked."""
    bucket = make_bucket(lock=True)
    bucket.put("a.jpg", JPEG)
    bucket.set("object-lock", RETENTION)

    assert store.stat(bucket, "a.jpg").readonly is None
    _refused(store, bucket, "a.jpg", "retention")


def test_default_encryption(store, bucket):
    """An object that is not encrypted, in a bucket that would encrypt it now, is not written."""
    bucket.put("a.jpg", JPEG)
    bucket.set("encryption", ENCRYPTION)

    _refused(store, bucket, "a.jpg", "encryption")


def test_encrypted_by_default(store, bucket):
    """What the bucket encrypted when it came is encrypted the same afterwards."""
    bucket.set("encryption", ENCRYPTION)
    bucket.put("a.jpg", JPEG)
    before = bucket.snapshot("a.jpg")
    store.label(bucket, "a.jpg")

    assert bucket.snapshot("a.jpg") == before


def test_storage_class_that_is_gone(store, bucket, monkeypatch):
    """A class that the server does not take (any more) is not replaced by another."""
    bucket.put("a.jpg", JPEG)
    state = store.stat(bucket, "a.jpg")
    real = Client.send

    async def shown(self, method, *args, **kwargs):
        answer = await real(self, method, *args, **kwargs)
        if method != "HEAD":
            return answer
        return replace(answer, headers=CIMultiDict(answer.headers, **{"x-amz-storage-class": "ONEZONE_IA"}))

    # A MinIO shows such a class of a remote tier only; so it is another's server for once.
    monkeypatch.setattr("imgtag_s3.state.Native.is_minio", False)
    monkeypatch.setattr(Client, "send", shown)
    state = store.stat(bucket, "a.jpg")
    with pytest.raises(WriteRefused) as refused:
        store.rewrite(state, LABELS, JPEG)

    assert refused.value.code == "storage_class"


def test_suspended_over_null_version(store, make_bucket):
    """Where versioning is suspended, a write that would destroy an older version is refused."""
    bucket = make_bucket()
    bucket.put("a.jpg", b"the first, without a version")
    bucket.set_versioning("Enabled")
    bucket.put("a.jpg", JPEG)
    bucket.set_versioning("Suspended")

    for strategy in ("auto", "put", "copy"):
        _refused(store, bucket, "a.jpg", "version_lost", strategy=strategy)


def test_suspended_over_real_version(store, make_bucket):
    """Where versioning is suspended and nothing would be destroyed, the labelled object lies above its source."""
    bucket = make_bucket("Enabled")
    bucket.put("a.jpg", JPEG)
    bucket.set_versioning("Suspended")
    state = store.label(bucket, "a.jpg")

    assert state.version is None
    assert [version.id == "null" for version in bucket.versions("a.jpg")] == [True, False]


def test_enabled_over_null_version(store, make_bucket):
    """An object from before versioning gets a version above it."""
    bucket = make_bucket()
    bucket.put("a.jpg", JPEG)
    bucket.set_versioning("Enabled")
    state = store.label(bucket, "a.jpg")

    assert [version.id for version in bucket.versions("a.jpg")] == [state.version, "null"]


def test_excluded_prefix(store, make_bucket):
    """Under a prefix without versions objects are put, elsewhere in the bucket copied."""
    bucket = make_bucket("Enabled", excluded="tmp/")
    for key in ("tmp/a.jpg", "b.jpg"):
        bucket.put(key, JPEG)
        store.label(bucket, key)

    assert [version.id for version in bucket.versions("tmp/a.jpg")] == ["null"]
    assert len(bucket.versions("b.jpg")) == 2


def test_no_if_match(portal, connect, bucket):
    """Where the server does not honour If-Match an object without versions is not written."""
    bucket.put("a.jpg", JPEG)
    with portal.wrap_async_context_manager(connect(if_match=False)) as store:
        _refused(PortalStore(portal, store), bucket, "a.jpg", "if_match")


def test_other_bytes(store, bucket):
    """Bytes that are not the object's are never sent."""
    bucket.put("a.jpg", JPEG)

    _refused(store, bucket, "a.jpg", "checksum", data=JPEG[:-1])
    _refused(store, bucket, "a.jpg", "checksum", data=JPEG[:-1] + bytes([JPEG[-1] ^ 1]))


@pytest.mark.parametrize("encryption", [{}, {"x-amz-server-side-encryption": "aws:kms"}], ids=["plain", "SSE-KMS"])
def test_parts_of_another_length(store, bucket, encryption):
    """Bytes of another length are never sent as parts; with a KMS key no ETag would tell."""
    parts = [os.urandom(5 << 20), b"end"]
    bucket.put_parts("big.tif", parts, encryption)

    _refused(store, bucket, "big.tif", "checksum", data=b"".join(parts)[:-1])


def test_too_much_metadata(store, bucket):
    """One byte over the limit is refused."""
    bucket.put("a.jpg", JPEG)
    with pytest.raises(WriteRefused) as refused:
        store.rewrite(store.stat(bucket, "a.jpg"), {"imgtag-raw": "x" * (2049 - 21)}, JPEG)

    assert refused.value.code == "metadata_full"


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_tags_set_meanwhile(store, make_bucket, versioning):
    """Tags that somebody set since the object was looked at are not lost: Conflict."""
    bucket = make_bucket(versioning)
    bucket.put("a.jpg", JPEG)
    state = store.stat(bucket, "a.jpg")
    bucket.tag("a.jpg", {"mine": "1"})
    with pytest.raises(Conflict):
        store.rewrite(state, LABELS, JPEG)

    assert bucket.tags("a.jpg") == {"mine": "1"}


def _failing(monkeypatch, error, *, after, methods=frozenset({"PUT", "POST"}), query=()):
    """The first write's answer is lost, behind it or before it is sent."""
    real, lost = Client.send, []

    async def send(self, method, bucket="", key="", **kwargs):
        is_probe = bucket.startswith("imgtag-probe-")
        wanted = method in methods and key and not is_probe and set(query) <= set(kwargs.get("query") or {})
        if not wanted or lost:
            return await real(self, method, bucket, key, **kwargs)
        lost.append(method)
        if after:
            await real(self, method, bucket, key, **kwargs)
        raise error

    monkeypatch.setattr(Client, "send", send)
    return lost


@pytest.mark.parametrize("versioning", [None, "Enabled"])
@pytest.mark.parametrize("error", [NoResponse("cut"), S3Error(504, "GatewayTimeout")], ids=["cut", "504"])
def test_lost_answer_to_a_write_that_arrived(store, make_bucket, monkeypatch, versioning, error):
    """The answer is lost and the write was done: that is seen, and nothing is written twice."""
    bucket = make_bucket(versioning)
    bucket.put("a.jpg", JPEG)
    state = store.stat(bucket, "a.jpg")
    lost = _failing(monkeypatch, error, after=True)
    after = store.rewrite(state, LABELS, JPEG)

    assert lost
    assert dict(after.metadata) == LABELS
    assert len(bucket.versions("a.jpg")) == (2 if versioning else 1)


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_lost_end_of_parts_that_arrived(store, make_bucket, monkeypatch, versioning):
    """The same for the end of an upload in parts."""
    bucket, parts = make_bucket(versioning), [os.urandom(5 << 20), b"end"]
    bucket.put_parts("big.tif", parts)
    state = store.stat(bucket, "big.tif")
    lost = _failing(monkeypatch, NoResponse("cut"), after=True, methods={"POST"}, query={"uploadId"})
    after = store.rewrite(state, LABELS, b"".join(parts))

    assert lost
    assert dict(after.metadata) == LABELS
    assert after.etag == state.etag


def test_lost_write_that_never_arrived(store, bucket, monkeypatch):
    """The answer is lost and the write too: to be tried again, and nothing is there."""
    bucket.put("a.jpg", JPEG)
    state = store.stat(bucket, "a.jpg")
    _failing(monkeypatch, NoResponse("cut"), after=False)
    with pytest.raises(Unavailable):
        store.rewrite(state, LABELS, JPEG)

    assert store.stat(bucket, "a.jpg") == state


def test_no_upload_is_left_behind(store, bucket, monkeypatch, client):
    """An upload in parts that fails is aborted."""
    parts = [os.urandom(5 << 20), b"end"]
    bucket.put_parts("big.tif", parts)
    state = store.stat(bucket, "big.tif")
    _failing(monkeypatch, S3Error(400, "InvalidRequest"), after=False, query={"partNumber"})
    with pytest.raises(WriteRefused):
        store.rewrite(state, LABELS, b"".join(parts))

    assert b"<Upload>" not in client.send("GET", bucket.name, query={"uploads": "", "prefix": "big.tif"}).data


def test_wrong_endpoint(store, bucket, tmp_path_factory, portal, connect):
    """On another server, without the bucket, nothing is absent: BucketAbsent, also when looked at and listed."""
    bucket.name = "not-on-this-server"
    for ask in (lambda: store.stat(bucket, "a.jpg"), lambda: store.read(bucket, "a.jpg"), lambda: store.keys(bucket)):
        with pytest.raises(BucketAbsent):
            ask()


def test_nobody_there(portal, connect):
    """Where nothing listens, entering is Unavailable, and soon."""
    settings = {"endpoint": "http://127.0.0.1:9", "connect_timeout": 0.5, "read_timeout": 0.5}
    with pytest.raises(Unavailable), portal.wrap_async_context_manager(connect(**settings)):
        pass


def test_wrong_credentials(portal, connect):
    """With a wrong key, entering is Unavailable and says so."""
    with (
        pytest.raises(Unavailable, match="credentials"),
        portal.wrap_async_context_manager(connect(secret_key="wrong-secret")),
    ):
        pass


@pytest.mark.parametrize("key", ["a/../b.jpg", "./a.jpg", ".."])
def test_keys_that_urls_shorten(store, bucket, key):
    """A key that would name another one on its way is refused before it is asked for."""
    with pytest.raises(Unreadable) as refused:
        store.stat(bucket, key)

    assert refused.value.code == "key"


def test_unread_body_holds_up_nobody(store, bucket, connect, portal):
    """While an object is open and its body not read, others can write on it."""
    bucket.put("big.jpg", os.urandom(30 << 20))

    async def opened():
        async with connect() as own, own.open(ObjectRef(bucket.name, "big.jpg")) as body:
            with fail_after(20):
                await to_thread.run_sync(bucket.put, "big.jpg", JPEG)
            with pytest.raises(Conflict):
                await body.read(1 << 30)

    portal.call(opened)


def test_pages(store, bucket):
    """A listing goes on behind its first page, and can be left at any place."""
    keys = [f"{number:05}.jpg" for number in range(1_050)]
    for key in keys:
        bucket.put(key, b"")

    assert store.keys(bucket) == keys
    assert list(islice(store.keys(bucket, after="01000.jpg"), 2)) == ["01001.jpg", "01002.jpg"]


@pytest.mark.parametrize("prefix", ["imgtag_", "ai_"])
def test_labels_as_tags(store, make_bucket, prefix):
    """The strategy `tags` adds labels to the user's tags and changes nothing else; the next write replaces them."""
    bucket = make_bucket("Enabled")
    bucket.put_with("a.jpg", JPEG, {"x-amz-tagging": "project=a"})
    before = bucket.headers("a.jpg")
    for labels in ({f"{prefix}red+fox": "0.59", f"{prefix}dog": "0.30"}, {f"{prefix}dog": "0.40"}):
        store.tag(bucket, "a.jpg", labels, prefix)

    assert bucket.tags("a.jpg") == {"project": "a", f"{prefix}dog": "0.40"}
    assert bucket.headers("a.jpg") | {"x-amz-tagging-count": "1"} == before
    assert len(bucket.versions("a.jpg")) == 1
