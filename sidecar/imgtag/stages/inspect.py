"""Object state -> what is known of it from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import PurePosixPath

from imgtag.types.image_formats import SUFFIXES
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectState
from imgtag.types.signature import Trust

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


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An object, with our entries separated from the user's.

    ``trust``: how far our entries can be believed. ``image``: True or False by content type or suffix; None where
    only its first bytes can tell.
    """

    state: ObjectState
    entries: Entries
    user: Mapping[str, str]
    trust: Trust
    image: bool | None

    @property
    def is_genuine(self) -> bool:
        """Whether a mark is there and a sidecar of this site wrote it, here or on an object that was copied."""
        return self.trust in {Trust.LABELS, Trust.ALL}

    @property
    def etag_matches(self) -> bool:
        """Whether the mark expects the ETag that is there."""
        mark = self.entries.mark
        return mark is not None and mark.etag_after == self.state.etag


def inspect(state: ObjectState, codec: MetadataCodec) -> Inspected:
    """Read the headers of an object."""
    entries, user = codec.split(state.metadata)
    trust = codec.verify(entries, state.metadata)
    return Inspected(state=state, entries=entries, user=user, trust=trust, image=_is_called_image(state))


def _is_called_image(state: ObjectState) -> bool | None:
    content_type = state.content_type.partition(";")[0].strip().lower()
    suffix = PurePosixPath(state.ref.key).suffix.lower()
    if content_type.startswith("image/") or suffix in SUFFIXES:
        return True
    if not _is_generic(content_type):
        return False
    return None if _is_generic(_SUFFIX_TYPES.get(suffix, "")) and suffix not in _DATA_SUFFIXES else False


def _is_generic(content_type: str) -> bool:
    """Whether a type says nothing: one of those that stand for "unknown", a pattern (``*/*``), or not a type at all."""
    return content_type in _GENERIC_TYPES or "*" in content_type or "/" not in content_type
