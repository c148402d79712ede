"""Looking at objects, and reading their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from minio.datatypes import Object

from imgtag.errors import Conflict, Unavailable, Unreadable
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
from imgtag_s3 import xml
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, unreadable_code, while_asking, while_reading
from imgtag_s3.state import CHECKSUM_MODE, object_state
from imgtag_s3.versions import Versions

_LOOKS = 5
"""How many misplaced versions of ours are taken back at one look; each writer can have left one."""


class Reader:
    """Reads; the one thing that it may change is a version of ours that hides a newer upload."""

    def __init__(self, client: Client, buckets: Buckets, versions: Versions, *, write_on: frozenset[str]) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._write_on = write_on

    def look(self, ref: ObjectRef) -> ObjectState | None:
        """The object as it is now; None where it is absent. Raises BucketAbsent, Unreadable, Unavailable."""
        state = self._seen(ref)
        for _ in range(_LOOKS):
            if state is None or not self._versions.taken_back(state):
                break
            state = self._seen(ref)
        return state

    def read(self, state: ObjectState, limit: int, *, start: int = 0, size: int | None = None) -> bytes:
        """Bytes of exactly this state, as they are stored. Raises Unreadable, Conflict, Unavailable."""
        wanted = state.size if size is None else size
        if wanted > limit:
            raise Unreadable(f"{wanted:,} bytes are over the limit of {limit:,}", code="too_large")
        headers = {"If-Match": f'"{state.etag}"'}
        if size is not None:
            headers["Range"] = f"bytes={start}-{start + wanted - 1}"
        query = {"versionId": state.version} if state.version else {}
        try:
            with self._client.stream(state.ref.bucket, state.ref.key, query=query, headers=headers) as (_, chunks):
                data = b"".join(chunks)
        except Fault as fault:
            raise self._gone(fault, state.ref) from fault
        if len(data) != wanted:
            raise Conflict(f"{len(data):,} bytes came where {wanted:,} were to be")
        return data

    def tags(self, ref: ObjectRef, version: str | None) -> dict[str, str]:
        """All tags of the object. Raises Fault."""
        query = {"tagging": ""} | ({"versionId": version} if version else {})
        root = xml.parse(self._client.send("GET", ref.bucket, ref.key, query=query).data)
        return {each.findtext("Key") or "": each.findtext("Value") or "" for each in root.iter("Tag")}

    def objects(self, scope: Scope, after: str = "") -> Iterator[Listed]:
        """All of ``scope`` behind ``after``, in the order of the keys' UTF-8 bytes, a page a request."""
        try:
            with self._client.buckets() as minio:
                yield from map(
                    _listed, minio.list_objects(scope.bucket, scope.prefix, recursive=True, start_after=after or None)
                )
        except Fault as fault:
            raise while_asking(fault) from fault

    def _seen(self, ref: ObjectRef) -> ObjectState | None:
        _addressable(ref)
        try:
            headers = self._client.send("HEAD", ref.bucket, ref.key, headers={CHECKSUM_MODE: "ENABLED"}).headers
        except Fault as fault:
            return self._unseen(ref, fault)
        return self._state(ref, headers)

    def _state(self, ref: ObjectRef, headers: Mapping[str, str]) -> ObjectState | None:
        version = headers.get("x-amz-version-id", "null")
        try:
            tagged = headers.get("x-amz-tagging-count", "0") != "0"
            tags = self.tags(ref, None if version == "null" else version) if tagged else {}
        except Fault as fault:
            raise Conflict(f"{ref} went while it was looked at") if fault.absent else while_asking(fault) from fault
        size = int(headers.get("content-length", "0"))
        return object_state(ref, headers, tags, size=size, write_on=self._write_on)

    def _unseen(self, ref: ObjectRef, fault: Fault) -> ObjectState | None:
        if fault.absent:
            self._buckets.require(ref.bucket)
            return None
        if fault.status not in {400, 403}:
            raise while_reading(fault, ref) from fault
        return self._shown_by_listing(ref, self._told_by_get(ref) or fault)

    def _told_by_get(self, ref: ObjectRef) -> Fault | None:
        """The same refusal with its reason: the answer to a HEAD has no body that could say it."""
        try:
            self._client.send("GET", ref.bucket, ref.key, headers={"Range": "bytes=0-0"})
        except Fault as fault:
            return fault
        return None

    def _shown_by_listing(self, ref: ObjectRef, fault: Fault) -> ObjectState | None:
        """What a listing shows of an object that must not be looked at itself."""
        error = while_reading(fault, ref)
        if not isinstance(error, Unreadable):
            raise error from fault
        try:
            listed = next(self.objects(Scope(ref.bucket, ref.key)), None)
        except Unavailable as also:
            raise error from also
        if listed is None or listed.ref != ref:
            return None
        return ObjectState(
            ref=ref,
            etag=listed.etag,
            size=listed.size,
            modified=listed.modified,
            unreadable=unreadable_code(fault),
        )

    def _gone(self, fault: Fault, ref: ObjectRef) -> Exception:
        if not fault.absent:
            return while_reading(fault, ref)
        self._buckets.require(ref.bucket)
        return Conflict(f"{ref} was deleted while it was looked at")


def _listed(found: Object) -> Listed:
    at = found.last_modified
    return Listed(
        ref=ObjectRef(found.bucket_name, found.object_name or ""),
        etag=found.etag or "",
        size=found.size or 0,
        modified=at.timestamp() if at else 0.0,
    )


def _addressable(ref: ObjectRef) -> None:
    """A path with such parts is shortened on its way, and names another key when it arrives."""
    if any(part in {".", ".."} for part in ref.key.split("/")):
        raise Unreadable(f"{ref} cannot be asked for: `.` and `..` do not survive in a URL", code="key")
