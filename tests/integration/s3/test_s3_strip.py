"""An object after imgtag has left it: what it would be, had imgtag never been there. On a real MinIO."""

import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtag.jobs.strip import Fate
from imgtag.testing.indexer import MemoryIndexer
from imgtag.types.document import document_id
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, Scope
from integration.s3.bucket import without_made
from strip_support import SITE, label, make_stripper

PART = 5 << 20
SSE = "x-amz-server-side-encryption"
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
"""Names of metadata; a server may take `x-amz-meta-` + `-` for something else."""
METADATA = st.dictionaries(
    NAMES.filter(str.isalnum) | NAMES.filter(str.isalnum).map("imgtag_{}".format),
    TEXT.filter(lambda text: "=?" not in text) | st.sampled_from(["Zürich – Café", "0.5", "1.00"]),
    max_size=5,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(["image/jpeg", "image/png; a=b", "application/octet-stream"]),
        "Cache-Control": st.sampled_from(["no-store", "max-age=31536000, immutable"]),
        "Content-Disposition": st.just('attachment; filename="a  b.jpg"'),
        "Content-Encoding": st.just("gzip"),
        "Content-Language": st.just("de-CH, fr"),
        "Expires": st.just("Thu, 01 Dec 2044 16:00:00 GMT"),
        "x-amz-storage-class": st.just("REDUCED_REDUNDANCY"),
        "x-amz-server-side-encryption": st.sampled_from(["AES256", "aws:kms"]),
        "x-amz-tagging": st.dictionaries(NAMES, NAMES, min_size=1, max_size=5).map(urlencode),
    },
)


@pytest.fixture(params=[None, "Enabled", "Suspended"], ids=["unversioned", "versioned", "suspended"])
def any_bucket(request, make_bucket):
    return make_bucket(request.param)


@pytest.fixture
def strip(portal, store, tmp_path):
    """Labels an object, checks that the labels are there, and strips its bucket."""

    def strip(bucket, key, *, strategy="auto"):
        async def run():
            entered, indexer = store._store, MemoryIndexer()
            labelled = await label(entered, ObjectRef(bucket.name, key), strategy=strategy)
            assert {MARK, "imgtag_red+fox", "imgtag-vec"} <= labelled.metadata.keys()
            stripper = await make_stripper(tmp_path, entered, indexer)
            counts = await stripper.strip([Scope(bucket.name, key)], lambda _: None)
            return dict(counts.fates)

        return portal.call(run)

    return strip


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    headers=HEADERS,
    metadata=METADATA,
    checksum=st.booleans(),
    data=st.binary(max_size=200).map(b"\xff\xd8\xff".__add__),
)
def test_everything_is_as_it_was(strip, any_bucket, headers, metadata, checksum, data):
    """Bytes, ETag, every header, metadata entry, tag and checksum; encrypted with a key of KMS, all but the ETag."""
    named = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    sums = {"x-amz-checksum-crc32": b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()} if checksum else {}
    uses_kms = headers.get("x-amz-server-side-encryption") == "aws:kms"
    key = {"x-amz-server-side-encryption-aws-kms-key-id": "imgtag"} if uses_kms else {}
    any_bucket.put_with("a.jpg", data, {**headers, **key, **named, **sums})
    before = any_bucket.snapshot("a.jpg")
    versions = [version.id for version in any_bucket.versions("a.jpg")]

    assert {Fate.STRIPPED: 1} == strip(any_bucket, "a.jpg")

    # Of `snapshot`, which leaves out what begins as ours does.
    ours = [name for name in any_bucket.headers("a.jpg") if name.startswith("x-amz-meta-imgtag")]
    assert {name for name in named if "imgtag" in name} == set(ours)
    after = without_made(any_bucket.snapshot("a.jpg"), before)
    if uses_kms:
        assert before["headers"].pop("etag") != after["headers"].pop("etag")
    assert before == after
    assert versions == [version.id for version in any_bucket.versions("a.jpg")][-len(versions) :]


