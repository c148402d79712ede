"""What is checked before and after a write, one check at a time: where one before it fails, nothing is written."""

from dataclasses import replace
from hashlib import sha256

import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef
from servers.tiny_s3 import TinyS3, TinyVersion

REF = ObjectRef("photos", "a.jpg")
LABELS = {"imgtag_red+fox": "0.59"}


@pytest.fixture
def call(tiny, open_store):
    """Calls a store whose bucket has one object."""
    call = open_store(tiny, if_match=True)
    tiny.put("photos", "a.jpg", b"bytes", {"x-amz-meta-by": "me"})
    return call


def _puts(tiny):
    return [method for method, path in tiny.sent if method == "PUT" and path == "/photos/a.jpg"]


def test_an_unchanged_object_is_written(call, tiny):
    """One request, with the labels and the user's metadata."""
    state = call("stat", REF)
    written = call("rewrite", Rewrite(state=state, metadata={**state.metadata, **LABELS}, body=b"bytes"))

    assert dict(written.metadata) == {"by": "me", **LABELS}
    assert _puts(tiny) == ["PUT"]


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"bytes", {"x-amz-meta-by": "her"}),
        (b"bytes", {"x-amz-meta-by": "me", "content-type": "image/png"}),
        (b"other", {"x-amz-meta-by": "me"}),
    ],
    ids=["metadata", "type", "bytes"],
)
def test_a_change_since_the_look_is_a_conflict(call, tiny, data, headers):
    """The object is looked at once more just before: If-Match alone would miss other metadata of the same bytes."""
    state = call("stat", REF)
    tiny.put("photos", "a.jpg", data, headers)
    with pytest.raises(Conflict, match=r"photos/a\.jpg changed while it was being processed"):
        call("rewrite", Rewrite(state=state, metadata=LABELS, body=b"bytes"))

    assert _puts(tiny) == []
    assert tiny.buckets["photos"]["a.jpg"].data == data


@pytest.mark.parametrize("body", [b"byte", b"bytes!", b"bytez"], ids=["shorter", "longer", "other"])
def test_other_bytes_are_never_sent(call, tiny, body):
    """The caller's bytes must have the length and MD5 of the object."""
    with pytest.raises(WriteRefused) as refused:
        call("rewrite", Rewrite(state=call("stat", REF), metadata=LABELS, body=body))

    assert (refused.value.code, _puts(tiny)) == ("checksum", [])


@pytest.mark.parametrize("strategy", ["auto", "put", "copy", "tags"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-object-lock-legal-hold": "ON"}, "legal_hold"),
        ({"x-amz-server-side-encryption-customer-algorithm": "AES256"}, "customer_key"),
    ],
)
def test_a_protected_object_is_not_written(call, tiny, headers, code, strategy):
    """The lock, or that it cannot be read, is the code, whatever the strategy."""
    tiny.put("photos", "a.jpg", b"bytes", headers)
    state = call("stat", REF)
    with pytest.raises(WriteRefused) as refused:
        call("rewrite", Rewrite(state=state, metadata=LABELS, body=b"bytes", strategy=strategy))

    assert (refused.value.code, _puts(tiny)) == (code, [])
    assert refused.value.message == f"it may not be written ({code})"


def test_a_change_right_after_the_write_is_a_conflict(call, tiny):
    """What is returned is the object as it then is, so another upload in between starts over."""
    state = call("stat", REF)

    def overwrite(method, key, query):
        if method == "HEAD" and key and ("PUT", "/photos/a.jpg") in tiny.sent:
            tiny.put("photos", "a.jpg", b"newer")

    tiny.before = overwrite
    with pytest.raises(Conflict):
        call("rewrite", Rewrite(state=state, metadata=LABELS, body=b"bytes"))

    assert tiny.buckets["photos"]["a.jpg"].data == b"newer"


