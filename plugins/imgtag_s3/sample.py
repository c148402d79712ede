"""The sample that `imgtag doctor --send` puts into a bucket, and removes with all its versions."""

from __future__ import annotations

from imgtag.errors import Conflict, WriteRefused
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_write_error
from imgtag_s3.reader import Reader
from imgtag_s3.versions import NULL, Versions

_MAX_PASSES = 5
"""How often a key is emptied: a sidecar may be writing another version of it at the same time."""


class SampleObjects:
    """Creates only where the key has no object and no versions, so that everything under the key may be removed."""

    def __init__(self, client: Client, buckets: Buckets, versions: Versions, reader: Reader) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._reader = reader

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """See `imgtag.plugin.store.Store.create`. Raises Conflict, WriteRefused, Unavailable."""
        if await self._buckets.locks_by_default(ref.bucket):
            raise WriteRefused(
                f"{ref.bucket} puts a retention on everything that is written, so {ref} could not be removed again",
                code="retention",
                hint="Send it to another bucket: `imgtag doctor --send --to BUCKET/PREFIX`.",
            )
        try:
            if await self._versions.list_versions(ref):
                raise Conflict(f"{ref} exists already, or did")
            # Deletes nothing, and fails for a user who could not remove the sample afterwards.
            await self._versions.delete(ref, NULL)
            headers = {"Content-Type": content_type, "If-None-Match": "*"}
            await self._client.send("PUT", ref.bucket, ref.key, headers=headers, body=data)
        except S3Error as error:
            raise map_write_error(error, ref) from error
        state = await self._reader.stat(ref)
        if state is None:
            raise Conflict(f"{ref} was removed right after it was created")
        return state

    async def erase(self, ref: ObjectRef) -> None:
        """See `imgtag.plugin.store.Store.erase`. Raises Conflict, WriteRefused, Unavailable."""
        try:
            for _ in range(_MAX_PASSES):
                versions = await self._versions.list_versions(ref)
                if not versions:
                    return
                # The oldest first: otherwise one without labels would become the latest, and be labelled.
                for version in reversed(versions):
                    await self._versions.delete(ref, version.id)
        except S3Error as error:
            raise map_write_error(error, ref) from error
        raise Conflict(f"{ref} reappears as often as it is removed")
