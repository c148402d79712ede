"""The picture that doctor sends: created where nothing was, and removed with everything derived from it."""

import pytest

from imgtag.errors import Conflict, WriteRefused


@pytest.mark.parametrize("versioning", [None, "Enabled", "Suspended"])
def test_nothing_is_left(store, make_bucket, versioning):
    """Not a version, however often it was written, and not the marker of a deletion."""
    bucket = make_bucket(versioning)
    store.create(bucket, "a b/+%.jpg", b"\xff\xd8\xff")
    store.label(bucket, "a b/+%.jpg")
    bucket.delete("a b/+%.jpg")
    store.erase(bucket, "a b/+%.jpg")

    assert bucket.versions("a b/+%.jpg") == []


def test_users_versions_are_nobodys_sample(store, make_bucket):
    """Where only versions of a deleted object are left nothing is made, so nothing of them is removed."""
    bucket = make_bucket("Enabled")
    bucket.put("a.jpg", b"mine")
    bucket.delete("a.jpg")
    before = bucket.versions("a.jpg")
    with pytest.raises(Conflict):
        store.create(bucket, "a.jpg", b"ours")

    assert bucket.versions("a.jpg") == before


def test_what_is_locked_is_said(store, make_bucket):
    """A version that a user has put under a lock meanwhile stays, with the reason."""
    bucket = make_bucket(lock=True)
    store.create(bucket, "a.jpg", b"\xff\xd8\xff")
    body = b"<LegalHold><Status>ON</Status></LegalHold>"
    bucket.client.send("PUT", bucket.name, "a.jpg", query={"legal-hold": ""}, body=body)
    with pytest.raises(WriteRefused, match="protected"):
        store.erase(bucket, "a.jpg")

    assert len(bucket.versions("a.jpg")) == 1