LOCKING = "<ObjectLockConfiguration><Rule><DefaultRetention/></Rule></ObjectLockConfiguration>"
ENCRYPTING = "<ServerSideEncryptionConfiguration><Rule/></ServerSideEncryptionConfiguration>"
HELD = {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": "2999-01-01T00:00:00Z"}


def _change(call, **fields):
    """What the sidecar writes on the object as it is now."""
    state = call("stat", REF)
    return Rewrite(**{"state": state, "metadata": {**state.metadata, **LABELS}, "body": b"bytes", **fields})


REASONS = {
    "tags_unknown": "its tags may not be read, so they could be lost",
    "retention": "the bucket would put it under a retention that it does not have",
    "encryption": "the bucket would encrypt it, and it is not encrypted",
    "version_lost": "a write would replace an older version of it: the bucket no longer makes versions",
}


def _code(call, change):
    """The code of the refusal, which says its reason; None where it is written."""
    refusals = []
    try:
        call("rewrite", change)
    except WriteRefused as refused:
        refusals.append(refused)
    assert all(REASONS.get(refused.code, refused.message) == refused.message for refused in refusals)
    return refusals[0].code if refusals else None


@pytest.mark.parametrize("setting", ["object-lock", "encryption", "versioning"])
def test_a_bucket_whose_defaults_may_not_be_read_is_not_written(call, tiny, setting):
    """A write could put the object under a lock, encrypt it, or replace a version."""
    tiny.denied = {("GET", setting)}

    assert _code(call, _change(call)) == f"{setting.replace('-', '_')}_unknown"
    assert _puts(tiny) == []


@pytest.mark.parametrize(
    ("setting", "document", "headers", "code"),
    [
        ("object-lock", LOCKING, {}, "retention"),
        ("encryption", ENCRYPTING, {}, "encryption"),
        ("encryption", ENCRYPTING, {"x-amz-server-side-encryption": "AES256"}, None),
        ("object-lock", "<ObjectLockConfiguration/>", {}, None),
        ("encryption", "<ServerSideEncryptionConfiguration/>", {}, None),
    ],
)
def test_what_a_bucket_adds_to_what_is_written(call, tiny, setting, document, headers, code):
    """Refused unless the object has it already."""
    tiny.configurations = {setting: document}
    tiny.put("photos", "a.jpg", b"bytes", headers)

    assert _code(call, _change(call)) == code


def test_a_lock_that_the_object_has_already_is_repeated(tiny, open_store):
    """Where writing under a retention is asked for."""
    call = open_store(tiny, if_match=True, write_on=["retention"])
    tiny.configurations = {"object-lock": LOCKING}
    tiny.put("photos", "a.jpg", b"bytes", HELD)

    assert _code(call, _change(call)) is None
    assert HELD.items() <= tiny.buckets["photos"]["a.jpg"].headers.items()


def test_tags_are_repeated(call, tiny):
    """In the request that writes."""
    tiny.put("photos", "a.jpg", b"bytes")
    tiny.buckets["photos"]["a.jpg"].tags = {"project": "a b"}

    assert dict(call("rewrite", _change(call)).tags) == {"project": "a b"}
    assert tiny.buckets["photos"]["a.jpg"].tags == {"project": "a b"}


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ((403, "AccessDenied"), "tags_unknown"),
        ((405, "MethodNotAllowed"), None),
        ((501, "NotImplemented"), None),
        ((400, "InvalidArgument"), "store_refused"),
    ],
)
def test_tags_that_cannot_be_read(call, tiny, refusal, expected):
    """Refused where there may be some, written where the server has none at all."""
    tiny.refusals = {("GET", "tagging"): refusal}

    assert _code(call, _change(call)) == expected
    assert len(_puts(tiny)) == (expected is None)


def test_a_server_in_trouble_is_waited_for(call, tiny):
    """Before anything is written."""
    tiny.refusals = {("GET", "tagging"): (503, "SlowDown")}
    with pytest.raises(Unavailable):
        call("rewrite", _change(call))

    assert _puts(tiny) == []


def test_an_object_that_is_gone_when_its_tags_are_read(call, tiny):
    """Changed as well."""
    tiny.refusals = {("GET", "tagging"): (404, "NoSuchKey")}
    with pytest.raises(Conflict, match=r"photos/a\.jpg changed"):
        call("rewrite", _change(call))


def test_an_object_that_was_deleted_since_the_look_is_a_conflict(call, tiny):
    """It stays deleted."""
    change = _change(call)
    del tiny.buckets["photos"]["a.jpg"]
    with pytest.raises(Conflict):
        call("rewrite", change)

    assert _puts(tiny) == []


