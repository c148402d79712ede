"""Versions of a key: how they are listed, and which of ours are withdrawn."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from imgtag.errors import BucketAbsent, Unavailable
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import SPEC, versions
from imgtag_s3.errors import S3Error
from imgtag_s3.versions import Version, Versions
from servers.s3_client import S3Client
from servers.tiny_s3 import TinyVersion

REF = ObjectRef("photos", "a b+c.jpg")
AT = 1_700_000_000
"""When the mark was made."""
MADE_OF_OLD = Mark(
    model="m@1", rules="r", content="c", etag="e", etag_after="e", owner=owner_digest("home", REF), at=AT, version="old"
)
OLD = TinyVersion(key=REF.key, id="old")
NEWER = TinyVersion(key=REF.key, id="newer", etag='"f"')
DELETED = TinyVersion(key=REF.key, id="deleted", deleted=True)


def ours(mark: Mark = MADE_OF_OLD, modified: float = AT, **fields: object) -> ObjectState:
    """The object as a look shows it, where our version is the latest one."""
    known = {"ref": REF, "etag": "e", "size": 1, "modified": modified, "version": "ours"}
    return ObjectState(**{**known, "metadata": {MARK: mark.encode()}, **fields})


def version(state: ObjectState) -> TinyVersion:
    headers = {f"x-amz-meta-{name}": value for name, value in state.metadata.items()}
    return TinyVersion(key=REF.key, id="ours", latest=True, headers=headers)


OURS = version(ours())


@pytest.fixture
def server(tiny):
    with tiny:
        tiny.buckets["photos"] = {}
        yield tiny


@pytest.fixture
def make(server):
    """What another process would know of these versions."""
    with closing(S3Client(SPEC.settings(**server.settings))) as client:
        yield lambda: client.blocking(Versions, "home")


def _left(server):
    return [version.id for version in server.versions]


def test_versions_are_listed_as_they_are(server, make):
    """Newest first, of this key alone; a delete marker is one, and a version without an id has the id `null`."""
    server.versions = [
        replace(DELETED, latest=True, modified="2024-07-01T20:24:08.500Z"),
        replace(NEWER, id=""),
        OLD,
        replace(OLD, key=f"{REF.key}x"),
    ]

    assert make().list_versions(REF) == [
        Version(id="deleted", latest=True, modified=1719865448.5, deleted=True),
        Version(id="null", latest=False, modified=1719865446.0, etag="f"),
        Version(id="old", latest=False, modified=1719865446.0, etag="e"),
    ]


@pytest.mark.parametrize(("count", "pages"), [(99, 1), (100, 1), (101, 2), (250, 3)])
def test_a_long_history_is_read_page_by_page(server, make, count, pages):
    """To its end, and no further."""
    server.versions = [replace(OLD, id=f"{number}") for number in range(count)]

    assert [version.id for version in make().list_versions(REF)] == _left(server)
    assert server.sent == [("GET", "/photos/")] * pages


def test_longer_keys_end_a_listing(server, make):
    """However many of them come after this one: they are no more than its first page shows."""
    server.versions = [OLD, *(replace(OLD, key=f"{REF.key}{number:03}") for number in range(300))]

    assert [version.id for version in make().list_versions(REF)] == ["old"]
    assert server.sent == [("GET", "/photos/")]


@pytest.mark.parametrize(
    ("state", "history", "is_withdrawn"),
    [
        (ours(), [OURS, NEWER, OLD], True),
        (ours(), [OURS, DELETED, OLD], True),
        (ours(), [OURS, NEWER, DELETED, OLD], True),
        (ours(), [OURS, OLD], False),
        (ours(), [OURS, OLD, NEWER], False),
        (ours(), [OURS, NEWER], False),
        (ours(version=None), [OURS, NEWER, OLD], False),
        (ours(metadata={}), [OURS, NEWER, OLD], False),
        (ours(metadata={MARK: "1"}), [OURS, NEWER, OLD], False),
        (ours(etag="x"), [OURS, NEWER, OLD], False),
        (ours(), [OURS, NEWER, replace(OLD, etag='"x"')], False),
        (ours(), [OURS, NEWER, replace(OURS, id="copied"), OLD], False),
        (ours(), [OURS, replace(OURS, id="copied"), NEWER, OLD], True),
        (ours(replace(MADE_OF_OLD, version=None)), [OURS, NEWER, replace(OLD, id="")], True),
        (ours(replace(MADE_OF_OLD, owner=owner_digest("elsewhere", REF))), [OURS, NEWER, OLD], False),
        (ours(replace(MADE_OF_OLD, owner=owner_digest("home", ObjectRef("b", "k")))), [OURS, NEWER, OLD], False),
    ],
    ids=[
        "above a newer upload",
        "above a delete marker",
        "above both",
        "in its place",
        "in its place, above older ones",
        "the only copy",
        "no versions",
        "no mark",
        "not a mark",
        "other bytes than its source",
        "other bytes of its source",
        "a copy of ours, which is in its place",
        "above a copy that is misplaced too",
        "made of the version without an id",
        "the mark of another site",
        "the mark of another object",
    ],
)
def test_what_is_withdrawn_is_a_misplaced_version_of_ours(server, make, state, history, is_withdrawn):
    """It alone, by its id; everything else stays."""
    server.versions = list(history)

    assert make().withdraw_misplaced(state) is is_withdrawn
    assert _left(server) == [version.id or "" for version in history][is_withdrawn:]


@pytest.mark.parametrize(
    ("late", "is_withdrawn"), [(-61, False), (-60, False), (-59, True), (0, True), (599, True), (600, False)]
)
def test_a_mark_of_another_time_is_not_that_of_a_write(server, make, late, is_withdrawn):
    """A user's copy of ours comes later; clocks may differ by a minute, and a write takes up to ten."""
    server.versions = [OURS, NEWER, OLD]

    assert make().withdraw_misplaced(ours(modified=AT + late)) is is_withdrawn


