"""Bytes that were read are sent again only if they are the object's."""

from hashlib import md5

import pytest

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3.state import SSE, Native
from imgtag_s3.write_requests import verify_body

BODY = b"\xff\xd8\xffpicture"
MD5 = md5(BODY).hexdigest()
KMS = Native(headers={SSE: "aws:kms"})
S3 = Native(headers={SSE: "AES256"})
MINIO = Native(server="MinIO")


def is_sent(body, etag=MD5, native=None):
    ref = ObjectRef("photos", "a.jpg")
    try:
        verify_body(ObjectState(ref=ref, etag=etag, size=len(BODY), modified=0.0, native=native or Native()), body)
    except WriteRefused as refused:
        return refused.code != "checksum"
    return True


@pytest.mark.parametrize("native", [Native(), S3], ids=["plain", "sse-s3"])
def test_an_etag_that_is_the_md5_tells_every_byte(native):
    """Length and bytes."""
    assert is_sent(BODY, native=native)
    assert not is_sent(BODY[:-1], native=native)
    assert not is_sent(BODY[:-1] + b"!", native=native)


@pytest.mark.parametrize(
    ("etag", "native"),
    [(MD5, KMS), (f"{MD5}-2", Native()), ("opaque", Native()), (MD5, MINIO)],
    ids=["kms", "parts", "other", "minio"],
)
def test_where_the_etag_is_no_md5_the_length_decides(etag, native):
    """A KMS key changes the ETag, parts have one of their own, other stores have any; MinIO verifies it itself."""
    assert is_sent(BODY, etag, native)
    assert is_sent(BODY[:-1] + b"!", etag, native)
    assert not is_sent(BODY[:-1], etag, native)
    assert not is_sent(BODY + b"!", etag, native)