def test_tags_that_were_set_since_the_look_are_a_conflict(call, tiny):
    """A HEAD need not count them."""
    change = _change(call)
    tiny.buckets["photos"]["a.jpg"].tags = {"mine": "1"}
    with pytest.raises(Conflict):
        call("rewrite", change)

    assert _puts(tiny) == []


def test_bytes_that_nobody_has_read_are_read_for_the_write(call, tiny):
    """And sent again as they are."""
    assert _code(call, _change(call, body=None)) is None
    assert tiny.buckets["photos"]["a.jpg"].data == b"bytes"
    assert _puts(tiny) == ["PUT"]


# Objects that were uploaded in parts


PARTS = [b"first", b"second", b"3"]
SUMS = {"x-amz-checksum-sha256": "c3Vt"}


def _requests(tiny, method):
    return [sent for sent, path in tiny.sent if sent == method and path == "/photos/a.jpg"]


@pytest.mark.parametrize("body", [b"".join(PARTS), None], ids=["read", "unread"])
@pytest.mark.parametrize(
    ("strategy", "sums", "is_read"), [("put", {}, True), ("put", SUMS, True), ("copy", {}, False), ("copy", SUMS, True)]
)
def test_parts_are_sent_as_they_came(call, tiny, strategy, sums, is_read, body):
    """The same parts with the same checksums; by a copy within the server only where they have none.

    Bytes that nobody has read are read part by part.
    """
    tiny.put_parts("photos", "a.jpg", PARTS, sums)
    etag = tiny.buckets["photos"]["a.jpg"].etag
    change = _change(call, strategy=strategy, body=body)
    tiny.sent.clear()
    written = call("rewrite", change)

    assert (dict(written.metadata), f'"{written.etag}"') == (LABELS, etag)
    assert [(part, dict(sums)) for part in PARTS] == [
        (part, dict(found)) for part, found in tiny.buckets["photos"]["a.jpg"].parts
    ]
    # One request each for ACL and tags.
    assert len(_requests(tiny, "GET")) - 2 == (3 if is_read and body is None else 0)
    assert (len(_requests(tiny, "PUT")), len(_requests(tiny, "POST")), tiny.uploads) == (3, 2, {})


@pytest.mark.parametrize("body", [b"firstsecond", b"firstsecond33", b"firstsecondX"])
def test_parts_of_other_bytes_are_never_completed(call, tiny, body):
    """They would have another length, or another ETag; no upload is left behind."""
    tiny.put_parts("photos", "a.jpg", PARTS, {})

    assert _code(call, _change(call, strategy="put", body=body)) == "checksum"
    assert tiny.buckets["photos"]["a.jpg"].data == b"".join(PARTS)
    assert tiny.uploads == {}


def test_a_lost_answer_to_the_end_of_an_upload(call, tiny):
    """The look afterwards tells that it was done."""
    tiny.put_parts("photos", "a.jpg", PARTS, {})
    change = _change(call, body=b"".join(PARTS))

    def lose(method, key, query):
        raise Lost

    tiny.after = lose

    assert dict(call("rewrite", change).metadata) == LABELS


# The answer to the write


class Lost(ConnectionError):
    """The connection is cut."""


def _cut(tiny, when):
    """Lose the answer to the first PUT: ``before`` or ``after`` it is carried out."""
    cut = []

    def lose(method, key, query):
        if method == "PUT" and key and not cut:
            cut.append(method)
            raise Lost

    setattr(tiny, when, lose)


def test_a_lost_answer_to_a_write_that_was_done(call, tiny):
    """The look afterwards tells; nothing is written twice."""
    _cut(tiny, "after")

    assert dict(call("rewrite", _change(call)).metadata) == {"by": "me", **LABELS}
    assert _puts(tiny) == ["PUT"]


def test_a_lost_answer_to_a_write_that_was_not_done(call, tiny):
    """It is to be tried again."""
    _cut(tiny, "before")
    with pytest.raises(Unavailable):
        call("rewrite", _change(call))

    assert tiny.buckets["photos"]["a.jpg"].headers["x-amz-meta-by"] == "me"
    assert len(tiny.buckets["photos"]["a.jpg"].headers) == 2


