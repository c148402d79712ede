"""Whether an object calls itself an image, by its name and content type."""

from __future__ import annotations

from functools import lru_cache
from mimetypes import MimeTypes
from pathlib import PurePosixPath

from imgtag.types.image_formats import SUFFIXES

_GENERIC_TYPES = frozenset({
    "", "application/octet-stream", "binary/octet-stream", "application/x-octet-stream", "application/binary",
    "application/x-binary", "application/download", "application/x-download", "application/force-download",
    "application/unknown", "application/x-unknown", "application/x-www-form-urlencoded", "multipart/form-data",
    "content/unknown", "unknown/unknown", "www/unknown", "application/image", "application/x-image",
})  # fmt: skip
"""Sent by clients that know no better: it says nothing about the content."""
_SUFFIX_TYPES = MimeTypes().types_map[True]
_DATA_SUFFIXES = frozenset({
    ".7z", ".arrow", ".avro", ".backup", ".dat", ".db", ".deb", ".dmg", ".feather", ".img", ".iso", ".jsonl", ".lock",
    ".log", ".lz4", ".mkv", ".ndjson", ".npy", ".npz", ".orc", ".parquet", ".pkl", ".pt", ".qcow2", ".rar", ".rpm",
    ".safetensors", ".sql", ".sqlite", ".tfrecord", ".tflite", ".vmdk", ".wal", ".yaml", ".yml", ".zst",
})  # fmt: skip
"""Suffixes of other files that have no registered type, so that imgtag need not read their bytes to skip them."""


def is_called_image(key: str, content_type: str) -> bool | None:
    """True or False by content type or suffix; None where only its first bytes can tell."""
    content_type = content_type.partition(";")[0].strip().lower()
    suffix = split_name(key)[1].lower()
    if content_type.startswith("image/") or suffix in SUFFIXES:
        return True
    if not _is_generic(content_type):
        return False
    return None if _is_generic(_SUFFIX_TYPES.get(suffix, "")) and suffix not in _DATA_SUFFIXES else False


@lru_cache(maxsize=1_024)  # an object is looked at more than once, and has its name in its document
def split_name(key: str) -> tuple[str, str]:
    """The last part of a key, divided into what comes before its suffix and the suffix."""
    path = PurePosixPath(key)
    return path.stem, path.suffix


def _is_generic(content_type: str) -> bool:
    """Whether a type says nothing: one of those that stand for "unknown", a pattern (``*/*``), or not a type at all."""
    return content_type in _GENERIC_TYPES or "*" in content_type or "/" not in content_type
