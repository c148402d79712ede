"""Everything that the sidecar did not write is the same after a write as before: on a real MinIO."""

import gzip
import os
import zlib
from base64 import b64encode

import pytest

from imgtag.types.metadata import MARK
from integration.s3.bucket import without_made
from integration.s3.portal import LABELS

JPEG = b"\xff\xd8\xff" + os.urandom(3_000)
PART = 5 << 20
BIG = [os.urandom(PART), os.urandom(PART), os.urandom(700_001)]
CRC = {"x-amz-checksum-crc32": b64encode(zlib.crc32(JPEG).to_bytes(4, "big")).decode()}

HEADERS = {
    "type": {"Content-Type": "image/jpeg; charset=binary"},
    "cache": {"Content-Type": "image/jpeg", "Cache-Control": "max-age=31536000, immutable"},
    "language": {"Content-Type": "image/jpeg", "Content-Language": "de-CH, fr"},
    "disposition": {"Content-Type": "image/jpeg", "Content-Disposition": 'attachment; filename="a  b.jpg"'},
    "expires": {"Content-Type": "image/jpeg", "Expires": "Thu, 01 Dec 2044 16:00:00 GMT"},
    "class": {"Content-Type": "image/jpeg", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
    "metadata": {"x-amz-meta-license": "CC-BY 4.0; a=b, c", "x-amz-meta-Upper-Case": "Kept", "x-amz-meta-x_y": "1"},
    "empty and spaced metadata": {"x-amz-meta-empty": "", "x-amz-meta-spaced": "a  b   c"},
    "not ascii": {"x-amz-meta-place": "Zürich – Café", "x-amz-meta-plain": "a"},
    "an RFC 2047 word": {"x-amz-meta-place": "=?UTF-8?b?WsO8cmljaA==?="},
    "SSE-S3": {"x-amz-server-side-encryption": "AES256"},
    "SSE-KMS": {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "imgtag",
    },
    "tags": {"x-amz-tagging": "project=a%20b&owner=me%2Byou&empty="},
    "checksum": CRC,
    "nothing": {},
}


@pytest.fixture(params=[None, "Enabled", "Suspended"], ids=["unversioned", "versioned", "suspended"])
def any_bucket(request, make_bucket):
    return make_bucket(request.param)


def _etag_less(snapshot):
    return {**snapshot, "headers": {name: v for name, v in snapshot["headers"].items() if name != "etag"}}


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_is_kept(store, any_bucket, name):
    """Put whole, with every kind of header: after labelling all is as before, and the labels are there."""
    any_bucket.put_with("a.jpg", JPEG, HEADERS[name])
    before = any_bucket.snapshot("a.jpg")
    state = store.label(any_bucket, "a.jpg")
    after = without_made(any_bucket.snapshot("a.jpg"), before)

    if name == "SSE-KMS":  # its ETag is random, each time another
        before, after = _etag_less(before), _etag_less(after)
    assert after == before
    assert {key: state.metadata[key] for key in LABELS} == LABELS
    assert state == store.stat(any_bucket, "a.jpg")


@pytest.mark.parametrize("encryption", [{}, HEADERS["SSE-S3"]], ids=["plain", "SSE-S3"])
@pytest.mark.parametrize("tags", ["", "a=1"], ids=["untagged", "tagged"])
def test_parts_are_kept(store, any_bucket, encryption, tags):
    """Uploaded in parts: bytes, sizes of parts and the ETag with their number stay."""
    headers = {"Content-Type": "image/tiff", **encryption} | ({"x-amz-tagging": tags} if tags else {})
    any_bucket.put_parts("big.tif", BIG, headers)
    before = any_bucket.snapshot("big.tif")
    state = store.label(any_bucket, "big.tif")

    assert without_made(any_bucket.snapshot("big.tif"), before) == before
    assert state.etag.endswith("-3")
    assert MARK in state.metadata


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_checksums_of_parts_are_kept(store, any_bucket, kind):
    """Uploaded in parts with checksums, of the parts or of the whole: they stay."""
    sums = [{"x-amz-checksum-crc32": b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()} for part in BIG]
    algorithm = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": kind}
    any_bucket.put_parts("big.tif", BIG, algorithm, sums)
    before = any_bucket.snapshot("big.tif")
    store.label(any_bucket, "big.tif")

    assert any_bucket.snapshot("big.tif") == before
    assert before["headers"]["x-amz-checksum-type"] == kind


def test_encoded_bytes_are_not_decoded(store, any_bucket):
    """What is stored gzipped is read and written as it is stored."""
    packed = gzip.compress(JPEG * 20)
    any_bucket.put_with("a.svgz", packed, {"Content-Encoding": "gzip", "Content-Type": "image/svg+xml"})
    before = any_bucket.snapshot("a.svgz")
    assert store.read(any_bucket, "a.svgz") == packed
    store.label(any_bucket, "a.svgz")

    assert without_made(any_bucket.snapshot("a.svgz"), before) == before
    assert any_bucket.get("a.svgz") == packed


def test_zero_bytes(store, any_bucket):
    """An empty object can be labelled too."""
    any_bucket.put("empty.jpg", b"")
    state = store.label(any_bucket, "empty.jpg")

    assert state.size == 0
    assert any_bucket.get("empty.jpg") == b""


KEYS = [
    "with space.jpg", "a+b.jpg", "100%.jpg", "%41%2f.jpg", "über/Zürich/\U0001f98a.jpg", "a?b#c&d=e.jpg",
    "quo'te\"d.jpg", "~tilde*(1)!.jpg", "semi;colon,comma.jpg", "/".join(["x" * 203] * 5) + "/abc", "tab\tin.jpg",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_any_key(store, any_bucket, key):
    """Whatever the key: it is seen, read, listed and labelled as any other."""
    any_bucket.put(key, JPEG)
    state = store.label(any_bucket, key)

    assert state.ref.key == key
    assert store.keys(any_bucket) == [key]
    assert any_bucket.get(key) == JPEG
    assert state.metadata["imgtag_red+fox"] == "0.59"


def test_metadata_that_fill_all_the_room(store, any_bucket):
    """2,048 bytes of metadata, prefixes counted, are written; the user's part of it stays."""
    own = {"x-amz-meta-" + "n" * 20: "v" * (1500 - 31)}
    any_bucket.put_with("a.jpg", JPEG, own)
    state = store.stat(any_bucket, "a.jpg")
    after = store.rewrite(state, {**state.metadata, "imgtag-raw": "x" * (2048 - 1500 - 21)}, JPEG)

    assert len(after.metadata["imgtag-raw"]) == 527
    assert any_bucket.headers("a.jpg")["x-amz-meta-" + "n" * 20] == "v" * 1469


@pytest.mark.parametrize("strategy", ["put", "copy"])
def test_writing_without_the_bytes(store, any_bucket, strategy):
    """A job that has not read the bytes can write too: they are read where they are needed."""
    any_bucket.put("a.jpg", JPEG)
    any_bucket.put_parts("big.tif", BIG)
    for key in ("a.jpg", "big.tif"):
        before = any_bucket.snapshot(key)
        store.rewrite(store.stat(any_bucket, key), LABELS, None, strategy)

        assert without_made(any_bucket.snapshot(key), before) == before