@pytest.mark.parametrize("encryption", [{}, {SSE: "AES256"}, {SSE: "aws:kms"}], ids=["plain", "SSE-S3", "SSE-KMS"])
def test_parts_are_as_they_were(strip, any_bucket, encryption):
    """Number and sizes of the parts, their checksums, and the ETag with their number."""
    parts = [bytes(PART), b"end"]
    sums = [{"x-amz-checksum-crc32": b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()} for part in parts]
    headers = {"x-amz-checksum-algorithm": "CRC32", "Content-Type": "image/tiff", "x-amz-tagging": "a=1", **encryption}
    any_bucket.put_parts("big.tif", parts, headers, sums)
    before = any_bucket.snapshot("big.tif")

    assert {Fate.STRIPPED: 1} == strip(any_bucket, "big.tif")
    after = any_bucket.snapshot("big.tif")
    if encryption.get(SSE) == "aws:kms":
        before["headers"]["etag"] = after["headers"]["etag"]  # a new one with each write
    assert before == after
    assert not any("imgtag" in name for name in any_bucket.headers("big.tif"))


@pytest.mark.parametrize("encryption", [{}, {SSE: "aws:kms"}], ids=["plain", "SSE-KMS"])
def test_locks_are_respected(portal, store, make_bucket, tmp_path, encryption):
    """A hold, a retention or both that came after the labels: they stay, each is named; the others are stripped."""
    bucket = make_bucket("Enabled", lock=True)
    for key in ("free.jpg", "held.jpg", "retained.jpg", "both.jpg"):
        bucket.put_with(key, b"picture", encryption)
        portal.call(label, store._store, ObjectRef(bucket.name, key))
    until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    retention = f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
    for key in ("held.jpg", "both.jpg"):
        hold = b"<LegalHold><Status>ON</Status></LegalHold>"
        bucket.client.send("PUT", bucket.name, key, query={"legal-hold": ""}, body=hold)
    for key in ("retained.jpg", "both.jpg"):
        bucket.client.send("PUT", bucket.name, key, query={"retention": ""}, body=retention.encode())
    before = {key: bucket.headers(key) for key in ("held.jpg", "retained.jpg", "both.jpg")}
    stripper, reported = portal.call(make_stripper, tmp_path, store._store, MemoryIndexer()), []
    portal.call(stripper.strip, [Scope(bucket.name)], reported.append)

    fates = {one.ref.key: (one.fate, one.code) for one in reported}
    assert {
        "free.jpg": (Fate.STRIPPED, None),
        "held.jpg": (Fate.REFUSED, "legal_hold"),
        "retained.jpg": (Fate.REFUSED, "retention"),
        "both.jpg": (Fate.REFUSED, "legal_hold"),
    } == fates
    assert before == {key: bucket.headers(key) for key in before}
    assert all("x-amz-meta-imgtag-mark" in headers for headers in before.values())


def test_tags_are_as_they_were(portal, store, bucket, tmp_path):
    """Those with the labels of the document go, the user's stay, also one in the form of a label."""
    mine = {"a": "1", "imgtag_mine": "0.7"}
    bucket.put("a.jpg", b"picture")
    bucket.tag("a.jpg", mine)
    ours = store.tag(bucket, "a.jpg", {"imgtag_red+fox": "0.59", "imgtag_mine": "0.7"}, "imgtag_").tags
    assert "imgtag_red+fox" in ours

    async def run():
        indexer, ref = MemoryIndexer(), ObjectRef(bucket.name, "a.jpg")
        name = document_id(SITE, ref)
        document = {"id": name, "site": SITE, "bucket": ref.bucket, "key": ref.key, "scores": {"red fox": 0.59}}
        indexer.documents[name] = document
        stripper = await make_stripper(tmp_path, store._store, indexer)
        await stripper.strip([Scope(bucket.name)], lambda _: None)
        return indexer.documents

    assert {} == portal.call(run)
    assert mine == bucket.tags("a.jpg")
