"""Error responses become errors of the sidecar."""

import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import ObjectRef
from imgtag_s3.errors import S3Error, map_read_error, map_request_error, map_write_error

REF = ObjectRef("photos", "tmp/a.jpg")


@pytest.mark.parametrize(
    ("status", "code", "reading", "writing"),
    [
        (404, "NoSuchBucket", BucketAbsent, BucketAbsent),
        (503, "SlowDownRead", Unavailable, Unavailable),
        (507, "XMinioStorageFull", Unavailable, Unavailable),
        (301, "PermanentRedirect", Unavailable, Unavailable),
        (499, "ClientDisconnected", Unavailable, Unavailable),
        (400, "RequestTimeout", Unavailable, Unavailable),
        (429, "TooManyRequests", Unavailable, Unavailable),
        (403, "SignatureDoesNotMatch", Unavailable, Unavailable),
        (403, "RequestTimeTooSkewed", Unavailable, Unavailable),
        (412, "PreconditionFailed", Conflict, Conflict),
        (416, "InvalidRange", Conflict, Conflict),
        (404, "NoSuchKey", Unreadable, Conflict),
        (404, "NoSuchVersion", Unreadable, Conflict),
        (409, "ConditionalRequestConflict", Unreadable, Conflict),
        (403, "AccessDenied", Unreadable, WriteRefused),
        (400, "InvalidStorageClass", Unreadable, WriteRefused),
    ],
)
def test_errors_by_status_and_code(status, code, reading, writing):
    """Trouble is retried, a change starts over, what is forbidden is refused."""
    error = S3Error(status, code)

    assert type(map_read_error(error, REF)) is reading
    assert type(map_write_error(error, REF)) is writing
    assert isinstance(map_request_error(error), Unavailable)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (S3Error(403, "InvalidObjectState"), "archived"),
        (S3Error(403, "AccessDenied"), "permission"),
        (S3Error(400, "InvalidRequest"), "customer_key"),
        (S3Error(400, "Whatever"), "store_refused"),
    ],
)
def test_codes_of_the_unreadable(error, code):
    """The code says why."""
    assert map_read_error(error, REF).code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (S3Error(400, "InvalidStorageClass"), "storage_class"),
        (S3Error(400, "MetadataTooLarge"), "metadata_full"),
        (S3Error(400, "KMS.NotFoundException"), "encryption"),
        (S3Error(403, "AccessDenied"), "permission"),
        (S3Error(501, "NotImplemented"), "unsupported"),
        (S3Error(418, "Teapot"), "store_refused"),
    ],
)
def test_codes_of_the_refused(error, code):
    """The code says why."""
    assert map_write_error(error, REF).code == code
