"""An object after imgtag has left it: what it would be, had imgtag never been there. On a real MinIO."""

import zlib
from base64 import b64encode
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
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
"""Names of metadata; a server may take `x-amz-meta-` + `-` for something else."""
METADATA = st.dictionaries(
    NAMES.filter(str.isalnum) | NAMES.filter(str.isalnum).map("imgtag_{}".format),
    TEXT.filter(lambda text: not text[0].isdigit() and "=?" not in text) | st.just("Zürich – Café"),
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
        "x-amz-server-side-encryption": st.just("AES256"),
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
    """Bytes, ETag, every header, metadata entry, tag and checksum."""
    named = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    sums = {"x-amz-checksum-crc32": b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()} if checksum else {}
    any_bucket.put_with("a.jpg", data, {**headers, **named, **sums})
    before = any_bucket.snapshot("a.jpg")
    versions = [version.id for version in any_bucket.versions("a.jpg")]

    assert {Fate.STRIPPED: 1} == strip(any_bucket, "a.jpg")

    # Of `snapshot`, which leaves out what begins as ours does.
    ours = [name for name in any_bucket.headers("a.jpg") if name.startswith("x-amz-meta-imgtag")]
    assert {name for name in named if "imgtag" in name} == set(ours)
    assert before == without_made(any_bucket.snapshot("a.jpg"), before)
    assert versions == [version.id for version in any_bucket.versions("a.jpg")][-len(versions) :]


@pytest.mark.parametrize("encryption", [{}, {"x-amz-server-side-encryption": "AES256"}], ids=["plain", "SSE-S3"])
def test_parts_are_as_they_were(strip, any_bucket, encryption):
    """Number and sizes of the parts, their checksums, and the ETag with their number."""
    parts = [bytes(PART), b"end"]
    sums = [{"x-amz-checksum-crc32": b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()} for part in parts]
    headers = {"x-amz-checksum-algorithm": "CRC32", "Content-Type": "image/tiff", "x-amz-tagging": "a=1", **encryption}
    any_bucket.put_parts("big.tif", parts, headers, sums)
    before = any_bucket.snapshot("big.tif")

    assert {Fate.STRIPPED: 1} == strip(any_bucket, "big.tif")
    assert before == any_bucket.snapshot("big.tif")
    assert not any("imgtag" in name for name in any_bucket.headers("big.tif"))


def test_a_lock_is_respected(portal, store, make_bucket, tmp_path):
    """A legal hold that came after the labels: they stay, and the object is named; the others are stripped."""
    bucket = make_bucket("Enabled", lock=True)
    for key in ("a.jpg", "b.jpg"):
        bucket.put(key, b"picture")
        portal.call(label, store._store, ObjectRef(bucket.name, key))
    hold = b"<LegalHold><Status>ON</Status></LegalHold>"
    bucket.client.send("PUT", bucket.name, "a.jpg", query={"legal-hold": ""}, body=hold)
    stripper, reported = portal.call(make_stripper, tmp_path, store._store, MemoryIndexer()), []
    portal.call(stripper.strip, [Scope(bucket.name)], reported.append)

    fates = {one.ref.key: (one.fate, one.code) for one in reported}
    assert {"a.jpg": (Fate.REFUSED, "legal_hold"), "b.jpg": (Fate.STRIPPED, None)} == fates
    assert "x-amz-meta-imgtag-mark" in bucket.headers("a.jpg")


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