def test_a_lost_answer_to_a_write_that_would_change_nothing(call, tiny):
    """That the object is as it was does not tell that it was written: it is tried again."""
    _cut(tiny, "before")
    with pytest.raises(Unavailable):
        call("rewrite", _change(call, metadata={"by": "me"}))


def test_a_lost_answer_and_a_deletion(call, tiny):
    """Then nothing says that the write was done."""
    change = _change(call)

    def delete(method, key, query):
        tiny.buckets["photos"].clear()
        raise Lost

    tiny.after = delete
    with pytest.raises(Unavailable):
        call("rewrite", change)


@pytest.mark.parametrize(
    ("refusal", "error", "code"),
    [
        ((403, "AccessDenied"), WriteRefused, "permission"),
        ((412, "PreconditionFailed"), Conflict, "conflict"),
        ((404, "NoSuchKey"), Conflict, "conflict"),
        ((404, "NoSuchBucket"), BucketAbsent, "bucket_absent"),
        ((501, "NotImplemented"), WriteRefused, "unsupported"),
        ((429, "TooManyRequests"), Unavailable, "unavailable"),
    ],
)
def test_a_write_that_is_refused_is_not_looked_at(call, tiny, refusal, error, code):
    """The server says that it did not write, whatever the object looks like now."""
    change = _change(call)
    tiny.refusals = {("PUT", ""): refusal}
    tiny.sent.clear()
    with pytest.raises(error) as raised:
        call("rewrite", change)

    assert raised.value.code == code
    assert error is not Conflict or str(raised.value).startswith("photos/a.jpg changed")
    assert [method for method, _ in tiny.sent].index("PUT") == len(tiny.sent) - 1


@pytest.mark.parametrize("status", [500, 504])
@pytest.mark.parametrize("is_done", [True, False])
def test_a_write_that_fails_within_the_server_is_looked_at(call, tiny, is_done, status):
    """A gateway gives up before the server behind it does: the object tells."""
    change = _change(call)

    def fail(method, key, query):
        if method == "PUT" and key:
            if is_done:
                headers = {"x-amz-meta-by": "me", "x-amz-meta-imgtag_red+fox": "0.59"}
                tiny.put("photos", "a.jpg", b"bytes", headers)
            tiny.refusals = {("PUT", ""): (status, "InternalError")}

    tiny.before = fail
    if is_done:
        assert dict(call("rewrite", change).metadata) == {"by": "me", **LABELS}
    else:
        with pytest.raises(Unavailable):
            call("rewrite", change)
    assert _puts(tiny) == ["PUT"]


@pytest.mark.parametrize("headers", [None, {"x-amz-meta-by": "me"}, {"x-amz-meta-imgtag_red+fox": "0.59"}])
def test_what_is_there_after_the_write_is_what_was_written(call, tiny, headers):
    """Deleted, or overwritten with other metadata: a conflict, and it stays as it is."""
    change = _change(call)

    def meddle(method, key, query):
        tiny.buckets["photos"].clear()
        if headers is not None:
            tiny.put("photos", "a.jpg", b"bytes", headers)

    tiny.after = meddle
    with pytest.raises(Conflict):
        call("rewrite", change)

    assert len(tiny.buckets["photos"]) == (headers is not None)


def test_entries_that_a_server_adds_are_no_conflict(call, tiny):
    """What was written has to be there, and more may be."""
    change = _change(call)

    def add(method, key, query):
        tiny.put("photos", "a.jpg", b"bytes", {**tiny.buckets["photos"]["a.jpg"].headers, "x-amz-meta-more": "1"})

    tiny.after = add

    assert dict(call("rewrite", change).metadata) == {"by": "me", **LABELS, "more": "1"}


# Versions


@pytest.fixture
def versioned(call, tiny):
    """The object has the version `old`, and each write makes another one."""
    tiny.configurations = {"versioning": "<V><Status>Enabled</Status></V>"}
    tiny.put("photos", "a.jpg", b"bytes", {"x-amz-version-id": "old"})
    tiny.new_version = "new"
    return tiny


def _lists(tiny, *others):
    """From the write on, the new version is listed above these."""

    def list_versions(method, key, query):
        tiny.versions = [TinyVersion(key="a.jpg", id=name) for name in ("new", *others)]

    tiny.after = list_versions


