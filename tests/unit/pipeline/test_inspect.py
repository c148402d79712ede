"""What is known of an object from its headers alone: whether it is an image."""

from __future__ import annotations

import pytest

from imgtag.stages.inspect import inspect
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState


def is_image(key: str, content_type: str) -> bool | None:
    state = ObjectState(ref=ObjectRef("photos", key), etag='"1"', size=1, modified=0, content_type=content_type)
    return inspect(state, MetadataCodec()).image


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("photo", "image/jpeg"),
        ("photo", "IMAGE/HEIC; x=y"),
        ("photo.JPG", "text/plain"),
        ("photo.arw", "application/octet-stream"),
        ("photo.ico", ""),
    ],
)
def test_type_or_suffix_calls_it_an_image(key: str, content_type: str) -> None:
    """Either is enough."""
    assert is_image(key, content_type) is True


@pytest.mark.parametrize(
    "key",
    [
        "photo",
        "2024.05.01 Beach",
        "IMG_1.jpg.1",
        "x.jpg_large",
        "x.jpg~",
        "x.JPG_original",
        "St. Moritz",
        "a.b/c",
        "x.bak",
    ],
)
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/octet-stream",
        "binary/octet-stream",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "*/*",
        "image",
        "jpg",
        "application/force-download",
    ],
)
def test_where_neither_says_anything_the_first_bytes_decide(key: str, content_type: str) -> None:
    """Nothing is passed over in silence because a client did not know its type."""
    assert is_image(key, content_type) is None


@pytest.mark.parametrize(
    ("key", "content_type"),
    [
        ("notes", "text/plain"),
        ("photo", "video/mp4"),
        ("report.pdf", "application/octet-stream"),
        ("table.parquet", "binary/octet-stream"),
        ("backup.zip", ""),
    ],
)
def test_what_is_called_something_else_is_not_read(key: str, content_type: str) -> None:
    """By a type that says so, or by the suffix of another kind of file."""
    assert is_image(key, content_type) is False
