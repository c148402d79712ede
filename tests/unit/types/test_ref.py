"""Names of objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope


@given(
    st.text(st.characters(exclude_characters="/"), min_size=1).filter(lambda name: not name.startswith("s3:")),
    st.text(min_size=1),
)
def test_a_reference_comes_back(bucket: str, key: str) -> None:
    ref = ObjectRef(bucket, key)
    assert ObjectRef.parse(str(ref)) == ref
    assert ObjectRef.parse(f"s3://{ref}") == ref


@pytest.mark.parametrize("text", ["", "bucket", "bucket/", "/key", "s3://", "s3://bucket"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write BUCKET/KEY"):
        ObjectRef.parse(text)


def test_a_scope_holds_the_keys_below_its_prefix() -> None:
    assert ObjectRef("b", "2024/a.jpg") in Scope("b", "2024/")
    assert ObjectRef("b", "2023/a.jpg") not in Scope("b", "2024/")
    assert ObjectRef("c", "2024/a.jpg") not in Scope("b", "2024/")
    assert ObjectRef("b", "a.jpg") in Scope("b")
    assert str(Scope("b", "2024/")) == "b/2024/"


def test_a_hint_is_normal_unless_somebody_asks() -> None:
    hint = Hint(ref=ObjectRef("b", "k"))
    assert (hint.intent, hint.removed, hint.metadata) == (Intent.NORMAL, False, None)