@pytest.mark.parametrize("strategy", ["put", "copy"])
def test_a_version_that_lies_on_its_source_stays(call, versioned, strategy):
    """It is what is there from then on."""
    _lists(versioned, "old", "older")
    written = call("rewrite", _change(call, strategy=strategy))

    assert dict(written.metadata) == LABELS
    assert written.version == "new"
    assert [version.id for version in versioned.versions] == ["new", "old", "older"]


def test_a_version_that_hides_a_newer_one_is_withdrawn(call, versioned):
    """And the newer one is looked at."""
    _lists(versioned, "newer", "old")
    with pytest.raises(Conflict, match=r"a newer version of photos/a\.jpg arrived during the write"):
        call("rewrite", _change(call, strategy="copy"))

    assert [version.id for version in versioned.versions] == ["newer", "old"]


def test_a_version_of_an_object_from_before_there_were_any(call, versioned):
    """Its source has the id `null`."""
    versioned.put("photos", "a.jpg", b"bytes")
    _lists(versioned, "newer", "null")
    with pytest.raises(Conflict):
        call("rewrite", _change(call, strategy="copy"))

    assert [version.id for version in versioned.versions] == ["newer", "null"]


def test_another_version_right_after_the_write_is_a_conflict(call, versioned):
    """Whatever its metadata say: other bytes may have come with them."""
    change = _change(call, strategy="copy")

    def overwrite(method, key, query):
        written = versioned.buckets["photos"]["a.jpg"]
        versioned.put("photos", "a.jpg", b"other", {**written.headers, "x-amz-version-id": "newer"})

    versioned.after = overwrite
    with pytest.raises(Conflict, match=r"photos/a\.jpg changed right after the write"):
        call("rewrite", change)


def test_an_older_version_without_an_id_is_not_replaced(call, versioned):
    """Where versioning is suspended a write would take its place."""
    versioned.configurations = {"versioning": "<V><Status>Suspended</Status></V>"}
    versioned.versions = [TinyVersion(key="a.jpg", id="old"), TinyVersion(key="a.jpg", id="null")]

    assert _code(call, _change(call)) == "version_lost"
    assert _puts(versioned) == []


def test_a_bucket_that_makes_versions_is_written_by_a_copy(call, versioned):
    """Unless another strategy is asked for: within the server, and without the bytes."""
    versioned.denied = {("PUT", "versioning")}  # no bucket of its own shows what a copy does
    _lists(versioned, "old")
    change = _change(call, body=None)
    versioned.sent.clear()
    call("rewrite", change)

    # One request each for ACL and tags.
    assert _requests(versioned, "GET") == ["GET"] * 2


def test_a_write_that_makes_the_version_without_an_id(call, versioned):
    """Where versioning is suspended; `null` is no version."""
    versioned.configurations = {"versioning": "<V><Status>Suspended</Status></V>"}
    versioned.new_version = "null"

    assert call("rewrite", _change(call)).version is None


@pytest.mark.parametrize(("version", "reads"), [(None, 1), ("old", 2)])
def test_what_a_bucket_does_with_versions_is_asked_for(call, tiny, version, reads):
    """Before every write on a version; that there are none is remembered for a while."""
    asked = []
    tiny.before = lambda method, key, query: asked.append(method) if "versioning" in query and not key else None
    for _ in range(2):
        tiny.put("photos", "a.jpg", b"bytes", {"x-amz-version-id": version} if version else {})
        call("rewrite", _change(call, strategy="copy"))

    assert asked == ["GET"] * reads


def test_tags_are_those_of_the_version_that_is_written(call, versioned):
    """Another one may have come in between, with its own."""
    asked = []
    versioned.before = lambda method, key, query: asked.append(query.get("versionId")) if "tagging" in query else None
    _lists(versioned, "old")
    call("rewrite", _change(call, strategy="copy"))

    assert asked == ["old"]


def test_the_version_is_known_after_a_lost_answer(call, versioned):
    """From the look at the object; where it hides another one it is withdrawn as well."""
    change = _change(call, strategy="copy")

    def lose(method, key, query):
        versioned.versions = [TinyVersion(key="a.jpg", id=name) for name in ("new", "newer", "old")]
        raise Lost

    versioned.after = lose
    with pytest.raises(Conflict):
        call("rewrite", change)

    assert [version.id for version in versioned.versions] == ["newer", "old"]


