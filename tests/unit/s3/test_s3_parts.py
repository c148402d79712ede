"""The small decisions, without a server."""

import json

import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import SPEC, xml
from imgtag_s3.acl import granted
from imgtag_s3.buckets import Versioning
from imgtag_s3.client import source
from imgtag_s3.errors import Fault, while_asking, while_reading, while_writing
from imgtag_s3.notify import added, notified
from imgtag_s3.policy import policy
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.state import Native
from imgtag_s3.tags import tagged
from imgtag_s3.versions import Version, between
from imgtag_s3.writeback import choose, headers_of

REF = ObjectRef("photos", "tmp/a.jpg")
WHO = {"access_key": "a", "secret_key": "s"}


def _state(**fields):
    return ObjectState(**{"ref": REF, "etag": "e", "size": 1, "modified": 0.0, "native": Native(), **fields})


def _versions(*ids):
    return [Version(id=each, latest=not number, modified=0.0) for number, each in enumerate(ids)]


# Settings.


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://", "ftp://a", "http://a/b", "http://u@a", "http://a?b"])
def test_endpoint_that_is_none(endpoint):
    """The endpoint is a URL of scheme, host and port."""
    with pytest.raises(ValueError, match="endpoint"):
        S3StoreSettings(endpoint=endpoint, **WHO)


def test_secrets_are_not_shown():
    """Settings may be printed."""
    assert "s3cr3t" not in repr(S3StoreSettings(endpoint="http://a", access_key="a", secret_key="s3cr3t"))


def test_timeouts_fit_the_deadline():
    """All tries of a request fit in its deadline."""
    with pytest.raises(ValueError, match="deadline"):
        S3StoreSettings(endpoint="http://a", read_timeout=30, **WHO)


@pytest.mark.parametrize(
    ("endpoint", "path_style", "in_host"),
    [
        ("http://127.0.0.1:9000", None, False),
        ("https://s3.eu-central-1.amazonaws.com", None, True),
        ("https://s3.eu-central-1.amazonaws.com", True, False),
        ("https://a.example", False, True),
    ],
)
def test_style_of_urls(endpoint, path_style, in_host):
    """In the path by default, in the host name at AWS; the setting wins."""
    assert S3StoreSettings(endpoint=endpoint, path_style=path_style, **WHO).bucket_in_host is in_host


def test_spec_is_light():
    """What is imported to show the plugin is not what is imported to use it."""
    assert SPEC.factory == "imgtag_s3.store:S3Store"


# Errors.


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
def test_faults(status, code, reading, writing):
    """Trouble is tried again, what changed is begun anew, what is forbidden is refused."""
    fault = Fault(status, code)

    assert type(while_reading(fault, REF)) is reading
    assert type(while_writing(fault, REF)) is writing
    assert isinstance(while_asking(fault), Unavailable)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(403, "InvalidObjectState"), "archived"),
        (Fault(403, "AccessDenied"), "permission"),
        (Fault(400, "InvalidRequest"), "customer_key"),
        (Fault(400, "Whatever"), "store_refused"),
    ],
)
def test_codes_of_the_unreadable(fault, code):
    """The code says why."""
    assert while_reading(fault, REF).code == code


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(400, "InvalidStorageClass"), "storage_class"),
        (Fault(400, "MetadataTooLarge"), "metadata_full"),
        (Fault(400, "KMS.NotFoundException"), "encryption"),
        (Fault(403, "AccessDenied"), "permission"),
        (Fault(501, "NotImplemented"), "unsupported"),
        (Fault(418, "Teapot"), "store_refused"),
    ],
)
def test_codes_of_the_refused(fault, code):
    """The code says why."""
    assert while_writing(fault, REF).code == code


# Which way to write.

ENABLED, SUSPENDED, OFF = (Versioning(status=status) for status in ("Enabled", "Suspended", ""))


@pytest.mark.parametrize(
    ("wanted", "versioning", "version", "below", "if_match", "chosen"),
    [
        ("auto", ENABLED, "v1", [], False, "copy"),
        ("auto", ENABLED, None, ["null"], False, "copy"),
        ("auto", OFF, None, [], True, "put"),
        ("auto", OFF, None, [], False, "if_match"),
        ("auto", SUSPENDED, None, [], True, "put"),
        ("auto", SUSPENDED, "v1", ["v0"], True, "put"),
        ("auto", SUSPENDED, "v1", ["null"], True, "version_lost"),
        ("copy", SUSPENDED, "v1", ["null"], True, "version_lost"),
        ("copy", OFF, None, [], False, "copy"),
        ("put", ENABLED, "v1", [], True, "put"),
        ("put", ENABLED, "v1", [], False, "if_match"),
        ("auto", Versioning(status="Enabled", excluded=("tmp/",)), None, [], True, "put"),
        ("auto", Versioning(status="Enabled", excluded=("tmp/",)), "v1", ["null"], True, "version_lost"),
    ],
)
def test_choice(wanted, versioning, version, below, if_match, chosen):
    """Copy where another version comes of it, put where If-Match is honoured, else refused with a code."""
    state = _state(version=version)
    versions = _versions(version or "null", *below)
    try:
        found = choose(wanted, state, versioning, versions=lambda: versions, if_match=lambda: if_match)
    except WriteRefused as refused:
        found = refused.code

    assert found == chosen


@pytest.mark.parametrize(
    ("document", "key", "makes"),
    [
        ("<V/>", "a", False),
        ("<V><Status>Suspended</Status></V>", "a", False),
        ("<V><Status>Enabled</Status></V>", "a", True),
        ("<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix></ExcludedPrefixes></V>", "tmp/a", False),
        ("<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix></ExcludedPrefixes></V>", "tmpa", True),
        (
            "<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>*/_t/</Prefix></ExcludedPrefixes></V>",
            "a/b/_t/c",
            False,
        ),
        ("<V><Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders></V>", "a/", False),
    ],
)
def test_versioning(document, key, makes):
    """Prefixes that MinIO excludes make no versions; `*` is any text, also over slashes."""
    assert Versioning.read(xml.parse(document.encode())).makes_version(key) is makes


