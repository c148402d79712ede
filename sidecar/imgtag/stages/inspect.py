"""Object state -> what is known of it from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectState

SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg",
})  # fmt: skip
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """An object with our entries and the user's told apart.

    ``genuine``: a mark is there and ours. ``holds``: and it was made from the content that is there.
    ``image``: True or False by type or suffix; None where only its first bytes can tell.
    """

    state: ObjectState
    entries: Entries
    user: Mapping[str, str]
    genuine: bool
    image: bool | None

    @property
    def holds(self) -> bool:
        mark = self.entries.mark
        return self.genuine and mark is not None and mark.etag_after == self.state.etag


def inspect(state: ObjectState, codec: MetadataCodec) -> Inspected:
    """Read the headers of an object."""
    entries, user = codec.split(state.metadata)
    return Inspected(
        state=state, entries=entries, user=user, genuine=codec.genuine(entries), image=_called_image(state)
    )


def _called_image(state: ObjectState) -> bool | None:
    content_type = state.content_type.partition(";")[0].strip().lower()
    suffix = PurePosixPath(state.ref.key).suffix.lower()
    if content_type.startswith("image/") or suffix in SUFFIXES:
        return True
    return None if content_type in _UNTYPED and not suffix else False