def test_a_write_of_this_process_is_known_without_a_mark(server, make):
    """Until a restart, and whatever its metadata say: here tags alone were written."""
    known, state = make(), ours(metadata={})
    server.versions = [OURS, OLD]
    assert not known.withdraw_if_hiding(REF, "ours", "old")
    server.versions = [OURS, NEWER, OLD]

    assert not make().withdraw_misplaced(state)
    assert known.withdraw_misplaced(state)
    assert _left(server) == ["newer", "old"]


@pytest.mark.parametrize(
    ("history", "is_withdrawn"),
    [([OURS, OLD], False), ([OURS, NEWER, OLD], True), ([NEWER, OURS, OLD], False), ([OURS, NEWER], False)],
)
def test_right_after_a_write_ours_goes_where_it_hides_another(server, make, history, is_withdrawn):
    """And stays where it is the only copy."""
    server.versions = list(history)

    assert make().withdraw_if_hiding(REF, "ours", "old") is is_withdrawn
    assert ("ours" not in _left(server)) is is_withdrawn
    assert set(_left(server)) | {"ours"} == {version.id for version in history}


def test_only_the_latest_writes_are_known(server, make, monkeypatch):
    """Memory is bounded: the write longest ago is forgotten, and then its mark alone tells."""
    monkeypatch.setattr(versions, "_MAX_REMEMBERED", 2)
    known = make()
    for number in range(3):
        server.versions = [replace(OURS, id=f"{number}"), OLD]
        known.withdraw_if_hiding(REF, f"{number}", "old")
    withdrawn = []
    for number in range(3):
        server.versions = [replace(OURS, id=f"{number}"), NEWER, OLD]
        withdrawn.append(known.withdraw_misplaced(ours(version=f"{number}", metadata={})))

    assert withdrawn == [False, True, True]


@pytest.mark.parametrize("denied", [("GET", "versions"), ("DELETE", "versionId"), ("HEAD", "versionId")])
def test_what_may_not_be_withdrawn_stays(server, make, denied):
    """Without the permission, or under a lock, a look goes on with what is shown."""
    server.versions = [OURS, NEWER, OLD]
    server.denied = {denied}

    assert not make().withdraw_misplaced(ours())
    assert _left(server) == ["ours", "newer", "old"]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "InvalidRequest", False),
        (404, "NoSuchBucket", BucketAbsent),
        (501, "NotImplemented", Unavailable),
        (503, "SlowDown", Unavailable),
    ],
)
def test_a_refused_listing(server, make, status, code, expected):
    """A server in trouble is waited for; one that says that the request is wrong shows what it shows."""
    server.refusals = {("GET", "versions"): (status, code)}
    if expected is False:
        assert not make().withdraw_misplaced(ours())
        return
    with pytest.raises(expected):
        make().withdraw_misplaced(ours())
    with pytest.raises(S3Error):
        make().withdraw_if_hiding(REF, "ours", "old")
