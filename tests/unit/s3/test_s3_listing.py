"""What a listing shows of an object, by which a comparison tells that it was written."""

import pytest

from imgtag.types.ref import ObjectRef, Scope
from servers.tiny_s3 import TinyS3

REF = ObjectRef("photos", "cat.jpg")


@pytest.fixture
def late():
    """A server that writes late in a second: its listings show milliseconds, its headers do not."""
    server = TinyS3()
    server.clock = lambda: 1_700_000_000.9
    server.put("photos", "cat.jpg", b"cat")
    return server


def test_the_same_bytes_again_are_another_revision(late, open_store):
    """The ETag is the same, and labels of ours are gone. What nobody wrote has the revision that a look shows."""
    store = open_store(late)
    state = store("stat", REF)
    (listed,) = store("list", Scope("photos"))
    late.clock = lambda: 1_700_000_001.2
    late.put("photos", "cat.jpg", b"cat")
    (again,) = store("list", Scope("photos"))

    assert (state.etag, state.revision) == (listed.etag, listed.revision)
    assert listed.etag == again.etag
    assert listed.revision != again.revision


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_where_a_listing_cannot_tell_the_revision(late, open_store, status):
    """A version of its own is the revision of an object, and listings do not show it."""
    late.configurations = {"versioning": f"<V><Status>{status}</Status></V>"}
    (listed,) = open_store(late)("list", Scope("photos"))

    assert listed.revision is None


def test_listing_needs_no_further_permission(late, open_store):
    late.denied = {("GET", "versioning")}
    (listed,) = open_store(late)("list", Scope("photos"))

    assert (REF, None) == (listed.ref, listed.revision)