# Labels as tags


TAGS = {"strategy": "tags", "labels": {"imgtag_red+fox": "0.59"}, "label_prefix": "imgtag_"}


def test_labels_as_tags_leave_the_object_alone(call, tiny):
    """One request, which replaces its tags; those of the user stay."""
    tiny.buckets["photos"]["a.jpg"].tags = {"mine": "1", "imgtag_old": "0.30"}
    written = call("rewrite", _change(call, **TAGS))

    assert dict(written.tags) == {"mine": "1", "imgtag_red+fox": "0.59"}
    assert dict(written.metadata) == {"by": "me"}
    assert _puts(tiny) == ["PUT"]


def test_labels_as_tags_are_not_written_over_tags_that_were_set_since(call, tiny):
    """As with metadata."""
    change = _change(call, **TAGS)
    tiny.buckets["photos"]["a.jpg"].tags = {"mine": "1"}
    with pytest.raises(Conflict):
        call("rewrite", change)

    assert tiny.buckets["photos"]["a.jpg"].tags == {"mine": "1"}


def test_an_object_that_is_gone_after_its_tags_were_written(call, tiny):
    """Is a conflict, so that its deletion is seen."""
    change = _change(call, **TAGS)
    tiny.after = lambda *_: tiny.buckets["photos"].clear()
    with pytest.raises(Conflict, match=r"photos/a\.jpg was deleted right after the write"):
        call("rewrite", change)


@pytest.fixture
def minio(open_store):
    """A server like MinIO, which counts tags and verifies digests, and calls of a store on it."""
    server = TinyS3(server="MinIO")
    call = open_store(server, if_match=True)
    server.put("photos", "a.jpg", b"bytes")
    return server, call


def _label(call, key="a.jpg", body=b"bytes", digest=None):
    ref = ObjectRef("photos", key)
    state, data = call("look", ref, 1_000)
    metadata = {**state.metadata, **LABELS}
    return call("rewrite", Rewrite(state=state, metadata=metadata, body=body or data, digest=digest))


def test_three_requests_are_enough(minio):
    """Headers and bytes in one, one more look, the write: once the first writes were found as their responses said."""
    server, call = minio
    written, sent = [], []
    for number in range(5):
        server.put("photos", f"{number}.jpg", b"bytes")
    for number in range(5):
        server.sent.clear()
        written.append(_label(call, f"{number}.jpg"))
        sent.append([method for method, _ in server.sent])

    assert sent[-1] == ["GET", "HEAD", "PUT"]
    assert [state.is_assumed for state in written] == [False, False, False, True, True]
    assert [state.is_assumed for state in written] == [request[-1] == "PUT" for request in sent]
    for state in written:
        assert replace(call("stat", state.ref), native=None) == replace(state, native=None)


def test_a_server_whose_clock_jumps_is_looked_at(minio):
    """Then the time of a write is not known from its response, and nothing is concluded from it."""
    server, call = minio
    moments = iter(range(1_000))
    server.clock = lambda: 1_700_000_000 + next(moments)
    for _ in range(5):
        server.put("photos", "a.jpg", b"bytes")
        assert not _label(call).is_assumed


def test_a_date_that_may_be_a_proxys_tells_nothing(open_store):
    """nginx replaces `Date` and `Server`; its clock is not that of `Last-Modified`."""
    server = TinyS3(server="nginx")
    call = open_store(server, if_match=True)
    for _ in range(5):
        server.put("photos", "a.jpg", b"bytes")
        assert not _label(call).is_assumed


def test_the_time_of_a_version_is_that_of_the_object(minio):
    """Also where the clock goes on to the next second between the write and its response."""
    server, call = minio
    now = [1_700_000_000.0]
    server.clock = lambda: now[0]
    server.configurations = {"versioning": "<V><Status>Enabled</Status></V>"}
    server.new_version = "new"
    for seconds in (0, 0, 0, 0, 1):
        server.put("photos", "a.jpg", b"bytes", {"x-amz-version-id": "old"})

        def go_on(method, key, query, seconds=seconds):
            server.versions = [TinyVersion(key="a.jpg", id=name) for name in ("new", "old")]
            now[0] += seconds

        server.after = go_on
        written = _label(call)
        assert written.is_assumed == (now[0] == 1_700_000_000 and len(_puts(server)) > 3)
        assert written.modified == call("stat", REF).modified


