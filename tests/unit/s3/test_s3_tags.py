"""Labels as object tags."""

import pytest

from imgtag.errors import WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3.state import Native
from imgtag_s3.tags import merge_tags

REF = ObjectRef("photos", "a.jpg")
USERS = {f"user{number}": "x" for number in range(8)}


def _merge(tags, labels, prefix="imgtag_"):
    state = ObjectState(ref=REF, etag="e", size=1, modified=0.0, native=Native(), tags=tags)
    return merge_tags(Rewrite(state=state, metadata={}, strategy="tags", labels=labels, label_prefix=prefix))


def test_tags_share_ten_slots():
    """The user's stay, older labels go, and the labels of the highest confidence take the rest."""
    labels = {"imgtag_fox": "0.30", "imgtag_dog": "0.80", "imgtag_cat": "0.50"}

    assert _merge({**USERS, "imgtag_old": "0.90"}, labels) == {**USERS, "imgtag_dog": "0.80", "imgtag_cat": "0.50"}


@pytest.mark.parametrize("prefix", ["imgtag_", "ai_"])
def test_older_labels_are_replaced(prefix):
    """Whatever the prefix, older labels make room, also for the same label with another confidence."""
    tags = {"mine": "1", f"{prefix}fox": "0.59", f"{prefix}old": "0.20"}

    assert _merge(tags, {f"{prefix}fox": "0.61"}, prefix) == {"mine": "1", f"{prefix}fox": "0.61"}


def test_tags_of_another_prefix_are_the_users():
    """A tag that does not begin with the prefix, or whose value is not a confidence, stays."""
    tags = {"imgtag_fox": "0.59", "ai_reviewed": "yes"}

    assert _merge(tags, {"ai_dog": "0.80"}, "ai_") == {**tags, "ai_dog": "0.80"}


def test_tags_that_are_full():
    """Without a slot nothing is written."""
    with pytest.raises(WriteRefused) as refused:
        _merge({f"user{number}": "x" for number in range(10)}, {"imgtag_fox": "0.30"})

    assert refused.value.code == "tags_full"


def test_tags_that_no_server_accepts():
    """A label with characters that tags must not have is left out."""
    assert _merge({}, {"imgtag_caf%c3%a9": "0.90", "imgtag_red+fox": "0.30"}) == {"imgtag_red+fox": "0.30"}
