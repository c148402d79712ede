"""What is checked before a write, one check at a time: where it fails, no request that writes is sent."""

import pytest

from imgtag.errors import Conflict, WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef

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
    with pytest.raises(Conflict):
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
