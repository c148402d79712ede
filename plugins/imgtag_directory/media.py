"""Media types, by suffix; the same on every machine, whatever its `/etc/mime.types` says."""

from __future__ import annotations

from mimetypes import MimeTypes
from pathlib import PurePosixPath

from imgtag.types.image_formats import CONTENT_TYPES

OTHERS = MimeTypes()


def media_type(key: str) -> str:
    """The type that the suffix of ``key`` stands for; empty if it is unknown."""
    suffix = PurePosixPath(key).suffix.lower()
    return CONTENT_TYPES.get(suffix) or OTHERS.types_map[True].get(suffix, "")