def test_tags_that_come_after_the_read_are_seen(minio):
    """A HEAD counts them for a user who may read them, which is known from the tags that were read before."""
    server, call = minio
    state, _ = call("look", REF, 1_000)
    server.buckets["photos"]["a.jpg"].tags = {"mine": "1"}
    with pytest.raises(Conflict):
        call("rewrite", Rewrite(state=state, metadata=LABELS, body=b"bytes"))
    server.buckets["photos"]["a.jpg"].tags = {}
    server.sent.clear()
    _label(call)
    tagged = [method for method, path in server.sent].count("GET")
    server.denied = {("GET", "tagging")}
    _label(call)

    assert tagged == 1


def test_a_right_that_was_taken_away_is_asked_for_again(minio):
    """Then the tags are unknown, so that nothing is written."""
    server, call = minio
    server.denied = {("GET", "tagging")}
    with pytest.raises(WriteRefused) as refused:
        _label(call)

    assert refused.value.code == "tags_unknown"


@pytest.mark.parametrize("digest", [sha256(b"bytes").digest(), None], ids=["known", "unknown"])
def test_the_server_verifies_the_bytes(minio, digest):
    """MinIO compares them with the ETag, so they are not digested here; what was refused is not there."""
    server, call = minio
    _label(call, digest=digest)
    with pytest.raises(WriteRefused) as refused:
        _label(call, body=b"bytez")

    assert refused.value.code == "checksum"
    assert server.buckets["photos"]["a.jpg"].data == b"bytes"


@pytest.mark.parametrize("verifies", [True, False])
@pytest.mark.parametrize("versions", [True, False])
def test_a_wrong_digest_is_never_written(minio, verifies, versions):
    """The server refuses it, or it is found here: where the server does not verify, or is sent no bytes."""
    server, call = minio
    server.verifies_digest = verifies
    if versions:
        server.configurations = {"versioning": "<V><Status>Enabled</Status></V>"}
        server.denied = {("PUT", "versioning")}  # so that a copy is taken to make a version
        server.put("photos", "a.jpg", b"bytes", {"x-amz-version-id": "old"})
    server.sent.clear()
    with pytest.raises(WriteRefused) as refused:
        _label(call, digest=sha256(b"others").digest())

    assert refused.value.code == "checksum"
    assert len(_puts(server)) == (verifies and not versions)
    assert server.buckets["photos"]["a.jpg"].headers.keys().isdisjoint({"x-amz-meta-imgtag_red+fox"})


@pytest.mark.parametrize(("read_ahead", "sent"), [(0, ["HEAD", "GET"]), (4, ["GET", "GET"]), (5, ["GET"])])
def test_bytes_come_with_the_headers_where_there_is_memory(minio, read_ahead, sent):
    """In one request; the bytes of a larger object are asked for once there is memory for them."""
    server, call = minio
    state, data = call("look", REF, read_ahead)

    assert data == b"bytes"
    assert [method for method, path in server.sent if path == "/photos/a.jpg"] == sent
    assert state == call("stat", REF)
    assert call("look", ObjectRef("photos", "gone.jpg"), read_ahead) == (None, None)


def test_an_object_that_comes_in_chunks_is_looked_at_first(minio):
    """Without its length nobody knows whether there is memory for it."""
    server, call = minio
    server.chunked = True
    state, data = call("look", REF, 1_000)

    assert (state.size, data) == (5, b"bytes")
    assert [method for method, path in server.sent if path == "/photos/a.jpg"] == ["GET", "HEAD", "GET"]


def test_an_object_that_may_not_be_read_shows_its_headers(minio):
    """As an archived one: a GET is refused, and a HEAD is not."""
    server, call = minio
    server.refusals = {("GET", ""): (403, "InvalidObjectState")}
    with pytest.raises(Unreadable) as refused:
        call("look", REF, 1_000)

    assert refused.value.code == "archived"
    assert [method for method, path in server.sent if path == "/photos/a.jpg"] == ["GET", "HEAD", "GET"]
