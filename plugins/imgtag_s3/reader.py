"""Looking at objects, and reading their bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from itertools import islice

from imgtag.errors import Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
from imgtag_s3 import xml
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_read_error, map_request_error, unreadable_code
from imgtag_s3.listing import PAGE, list_with_metadata
from imgtag_s3.state import CHECKSUM_MODE, TAG_COUNT, format_time, parse_state
from imgtag_s3.tags import TagRights
from imgtag_s3.versions import Versions

_MAX_WITHDRAWALS = 5
"""How many misplaced versions of ours one look withdraws; every writer can have left one."""


class Reader:
    """Reads; the only thing that it may change is a version of ours that hides a newer upload.

    With ``read_only`` that stays as well.
    """

    def __init__(
        self,
        client: Client,
        buckets: Buckets,
        versions: Versions,
        *,
        write_on: frozenset[str],
        read_only: bool = False,
    ) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._write_on = write_on
        self._read_only = read_only
        self.tag_rights = TagRights()

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object as it is now; None where it is absent. Raises BucketAbsent, Unreadable, Unavailable."""
        state, _ = await self.look(ref)
        return state

    async def look(self, ref: ObjectRef, read_ahead: int = 0) -> tuple[ObjectState | None, bytes | None]:
        """The object as `stat` shows it, and in the same request its bytes, if there are at most ``read_ahead``."""
        state, data = await self._get(ref, read_ahead) if read_ahead else (await self._head(ref), None)
        for _ in range(_MAX_WITHDRAWALS):
            if state is None or self._read_only or not await self._versions.withdraw_misplaced(state):
                break
            state, data = await self._head(ref), None
        return state, data

    async def read(self, state: ObjectState, limit: int, *, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of exactly this state, as they are stored. Raises Unreadable, Conflict, Unavailable."""
        wanted = state.size if size is None else size
        if wanted > limit:
            raise Unreadable(f"{wanted:,} bytes exceed the limit of {limit:,}", code="too_large")
        headers = {"If-Match": f'"{state.etag}"'}
        if size is not None:
            headers["Range"] = f"bytes={start}-{start + wanted - 1}"
        query = {"versionId": state.version} if state.version else {}
        try:
            _, data = await self._client.get(state.ref.bucket, state.ref.key, query=query, headers=headers)
        except S3Error as error:
            if not error.absent:
                raise map_read_error(error, state.ref) from error
            await self._buckets.require(state.ref.bucket)
            raise Conflict(f"{state.ref} was deleted while it was being read") from error
        assert data is not None, "there was no limit"
        if len(data) != wanted:
            raise Conflict(f"{state.ref}: {len(data):,} of {wanted:,} bytes arrived")
        return data

    async def tags(self, ref: ObjectRef, version: str | None) -> dict[str, str]:
        """All tags of the object. Raises S3Error."""
        query = {"tagging": ""} | ({"versionId": version} if version else {})
        try:
            root = xml.parse((await self._client.send("GET", ref.bucket, ref.key, query=query)).data)
        except S3Error as error:
            if error.denied:
                self.tag_rights.forget(ref)
            raise
        self.tag_rights.note(ref)
        return {tag.findtext("Key") or "": tag.findtext("Value") or "" for tag in root.iter("Tag")}

    async def list_objects(
        self, scope: Scope, after: str = "", *, with_metadata: bool = False
    ) -> AsyncIterator[Listed]:
        """All of ``scope`` after the key ``after``, in the order of the keys' UTF-8 bytes; one request a page.

        In a bucket that never had versions, the time of an object is its revision; elsewhere it has none here.
        ``with_metadata``: with their user metadata, which only MinIO can do.
        """
        # Garage lists nothing after a key that comes before the prefix.
        start = after if after.encode() >= scope.prefix.encode() else ""
        try:
            is_plain = await self._is_plain(scope.bucket)
            if with_metadata:
                async for listed in list_with_metadata(self._client, scope, start, is_plain=is_plain):
                    yield listed
                return
            objects = await self._client.call_minio(
                lambda minio: minio.list_objects(scope.bucket, scope.prefix, recursive=True, start_after=start or None)
            )
            while page := await self._client.call_minio(lambda _: list(islice(objects, PAGE))):
                for item in page:
                    modified = item.last_modified.timestamp() if item.last_modified else 0.0
                    yield Listed(
                        ref=ObjectRef(item.bucket_name, item.object_name or ""),
                        etag=item.etag or "",
                        size=item.size or 0,
                        modified=modified,
                        revision=format_time(modified) if is_plain and modified else None,
                    )
        except S3Error as error:
            raise map_request_error(error) from error

    async def list_buckets(self) -> tuple[str, ...]:
        """The buckets that our user may list. Raises Unavailable."""
        try:
            return tuple(bucket.name for bucket in await self._client.call_minio(lambda minio: minio.list_buckets()))
        except S3Error as error:
            raise map_request_error(error) from error

    async def _is_plain(self, bucket: str) -> bool:
        """Whether the bucket is known never to have had versions."""
        try:
            return not (await self._buckets.versioning(bucket, plain=True)).status
        except WriteRefused:  # nothing is to be written
            return False

    async def _get(self, ref: ObjectRef, limit: int) -> tuple[ObjectState | None, bytes | None]:
        """One GET, whose headers are those of a HEAD. MinIO holds the key's lock while bytes are unread."""
        _require_path(ref)
        try:
            wanted = {CHECKSUM_MODE: "ENABLED"}
            headers, data = await self._client.get(ref.bucket, ref.key, headers=wanted, limit=limit)
        except S3Error as error:
            # A GET is refused for more reasons than a HEAD, which shows the headers of an archived object.
            if error.absent:
                await self._buckets.require(ref.bucket)
                return None, None
            return await self._head(ref), None
        size = int(headers.get("content-length", "-1"))
        if size < 0:  # a proxy sends it in chunks
            return await self._head(ref), None
        if data is not None and len(data) != size:
            raise Conflict(f"{ref}: {len(data):,} of {size:,} bytes arrived")
        return await self._parse(ref, headers), data

    async def _head(self, ref: ObjectRef) -> ObjectState | None:
        _require_path(ref)
        try:
            response = await self._client.send("HEAD", ref.bucket, ref.key, headers={CHECKSUM_MODE: "ENABLED"})
        except S3Error as error:
            if error.absent:
                await self._buckets.require(ref.bucket)
                return None
            if error.status not in {400, 403}:
                raise map_read_error(error, ref) from error
            return await self._state_from_listing(ref, error)
        return await self._parse(ref, response.headers)

    async def _parse(self, ref: ObjectRef, headers: Mapping[str, str]) -> ObjectState:
        version = headers.get("x-amz-version-id", "null")
        try:
            tagged = headers.get(TAG_COUNT, "0") != "0"
            tags = await self.tags(ref, None if version == "null" else version) if tagged else {}
        except S3Error as error:
            if error.absent:
                raise Conflict(f"{ref} disappeared while it was being looked at") from error
            raise map_request_error(error) from error
        size = int(headers.get("content-length", "0"))
        return parse_state(ref, headers, tags, size=size, write_on=self._write_on)

    async def _state_from_listing(self, ref: ObjectRef, refusal: S3Error) -> ObjectState | None:
        """What a listing shows of an object whose headers may not be read."""
        try:
            # The response to a HEAD has no body that could give a reason; that to a GET has.
            await self._client.send("GET", ref.bucket, ref.key, headers={"Range": "bytes=0-0"})
        except S3Error as explained:
            refusal = explained
        error = map_read_error(refusal, ref)
        if not isinstance(error, Unreadable):
            raise error from refusal
        try:
            listed = await anext(self.list_objects(Scope(ref.bucket, ref.key)), None)
        except Unavailable as unlisted:
            raise error from unlisted
        if listed is None or listed.ref != ref:
            return None
        return ObjectState(
            ref=ref,
            etag=listed.etag,
            size=listed.size,
            modified=listed.modified,
            unreadable=unreadable_code(refusal),
        )


def _require_path(ref: ObjectRef) -> None:
    """Raise Unreadable for a path that clients and proxies shorten, so that it would arrive as that of another key."""
    if not {".", ".."}.isdisjoint(ref.key.split("/")):
        raise Unreadable(f"{ref} cannot be requested: `.` and `..` do not survive in a URL", code="key")
