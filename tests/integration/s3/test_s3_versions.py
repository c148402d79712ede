"""Our version lies directly on its source, or goes; what a user made of it never goes: on a real MinIO.

The wrong order that a race leaves is made here by copying the older version onto the newer one.
"""

import pytest

from imgtag.types.metadata import MARK
from imgtag_s3.client import copy_source
from integration.s3.portal import LABELS, PortalStore, mark

OLD, NEW = b"\xff\xd8\xff old", b"\xff\xd8\xff new"


@pytest.fixture
def bucket(make_bucket):
    return make_bucket("Enabled")


@pytest.fixture
def late(bucket, store):
    """A write of ours, made of OLD, that comes to lie on whatever is there now."""
    bucket.put("a.jpg", OLD)
    state = store.stat(bucket, "a.jpg")
    entries = {**LABELS, MARK: mark(state, OLD)}

    def write():
        headers = {f"x-amz-meta-{name}": value for name, value in entries.items()}
        copied = {"x-amz-copy-source": copy_source(bucket.name, "a.jpg", state.version)}
        bucket.put_with("a.jpg", b"", {**headers, **copied, "x-amz-metadata-directive": "REPLACE"})

    write.source = state.version
    return write


def _copy_up(bucket, version, headers=None):
    """As a console does it that restores an older version, or edits its metadata."""
    directive = {"x-amz-metadata-directive": "REPLACE", **headers} if headers else {}
    copied = {"x-amz-copy-source": copy_source(bucket.name, "a.jpg", version)}
    bucket.put_with("a.jpg", b"", {**copied, **directive})


def test_newer_upload_comes_to_light(store, bucket, late, portal, connect):
    """Ours above a newer upload goes at the next look, but not for who may only look."""
    bucket.put("a.jpg", NEW)
    late()

    with portal.wrap_async_context_manager(connect(read_only=True)) as looking:
        assert MARK in PortalStore(portal, looking).stat(bucket, "a.jpg").metadata
    assert store.stat(bucket, "a.jpg").metadata == {}
    assert bucket.get("a.jpg") == NEW


def test_deleted_object_stays_deleted(store, bucket, late):
    """Ours above a delete marker goes at the next look."""
    bucket.delete("a.jpg")
    late()

    assert store.stat(bucket, "a.jpg") is None
    assert not bucket.exists("a.jpg")


def test_two_of_ours(store, bucket, late):
    """Two sidecars can have left one each: both go."""
    bucket.put("a.jpg", NEW)
    late()
    bucket.put("a.jpg", NEW + b"er")
    late()
    store.stat(bucket, "a.jpg")

    assert bucket.get("a.jpg") != OLD


def test_an_upload_under_our_mark_stays(store, bucket):
    """Who sends a mark along that names an older version as its source loses no upload by it."""
    bucket.put("a.jpg", OLD)
    state = store.stat(bucket, "a.jpg")
    bucket.put("a.jpg", NEW)
    bucket.put_with("a.jpg", NEW + b"est", {f"x-amz-meta-{MARK}": mark(state, OLD)})

    assert MARK in store.stat(bucket, "a.jpg").metadata
    assert bucket.get("a.jpg") == NEW + b"est"


def test_ours_in_its_place_stays(store, bucket, late):
    """Ours directly on its source stays, however often it is looked at."""
    late()

    assert MARK in store.stat(bucket, "a.jpg").metadata
    assert len(bucket.versions("a.jpg")) == 2


def test_only_copy_stays(store, bucket, late):
    """Where the source is gone ours is the user's data: it is never deleted."""
    bucket.put("a.jpg", NEW)
    late()
    bucket.delete("a.jpg", late.source)

    assert MARK in store.stat(bucket, "a.jpg").metadata
    assert bucket.get("a.jpg") == OLD


def test_restored_version_stays(store, bucket, late):
    """A user who restores the labelled picture over a newer one keeps it."""
    late()
    labelled = store.stat(bucket, "a.jpg").version
    bucket.put("a.jpg", NEW)
    _copy_up(bucket, labelled)

    assert MARK in store.stat(bucket, "a.jpg").metadata
    assert bucket.get("a.jpg") == OLD


def test_edited_metadata_stay(store, bucket, late):
    """A user who edits the metadata of the labelled picture keeps the edit."""
    late()
    state = store.stat(bucket, "a.jpg")
    edited = {f"x-amz-meta-{name}": value for name, value in {**state.metadata, "license": "CC0"}.items()}
    _copy_up(bucket, state.version, edited)

    assert store.stat(bucket, "a.jpg").metadata["license"] == "CC0"


def test_versions_turned_on_meanwhile(store, make_bucket):
    """That a bucket makes no versions is believed for a while: where it makes them by then, nothing is lost."""
    bucket = make_bucket()
    for key in ("first.jpg", "second.jpg"):
        bucket.put(key, OLD)
    store.label(bucket, "first.jpg")
    bucket.set_versioning("Enabled")
    state = store.label(bucket, "second.jpg")

    assert state.version
    assert [False, True] == [version.id == "null" for version in bucket.versions("second.jpg")]
    assert OLD == bucket.get("second.jpg")
