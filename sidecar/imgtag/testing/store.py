"""A store in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import md5
from typing import Any, Literal
from uuid import UUID

from imgtag.errors import BucketAbsent, Conflict, Unreadable, WriteRefused
from imgtag.plugin.store import Rewrite, StoreFeatures
from imgtag.testing.bucket import Bucket, Version, Versioning
from imgtag.testing.faults import Act, Faults
from imgtag.testing.service import MemoryService
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

S3_LIMITS = StoreFeatures(metadata_limit=2048, metadata_overhead=11)
NO_LIMITS = StoreFeatures()

WRITE, WRITTEN = "rewrite.write", "rewrite.written"
"""Moments of ``faults``: behind the look and before the write, and behind the write."""


class MemoryStore(MemoryService):
    """Buckets with versions, tags and locks, on which a test acts as their user.

    ``put``, ``copy``, ``delete`` and the other actions return the hint that a notification would carry.
    It is also kept in ``events`` and given to ``notify``, as are those of the sidecar's own writes. Objects
    are named by ``ObjectRef`` or as ``"bucket/key"``.

    ``etags``: ``"content"`` gives the MD5 of the bytes; ``"rewrite"`` another one at every rewrite, as some
    stores do. ``if_match=False``: a store that looks at the ETag before its lock, so that a write
    between the two is lost; so is every rewrite with the strategy ``copy``.
    """

    def __init__(
        self,
        *buckets: str,
        features: StoreFeatures = S3_LIMITS,
        etags: Literal["content", "rewrite"] = "content",
        if_match: bool = True,
        clock: Callable[[], float] = time.time,
        notify: Callable[[Hint], object] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.notify = notify
        self.events: list[Hint] = []
        self._etags = etags
        self._if_match = if_match
        self._clock = clock
        self._moment = 0
        self._buckets = {name: Bucket() for name in buckets}
        self._gone: dict[str, Bucket] = {}

    # What a user does.

    def make_bucket(self, name: str, versioning: Versioning = "unversioned") -> None:
        """Make a bucket, or switch the versioning of one that is there."""
        self._buckets.setdefault(name, Bucket()).versioning = versioning

    def lock_by_default(self, bucket: str, code: str | None = "retention") -> None:
        """Put whatever is written from now on under retention."""
        self._bucket(bucket).lock = code

    def take_away(self, bucket: str) -> None:
        """The bucket is gone with all that is in it, as behind a wrong endpoint or a lost mount."""
        self._gone[bucket] = self._buckets.pop(bucket)

    def bring_back(self, bucket: str) -> None:
        """The bucket is there again, as it was."""
        self._buckets[bucket] = self._gone.pop(bucket)

    def put(
        self,
        ref: ObjectRef | str,
        data: bytes,
        *,
        content_type: str = "image/jpeg",
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        readonly: str | None = None,
        unreadable: str | None = None,
        etag: str | None = None,
    ) -> Hint:
        """Upload. ``etag`` stands for that of a multipart upload."""
        version = Version(
            id=None,
            moment=0,
            data=data,
            etag=etag or _quoted(data),
            content_type=content_type,
            metadata=_lowered(metadata or {}),
            tags=dict(tags or {}),
            readonly=readonly,
            unreadable=unreadable,
        )
        return self._add(_ref(ref), version)

    def copy(self, source: ObjectRef | str, target: ObjectRef | str, metadata: Mapping[str, str] | None = None) -> Hint:
        """Copy with all metadata, the sidecar's entries too; ``metadata`` replaces them."""
        version = self._there(_ref(source))
        metadata = version.metadata if metadata is None else _lowered(metadata)
        return self._add(_ref(target), replace(version, metadata=metadata, readonly=None))

    def delete(self, ref: ObjectRef | str, *, version: str | None = None) -> Hint:
        """Delete: behind a marker where there are versions; ``version`` goes for good."""
        ref = _ref(ref)
        bucket = self._bucket(ref.bucket)
        if version is not None:
            found = next(each for each in bucket.versions(ref.key) if each.id == version)
            bucket.remove(ref.key, found)
            return self._removed(ref, found)
        marker = self._stamped(bucket, Version(id=None, moment=0, data=None))
        bucket.add(ref.key, marker)
        if bucket.versioning == "unversioned":
            bucket.remove(ref.key, marker)
        return self._removed(ref, marker)

    def undelete(self, ref: ObjectRef | str) -> Hint:
        """Remove the delete marker. The event says *removed* while the object is there again, as S3's does."""
        ref = _ref(ref)
        marker = self.versions(ref)[-1]
        if marker.data is not None:
            raise ValueError(f"{ref} is not deleted")
        self._bucket(ref.bucket).remove(ref.key, marker)
        return self._removed(ref, marker)

    def tag(self, ref: ObjectRef | str, tags: Mapping[str, str]) -> Hint:
        """Set the tags. The event has the sequencer of the upload, as S3's does."""
        return self._changed(_ref(ref), tags=dict(tags))

    def lock(self, ref: ObjectRef | str, code: str | None) -> Hint:
        """Put the object under retention or hold, or (None) free it."""
        return self._changed(_ref(ref), readonly=code)

    # What a test sees, without a call being counted.

    def peek(self, ref: ObjectRef | str) -> ObjectState | None:
        """The object now; None when it is absent."""
        ref = _ref(ref)
        version = self._bucket(ref.bucket).latest(ref.key)
        return _state(ref, version) if version else None

    def data(self, ref: ObjectRef | str) -> bytes:
        """The bytes of an object."""
        return self._there(_ref(ref)).data or b""

    def versions(self, ref: ObjectRef | str) -> tuple[Version, ...]:
        """All versions and delete markers of a key, the oldest first."""
        ref = _ref(ref)
        return self._bucket(ref.bucket).versions(ref.key)

    # Races.

    def before_rewrite(self, act: Act, *, times: int | None = 1) -> None:
        """Do ``act`` when a rewrite begins: whatever it changes, the rewrite sees it."""
        self.faults.when("rewrite", act, times=times)

    def between_read_and_write(self, act: Act, *, times: int | None = 1) -> None:
        """Do ``act`` within a rewrite, when it has looked and not yet written.

        If-Match guards the bytes even then, but neither metadata nor tags; without it nothing is guarded.
        """
        self.faults.when(WRITE, act, times=times)

    def after_rewrite(self, act: Act, *, times: int | None = 1) -> None:
        """Do ``act`` when a rewrite is written and not yet answered; one that raises is a lost response."""
        self.faults.when(WRITTEN, act, times=times)

    # What the sidecar does.

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now."""
        await self.faults.meet("stat", ref)
        return self.peek(ref)

    @asynccontextmanager
    async def open(self, ref: ObjectRef, *, if_match: str | None = None) -> AsyncIterator[MemoryBody | None]:
        """The object for reading; its bytes stay those that were opened."""
        await self.faults.meet("open", ref)
        version = self._bucket(ref.bucket).latest(ref.key)
        if version and if_match not in {None, version.etag}:
            raise Conflict
        yield MemoryBody(_state(ref, version), version.data or b"", self.faults) if version else None

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write metadata as S3 does: the same bytes again, with all else that the object had."""
        ref = change.state.ref
        await self.faults.meet("rewrite", ref)
        source = self._bucket(ref.bucket).latest(ref.key)
        if source is None or _state(ref, source) != change.state:
            raise Conflict
        metadata = _lowered(change.metadata)
        self._refuse(source, metadata)
        await self.faults.reach(WRITE)
        guarded = self._if_match and change.strategy != "copy"
        if guarded and not self._matches(ref, source):
            raise Conflict
        self._add(ref, replace(source, metadata=metadata, etag=self._etag(source)))
        written = _state(ref, self._there(ref))
        await self.faults.reach(WRITTEN)
        return written

    async def list(self, scope: Scope, *, after: str = "") -> AsyncIterator[Listed]:
        """The objects of ``scope`` in the order of their keys' UTF-8 bytes."""
        await self.faults.meet("list", scope)
        for key in self._bucket(scope.bucket).keys():  # noqa: SIM118 - no mapping
            version = self._bucket(scope.bucket).latest(key)
            if version and key.startswith(scope.prefix) and key > after:
                state = _state(ObjectRef(scope.bucket, key), version)
                yield Listed(ref=state.ref, etag=state.etag, size=state.size, modified=state.modified)

    async def buckets(self) -> tuple[str, ...]:
        """The buckets that there are."""
        await self.faults.meet("buckets")
        return tuple(self._buckets)

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """A new object."""
        await self.faults.meet("create", ref)
        bucket = self._bucket(ref.bucket)
        if bucket.versions(ref.key):
            raise Conflict(f"{ref} is there already")
        if bucket.lock:
            raise WriteRefused(f"what is written into {ref.bucket} cannot be removed again", code=bucket.lock)
        self.put(ref, data, content_type=content_type)
        return _state(ref, self._there(ref))

    async def erase(self, ref: ObjectRef) -> None:
        """Every version and delete marker of the key, the oldest first."""
        await self.faults.meet("erase", ref)
        bucket = self._bucket(ref.bucket)
        for version in bucket.versions(ref.key):
            if version.readonly:
                raise WriteRefused(f"{ref} is under {version.readonly}", code=version.readonly)
            bucket.remove(ref.key, version)
            self._removed(ref, version)

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise BucketAbsent(f"there is no bucket {name}")
        return self._buckets[name]

    def _there(self, ref: ObjectRef) -> Version:
        version = self._bucket(ref.bucket).latest(ref.key)
        if version is None:
            raise KeyError(str(ref))
        return version

    def _stamped(self, bucket: Bucket, version: Version) -> Version:
        # Two writes never have the same moment, however fast they come and whatever the clock does.
        self._moment = max(self._moment + 1, int(self._clock() * 1e9))
        name = str(UUID(int=self._moment)) if bucket.versioning == "enabled" else None
        return replace(version, id=name, moment=self._moment)

    def _add(self, ref: ObjectRef, version: Version) -> Hint:
        bucket = self._bucket(ref.bucket)
        version = self._stamped(bucket, replace(version, readonly=version.readonly or bucket.lock))
        bucket.add(ref.key, version)
        return self._created(ref, version)

    def _changed(self, ref: ObjectRef, **what: Any) -> Hint:
        version = replace(self._there(ref), **what)
        self._bucket(ref.bucket).replace(ref.key, version)
        return self._created(ref, version)

    def _created(self, ref: ObjectRef, version: Version) -> Hint:
        # Events carry the ETag without its quotes.
        known = {"etag": version.etag.strip('"'), "metadata": version.metadata}
        return self._told(ref, version, **known)

    def _removed(self, ref: ObjectRef, version: Version) -> Hint:
        return self._told(ref, version, removed=True)

    def _told(self, ref: ObjectRef, version: Version, **known: Any) -> Hint:
        hint = Hint(ref=ref, version=version.id, sequencer=version.sequencer, at=version.moment / 1e9, **known)
        self.events.append(hint)
        if self.notify:
            self.notify(hint)
        return hint

    def _matches(self, ref: ObjectRef, source: Version) -> bool:
        now = self._bucket(ref.bucket).latest(ref.key)
        return now is not None and now.etag == source.etag

    def _etag(self, source: Version) -> str:
        if self._etags == "content":
            return source.etag
        return _quoted((source.data or b"") + str(self._moment).encode())

    def _refuse(self, source: Version, metadata: Mapping[str, str]) -> None:
        if source.readonly:
            raise WriteRefused(f"it is under {source.readonly}", code=source.readonly)
        limit, overhead = self.features.metadata_limit, self.features.metadata_overhead
        size = sum(len(name.encode()) + len(value.encode()) + overhead for name, value in metadata.items())
        if limit is not None and size > limit:
            raise WriteRefused(f"{size} bytes of metadata are over {limit}", code="metadata_full")


class MemoryBody:
    """An object opened for reading."""

    def __init__(self, state: ObjectState, data: bytes, faults: Faults) -> None:
        self.state = state
        self._data = data
        self._faults = faults

    async def read(self, limit: int) -> bytes:
        """The bytes that were opened. Raises Unreadable."""
        await self._faults.meet("read", self.state.ref)
        if self.state.unreadable:
            raise Unreadable(code=self.state.unreadable)
        if self.state.size > limit:
            raise Unreadable(f"{self.state.size} bytes are over {limit}", code="too_large")
        return self._data


def _state(ref: ObjectRef, version: Version) -> ObjectState:
    return ObjectState(
        ref=ref,
        etag=version.etag,
        size=len(version.data or b""),
        modified=version.moment / 1e9,
        content_type=version.content_type,
        metadata=dict(version.metadata),
        tags=dict(version.tags),
        version=version.id,
        readonly=version.readonly,
        unreadable=version.unreadable,
    )


def _ref(ref: ObjectRef | str) -> ObjectRef:
    return ObjectRef.parse(ref) if isinstance(ref, str) else ref


def _lowered(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in metadata.items()}


def _quoted(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'
