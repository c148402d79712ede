"""An object of our own: what `imgtag doctor --send` puts into a bucket, and removes with all its versions."""

from __future__ import annotations

from imgtag.errors import Conflict, WriteRefused
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_writing
from imgtag_s3.reading import Reader
from imgtag_s3.versions import NULL, Versions

_PASSES = 5
"""How often a key is looked at again, because a sidecar may just be writing a version of it."""


class Sample:
    """Made where nothing is and nothing was, so that all there is of its key may be removed."""

    def __init__(self, client: Client, buckets: Buckets, versions: Versions, reader: Reader) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._reader = reader

    def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """See `imgtag.plugin.store.Store.create`. Raises Conflict, WriteRefused, Unavailable."""
        if self._buckets.locks_by_default(ref.bucket):
            raise WriteRefused(
                f"{ref.bucket} puts a retention on whatever is written, so {ref} could not be removed again",
                code="retention",
                hint="Send it to another bucket: `imgtag doctor --send --to BUCKET/PREFIX`.",
            )
        try:
            self._put(ref, data, content_type)
        except Fault as fault:
            raise while_writing(fault, ref) from fault
        state = self._reader.look(ref)
        if state is None:
            raise Conflict(f"{ref} was removed as soon as it was there")
        return state

    def erase(self, ref: ObjectRef) -> None:
        """See `imgtag.plugin.store.Store.erase`. Raises Conflict, WriteRefused, Unavailable."""
        try:
            for _ in range(_PASSES):
                if not self._removed(ref):
                    return
        except Fault as fault:
            raise while_writing(fault, ref) from fault
        raise Conflict(f"{ref} comes again as often as it is removed")

    def _put(self, ref: ObjectRef, data: bytes, content_type: str) -> None:
        if self._versions.of(ref):
            raise Conflict(f"{ref} is there already, or was")
        self._versions.delete(ref, NULL)  # there is nothing: whoever may not do this could not remove it either
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        self._client.send("PUT", ref.bucket, ref.key, headers=headers, body=data)

    def _removed(self, ref: ObjectRef) -> bool:
        """Whether there was anything. The oldest first: otherwise one without labels would show, and be labelled."""
        found = self._versions.of(ref)
        for version in reversed(found):
            self._versions.delete(ref, version.id)
        return bool(found)