@pytest.mark.parametrize(
    ("ids", "hidden"),
    [
        (["ours", "source"], []),
        (["newer", "ours", "source", "old"], []),
        (["ours", "newer", "source"], ["newer"]),
        (["ours", "b", "a", "source"], ["b", "a"]),
        (["ours", "newer"], []),
        (["newer", "source"], []),
        (["source", "ours"], []),
    ],
)
def test_place_of_ours(ids, hidden):
    """Something between ours and its source should not be there; without its source ours is never misplaced."""
    assert [version.id for version in between(_versions(*ids), "ours", "source")] == hidden


# What is sent.


def test_metadata_go_back_word_for_word():
    """What is unchanged is sent as it was shown; names go out exactly."""
    native = Native(headers={"content-type": "image/jpeg"}, raw={"place": "=?UTF-8?q?caf=C3=A9?="})
    state = _state(native=native, metadata={"place": "café"})

    assert headers_of(state, {"place": "café", "imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10"}) == {
        "content-type": "image/jpeg",
        "x-amz-meta-place": "=?UTF-8?q?caf=C3=A9?=",
        "x-amz-meta-imgtag_red+fox": "0.59",
        "x-amz-meta-imgtag_caf%c3%a9": "0.10",
    }


def test_headers_that_cannot_be_sent():
    """Bytes that are no UTF-8 cannot be signed: refused rather than changed."""
    state = _state(native=Native(headers={"content-disposition": "caf\udce9"}))
    with pytest.raises(WriteRefused) as refused:
        headers_of(state, {})

    assert refused.value.code == "metadata_encoding"


@pytest.mark.parametrize(
    ("key", "version", "value"),
    [("a b+c%.jpg", "", "/photos/a%20b%2Bc%25.jpg"), ("ü//x", "v=1", "/photos/%C3%BC//x?versionId=v%3D1")],
)
def test_copy_source(key, version, value):
    """Keys are escaped in it, slashes are not."""
    assert source("photos", key, version) == value


ACL = """<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>me</ID></Owner>
<AccessControlList><Grant><Grantee><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>{}
</AccessControlList></AccessControlPolicy>"""
OTHERS = """<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>
<Permission>READ</Permission></Grant><Grant><Grantee><ID>her</ID></Grantee><Permission>READ_ACP</Permission></Grant>"""


def test_acl():
    """Where the owner is alone nothing is sent; else every grant, the owner's too."""
    assert granted(xml.parse(ACL.format("").encode())) == {}
    assert granted(xml.parse(ACL.format(OTHERS).encode())) == {
        "x-amz-grant-full-control": 'id="me"',
        "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
        "x-amz-grant-read-acp": 'id="her"',
    }


# Tags.


def test_tags_share_ten_slots():
    """The user's stay, ours of before go, the surest labels take what is left."""
    state = _state(tags={**{f"user{n}": "x" for n in range(8)}, "imgtag_old": "0.90"})
    labels = {"imgtag_fox": "0.30", "imgtag_dog": "0.80", "imgtag_cat": "0.50", "imgtag-mark": "m"}

    assert tagged(state, labels).keys() - {f"user{n}" for n in range(8)} == {"imgtag_dog", "imgtag_cat"}


def test_tags_that_are_full():
    """Without a slot nothing is written."""
    with pytest.raises(WriteRefused) as refused:
        tagged(_state(tags={f"user{n}": "x" for n in range(10)}), {"imgtag_fox": "0.30"})

    assert refused.value.code == "tags_full"


def test_tags_that_no_server_takes():
    """A label with signs that tags must not have is left out."""
    assert tagged(_state(), {"imgtag_caf%c3%a9": "0.90", "imgtag_red+fox": "0.30"}) == {"imgtag_red+fox": "0.30"}


# Notifications, policy.


def test_notifications_are_added():
    """Whatever is in the configuration stays, also what we do not know; ours comes to it once."""
    root = xml.parse(b"<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>")
    before = notified(root, "arn:a")
    again = xml.parse(xml.render(added(root, "arn:a")))

    assert not before
    assert [each.tag for each in again] == ["EventBridgeConfiguration", "QueueConfiguration"]
    assert notified(again, "arn:a")
    assert not notified(again, "arn:b")


@pytest.mark.parametrize(
    "rest",
    [
        "<Event>s3:ObjectCreated:*</Event>",
        "<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event><Filter/>",
    ],
)
def test_partial_notification(rest):
    """A rule for some events, or for some keys, is not enough."""
    rule = f"<N><QueueConfiguration><Queue>a</Queue>{rest}</QueueConfiguration></N>"

    assert not notified(xml.parse(rule.encode()), "a")


def test_policy_grows_with_what_is_asked_for():
    """Locks and ACLs are permitted only where they are used, and MinIO's way to remove a version on MinIO only."""
    plain = json.dumps(json.loads(policy(["photos"], "imgtag-probe-")))
    whole = policy(["photos"], "imgtag-probe-", locks=True, minio=False)

    assert "Retention" in whole
    assert "GetObjectAcl" in whole
    assert "PutObjectRetention" not in plain
    assert "GetObjectAcl" not in plain
    assert '"s3:DeleteObject",' in json.dumps(json.loads(plain)["Statement"][2])
    assert '"s3:DeleteObject",' not in json.dumps(json.loads(whole)["Statement"][2])
