"""A store in memory."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import md5, sha256
from typing import Any, Literal
from uuid import UUID

from imgtag.errors import BucketAbsent, Conflict, Unreadable, WriteRefused
from imgtag.plugin.store import Forecast, Rewrite, StoreFeatures
from imgtag.testing.bucket import Bucket, Version, Versioning
from imgtag.testing.faults import Act, Faults
from imgtag.testing.service import MemoryService
from imgtag.types.event import Hint
from imgtag.types.labels import parse_confidence
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

S3_LIMITS = StoreFeatures(metadata_limit=2048, metadata_overhead=11, verifies_digest=True)
NO_LIMITS = StoreFeatures()

_BEFORE_WRITE, _AFTER_WRITE = "rewrite.before", "rewrite.after"
"""Moments of ``faults``: between the check and the write, and after the write."""


class MemoryStore(MemoryService):
    """Buckets with versions, tags and locks, in which a test acts as another client.

    ``put``, ``copy``, ``delete`` and the other actions return the hint that a notification would carry.
    It is also appended to ``events`` and passed to ``notify``, as are those of the sidecar's own writes. Objects
    are named by ``ObjectRef`` or as ``"bucket/key"``.

    ``etags``: ``"content"`` is the MD5 of the bytes; ``"rewrite"`` changes at every rewrite, as in some stores.
    ``if_match=False``: a store that checks the ETag before it takes its lock, so that a write between the two is
    lost; the strategy ``copy`` always behaves like this. ``coarse_times``: as on S3 without versions, writes of one
    second cannot be told apart by the time of the last change. ``assumes``: what a write made of an object is concluded
    from the response. ``forgets``: metadata are not kept.
    """

    def __init__(
        self,
        *buckets: str,
        features: StoreFeatures = S3_LIMITS,
        etags: Literal["content", "rewrite"] = "content",
        if_match: bool = True,
        clock: Callable[[], float] = time.time,
        coarse_times: bool = False,
        assumes: bool = False,
        forgets: bool = False,
        notify: Callable[[Hint], object] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.notify = notify
        self.events: list[Hint] = []
        self._etags = etags
        self._if_match = if_match
        self._clock = clock
        self._coarse_times = coarse_times
        self._assumes = assumes
        self._forgets = forgets
        self._moment = 0
        self._buckets = {name: Bucket() for name in buckets}
        self._gone: dict[str, Bucket] = {}

    # What another client does.

    def make_bucket(self, name: str, versioning: Versioning = "unversioned") -> None:
        """Create a bucket, or switch the versioning of an existing one."""
        self._buckets.setdefault(name, Bucket()).versioning = versioning

    def lock_by_default(self, bucket: str, code: str | None = "retention") -> None:
        """Put everything that is written from now on under retention."""
        self._bucket(bucket).lock = code

    def take_away(self, bucket: str) -> None:
        """Make the bucket disappear with its objects, as with a wrong endpoint or a lost mount."""
        self._gone[bucket] = self._buckets.pop(bucket)

    def bring_back(self, bucket: str) -> None:
        """Make the bucket reappear as it was."""
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
        """Upload. ``etag`` simulates that of a multipart upload."""
        version = Version(
            id=None,
            moment=0,
            data=data,
            etag=etag or _quoted_md5(data),
            content_type=content_type,
            metadata=_lower_names(metadata or {}),
            tags=dict(tags or {}),
            readonly=readonly,
            unreadable=unreadable,
        )
        return self._add(_parse_ref(ref), version)

    def copy(self, source: ObjectRef | str, target: ObjectRef | str, metadata: Mapping[str, str] | None = None) -> Hint:
        """Copy with all metadata, including the sidecar's entries; ``metadata`` replaces them."""
        version = self._require_object(_parse_ref(source))
        metadata = version.metadata if metadata is None else _lower_names(metadata)
        return self._add(_parse_ref(target), replace(version, metadata=metadata, readonly=None))

    def delete(self, ref: ObjectRef | str, *, version: str | None = None) -> Hint:
        """Delete: with a marker where there are versions; ``version`` is removed for good."""
        ref = _parse_ref(ref)
        bucket = self._bucket(ref.bucket)
        if version is not None:
            removed = next(each for each in bucket.versions(ref.key) if each.id == version)
            bucket.remove(ref.key, removed)
            return self._record_removal(ref, removed)
        marker = self._with_moment(bucket, Version(id=None, moment=0, data=None))
        bucket.add(ref.key, marker)
        if bucket.versioning == "unversioned":
            bucket.remove(ref.key, marker)
        return self._record_removal(ref, marker)

    def undelete(self, ref: ObjectRef | str) -> Hint:
        """Remove the delete marker. The event says *removed* although the object reappears, as on S3."""
        ref = _parse_ref(ref)
        marker = self.versions(ref)[-1]
        if marker.data is not None:
            raise ValueError(f"{ref} is not deleted")
        self._bucket(ref.bucket).remove(ref.key, marker)
        return self._record_removal(ref, marker)

    def tag(self, ref: ObjectRef | str, tags: Mapping[str, str]) -> Hint:
        """Set the tags. The event has the sequencer of the upload, as on S3."""
        return self._update(_parse_ref(ref), tags=dict(tags))

    def lock(self, ref: ObjectRef | str, code: str | None) -> Hint:
        """Put the object under retention or legal hold, or (None) release it."""
        return self._update(_parse_ref(ref), readonly=code)

    # What a test sees, without counting as a call.

    def peek(self, ref: ObjectRef | str) -> ObjectState | None:
        """The object now; None when it is absent."""
        ref = _parse_ref(ref)
        version = self._bucket(ref.bucket).latest(ref.key)
        return _state(ref, version) if version else None

    def data(self, ref: ObjectRef | str) -> bytes:
        """The bytes of an object."""
        return self._require_object(_parse_ref(ref)).data or b""

    def versions(self, ref: ObjectRef | str) -> tuple[Version, ...]:
        """All versions and delete markers of a key, the oldest first."""
        ref = _parse_ref(ref)
        return self._bucket(ref.bucket).versions(ref.key)

    # Races.

    def before_rewrite(self, act: Act, *, times: int | None = 1) -> None:
        """Call ``act`` when a rewrite begins: the rewrite sees what it changes."""
        self.faults.when("rewrite", act, times=times)

    def between_read_and_write(self, act: Act, *, times: int | None = 1) -> None:
        """Call ``act`` within a rewrite, between its check and its write.

        If-Match still guards the bytes then, but neither metadata nor tags; without it nothing is guarded.
        """
        self.faults.when(_BEFORE_WRITE, act, times=times)

    def after_rewrite(self, act: Act, *, times: int | None = 1) -> None:
        """Call ``act`` after a write and before its response; if it raises, the response is lost."""
        self.faults.when(_AFTER_WRITE, act, times=times)

    # What the sidecar does.

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now."""
        await self.faults.meet("stat", ref)
        return self.peek(ref)

    @asynccontextmanager
    async def open(
        self,
        ref: ObjectRef,
        *,
        if_match: str | None = None,
        read_ahead: int = 0,  # noqa: ARG002
    ) -> AsyncIterator[MemoryBody | None]:
        """The object for reading; the bytes are those at the time of opening."""
        await self.faults.meet("open", ref)
        version = self._bucket(ref.bucket).latest(ref.key)
        if version and if_match not in {None, version.etag}:
            raise Conflict
        yield MemoryBody(_state(ref, version), version.data or b"", self.faults) if version else None

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write metadata as on S3: the same bytes again, with everything else that the object had."""
        ref = change.state.ref
        await self.faults.meet("rewrite", ref)
        source = self._bucket(ref.bucket).latest(ref.key)
        if source is None or _state(ref, source) != change.state:
            raise Conflict
        if source.readonly:
            raise WriteRefused(f"it is under {source.readonly}", code=source.readonly)
        if change.strategy == "tags":
            self._update(ref, tags=_merge_tags(source.tags, change))
            return _state(ref, self._require_object(ref))
        if change.body is not None and change.digest not in {None, sha256(change.body).digest()}:
            raise WriteRefused("its bytes have another SHA-256", code="checksum")
        metadata = _lower_names(change.metadata)
        limit, overhead = self.features.metadata_limit, self.features.metadata_overhead
        try:
            size = sum(len(name.encode()) + len(value.encode()) + overhead for name, value in metadata.items())
        except UnicodeEncodeError:
            raise WriteRefused("an entry is not UTF-8 and cannot be repeated", code="metadata_encoding") from None
        if limit is not None and size > limit:
            raise WriteRefused(f"{size} bytes of metadata are over {limit}", code="metadata_full")
        await self.faults.reach(_BEFORE_WRITE)
        guarded = self._if_match and change.strategy != "copy"
        now = self._bucket(ref.bucket).latest(ref.key)
        if guarded and (now is None or now.etag != source.etag):
            raise Conflict
        etag = source.etag
        if self._etags != "content":
            etag = _quoted_md5((source.data or b"") + str(self._moment).encode())
        kept = source.metadata if self._forgets else metadata
        self._add(ref, replace(source, metadata=kept, etag=etag))
        latest = self._require_object(ref)
        written = replace(_state(ref, latest), metadata=metadata, request=latest.request, is_assumed=self._assumes)
        await self.faults.reach(_AFTER_WRITE)
        return written

    async def forecast(self, change: Rewrite) -> Forecast:
        """As `rewrite`, without the write."""
        state = change.state
        await self.faults.meet("forecast", state.ref)
        if state.readonly:
            return Forecast(refusal=WriteRefused(f"it is under {state.readonly}", code=state.readonly))
        has_versions = self._bucket(state.ref.bucket).versioning == "enabled"
        return Forecast(
            strategy="copy" if has_versions else "put",
            makes_version=has_versions,
            bytes_sent=0 if has_versions else state.size,
        )

    async def copy_object(self, source: ObjectState, target: ObjectRef) -> bool:
        """Copy within the store, where nothing else has the name."""
        await self.faults.meet("copy_object", target)
        if self.peek(source.ref) != source:
            raise Conflict
        there = self.peek(target)
        if there is not None and there.etag != source.etag:
            raise Conflict(f"another object is at {target}", code="exists")
        if there is None:
            self.copy(source.ref, target)
        return there is None

    async def list(self, scope: Scope, *, after: str = "", with_metadata: bool = False) -> AsyncIterator[Listed]:
        """The objects of ``scope`` in the order of their keys' UTF-8 bytes."""
        await self.faults.meet("list", scope)
        for key in self._bucket(scope.bucket).keys():  # noqa: SIM118 - no mapping
            version = self._bucket(scope.bucket).latest(key)
            if version and key.startswith(scope.prefix) and key > after:
                state = _state(ObjectRef(scope.bucket, key), version)
                metadata = state.metadata if with_metadata else None
                listed = Listed(ref=state.ref, etag=state.etag, size=state.size, modified=state.modified)
                yield replace(listed, metadata=metadata)

    async def buckets(self) -> tuple[str, ...]:
        """The names of the buckets."""
        await self.faults.meet("buckets")
        return tuple(self._buckets)

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """Create an object."""
        await self.faults.meet("create", ref)
        bucket = self._bucket(ref.bucket)
        if bucket.versions(ref.key):
            raise Conflict(f"{ref} exists already")
        if bucket.lock:
            raise WriteRefused(f"objects in {ref.bucket} cannot be removed again", code=bucket.lock)
        self.put(ref, data, content_type=content_type)
        return _state(ref, self._require_object(ref))

    async def erase(self, ref: ObjectRef) -> None:
        """Remove every version and delete marker of the key, the oldest first."""
        await self.faults.meet("erase", ref)
        bucket = self._bucket(ref.bucket)
        for version in bucket.versions(ref.key):
            if version.readonly:
                raise WriteRefused(f"{ref} is under {version.readonly}", code=version.readonly)
            bucket.remove(ref.key, version)
            self._record_removal(ref, version)

    def _bucket(self, name: str) -> Bucket:
        if name not in self._buckets:
            raise BucketAbsent(f"no such bucket: {name}")
        return self._buckets[name]

    def _require_object(self, ref: ObjectRef) -> Version:
        version = self._bucket(ref.bucket).latest(ref.key)
        if version is None:
            raise KeyError(str(ref))
        return version

    def _with_moment(self, bucket: Bucket, version: Version) -> Version:
        # Two writes never share a moment, however fast they are and whatever the clock does.
        self._moment = max(self._moment + 1, int(self._clock() * 1e9))
        name = str(UUID(int=self._moment)) if bucket.versioning == "enabled" else None
        revision = str(self._moment // 10**9 if self._coarse_times else self._moment)
        return replace(version, id=name, moment=self._moment, revision=revision)

    def _add(self, ref: ObjectRef, version: Version) -> Hint:
        bucket = self._bucket(ref.bucket)
        version = self._with_moment(bucket, replace(version, readonly=version.readonly or bucket.lock))
        bucket.add(ref.key, version)
        return self._record_creation(ref, version)

    def _update(self, ref: ObjectRef, **what: Any) -> Hint:
        version = replace(self._require_object(ref), **what)
        self._bucket(ref.bucket).replace(ref.key, version)
        return self._record_creation(ref, version)

    def _record_creation(self, ref: ObjectRef, version: Version) -> Hint:
        # Events carry the ETag without its quotes.
        known = {"etag": version.etag.strip('"'), "metadata": version.metadata, "request": version.request}
        return self._record_event(ref, version, **known)

    def _record_removal(self, ref: ObjectRef, version: Version) -> Hint:
        return self._record_event(ref, version, removed=True)

    def _record_event(self, ref: ObjectRef, version: Version, **known: Any) -> Hint:
        hint = Hint(ref=ref, version=version.id, sequencer=version.sequencer, at=version.moment / 1e9, **known)
        self.events.append(hint)
        if self.notify:
            self.notify(hint)
        return hint


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
        revision=version.revision,
        readonly=version.readonly,
        unreadable=version.unreadable,
    )


def _merge_tags(tags: Mapping[str, str], change: Rewrite) -> dict[str, str]:
    user = {
        key: value
        for key, value in tags.items()
        if not (key.startswith(change.label_prefix) and parse_confidence(value) is not None)
    }
    return {**change.labels, **user}


def _parse_ref(ref: ObjectRef | str) -> ObjectRef:
    return ObjectRef.parse(ref) if isinstance(ref, str) else ref


def _lower_names(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in metadata.items()}


def _quoted_md5(data: bytes) -> str:
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'
