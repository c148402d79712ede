"""Media types, by suffix; the same on every machine, whatever its `/etc/mime.types` says."""

from __future__ import annotations

from mimetypes import MimeTypes
from pathlib import PurePosixPath

IMAGES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".dng": "image/x-adobe-dng",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jfif": "image/jpeg",
    ".jp2": "image/jp2",
    ".jpe": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".jxl": "image/jxl",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
OTHERS = MimeTypes()


def media_type(key: str) -> str:
    """The type that the suffix of ``key`` stands for; empty if it is unknown."""
    suffix = PurePosixPath(key).suffix.lower()
    return IMAGES.get(suffix) or OTHERS.types_map[True].get(suffix, "")
