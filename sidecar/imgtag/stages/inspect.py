"""Object state -> what is known of it from headers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imgtag.types.image_names import is_called_image
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectState
from imgtag.types.signature import Trust


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
    if trust is Trust.NONE and (own := codec.own_names(state.metadata)):
        # A user has added entries in the form of labels; they stay when it is labelled again.
        user = {name: value for name, value in state.metadata.items() if name not in own}
    return Inspected(
        state=state, entries=entries, user=user, trust=trust, image=is_called_image(state.ref.key, state.content_type)
    )
