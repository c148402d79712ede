"""Writing metadata on an object and leaving everything else of it as it was.

an object with versions, whose next write makes another -> copy     then ours must lie on its source
any other, where the server's If-Match is atomic        -> put      then ours must lie on its source, if it has one
anything else                                           -> refused
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Literal

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, Overwritten, WriteRefused
from imgtag.plugin.store import Forecast, Rewrite
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import multipart
from imgtag_s3.acl import read_grants
from imgtag_s3.bucket_rules import BucketRules
from imgtag_s3.buckets import Buckets, Versioning
from imgtag_s3.client import Client, digest_body
from imgtag_s3.errors import NoResponse, S3Error, map_write_error
from imgtag_s3.multipart import Part
from imgtag_s3.probe import IfMatch, Probe
from imgtag_s3.reader import Reader
from imgtag_s3.state import LOCK_MODE, META, SSE, Native, parse_time
from imgtag_s3.tags import merge_tags, write_tags
from imgtag_s3.versions import NULL, Version, Versions
from imgtag_s3.write_requests import Written, copy_object, copy_source_headers, put_object, verify_body

MAX_METADATA, METADATA_OVERHEAD = 2048, len(META)
"""Bytes of user metadata, and what each entry takes of them besides its name and value.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html; MinIO counts the prefix too.
"""
REFUSED_HINT = (
    'Turn on versioning of the bucket, or index without writing ([writeback] strategy = "none"). '
    "Where nobody overwrites or deletes new objects: [store.s3] if_match = true."
)
_MAX_REREAD = 256 << 20
"""Bytes of an object that is read again here, where the caller has not read it."""
_LOOKS = 3
"""Writes in a bucket after which the object is looked at, until a response is believed."""

Strategy = Literal["put", "copy"]


async def choose_strategy(
    wanted: str,
    state: ObjectState,
    versioning: Versioning,
    *,
    versions: Callable[[], Awaitable[list[Version]]],
    if_match: Callable[[], Awaitable[IfMatch]],
    copy_makes_version: Callable[[], Awaitable[bool]],
) -> Strategy:
    """How this object can be written without harm. Raises WriteRefused where it cannot."""
    makes_version = versioning.makes_version(state.ref.key)
    if not makes_version and state.version and any(version.id == NULL for version in await versions()):
        raise WriteRefused(
            "a write would replace an older version of it: the bucket no longer makes versions", code="version_lost"
        )
    if wanted == "copy" or (wanted == "auto" and makes_version and await copy_makes_version()):
        return "copy"
    condition = await if_match()
    # Versions do not help: a write that versitygw lets through beside a deletion leaves no delete marker.
    if not condition.atomic:
        raise WriteRefused(f"a newer upload could be lost: {condition.describe()}", code="if_match", hint=REFUSED_HINT)
    return "put"


def build_headers(state: ObjectState, metadata: Mapping[str, str]) -> dict[str, str]:
    """All headers of an object, with its metadata replaced. Raises WriteRefused.

    What did not change is repeated as the server showed it, not as it was decoded.
    """
    native: Native = state.native
    entries = {
        META + name: native.raw[name] if state.metadata.get(name) == value else value
        for name, value in metadata.items()
    }
    try:
        size = sum(len(name) + len(value.encode()) for name, value in entries.items())
        b"".join(value.encode() for value in native.headers.values())
    except UnicodeEncodeError as error:
        raise WriteRefused(
            "one of its headers is not UTF-8 and cannot be repeated", code="metadata_encoding"
        ) from error
    if size > MAX_METADATA:
        raise WriteRefused(f"its metadata would take {size} of {MAX_METADATA} bytes", code="metadata_full")
    return {**native.headers, **entries}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How an object is written, with all that is read for it."""

    strategy: Strategy
    makes_version: bool
    headers: Mapping[str, str]
    parts: tuple[Part, ...]

    @property
    def sends_bytes(self) -> bool:
        """Whether its bytes are sent again.

        Parts with checksums are, even for "copy": MinIO keeps no checksum of a part that it copies.
        """
        return self.strategy == "put" or any(part.checksums for part in self.parts)


class Writer:
    """Writes. No request that writes is repeated: after a lost response the object is looked at."""

    def __init__(self, client: Client, buckets: Buckets, versions: Versions, reader: Reader, probe: Probe) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._reader = reader
        self._probe = probe
        self._rules = BucketRules(buckets)
        self._kept: Counter[str] = Counter()
        """By bucket, how many writes in a row were looked at and found as their responses said."""

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """See `imgtag.plugin.store.Store.rewrite`. Raises Conflict, WriteRefused, Unavailable."""
        state = change.state
        _require_writable(state)
        try:
            if change.strategy == "tags":
                return await self._rewrite_tags(change)
            preparation = await self._prepare(change, self._probe.if_match, self._probe.copy_makes_version)
            await self._require_digest(change, preparation)
            now, written = await self._write(change, preparation)
            return await self._conclude(change, now, written)
        except S3Error as error:
            raise map_write_error(error, state.ref) from error

    async def forecast(self, change: Rewrite) -> Forecast:
        """What `rewrite` would do: the same decisions, up to the first request that writes. Raises Unavailable.

        What If-Match is worth is not tested for that, as a test needs a bucket; it is assumed to be atomic.
        """
        state, untested = change.state, set[str]()

        async def recall_if_match() -> IfMatch:
            kept = await self._probe.recall_if_match()
            untested.update(() if kept else ("if_match",))
            return kept or IfMatch(honoured=True)

        async def recall_copy_makes_version() -> bool:
            return await self._probe.recall_copy_makes_version() is not False

        try:
            _require_writable(state)
            if change.strategy == "tags":
                merge_tags(change)
                await self._tags(state)
                return Forecast(strategy="tags", changes_time=False)
            preparation = await self._prepare(change, recall_if_match, recall_copy_makes_version)
            await self._tags(state)
        except WriteRefused as error:
            return Forecast(refusal=error)
        except S3Error as error:
            failure = map_write_error(error, state.ref)
            if not isinstance(failure, WriteRefused):
                raise failure from error
            return Forecast(refusal=failure)
        rules = await self._rules.read(state.ref.bucket)
        restarted = [rule for rule in rules.lifecycle if rule.filter.matches(state)]
        targets = {rule.target for rule in rules.replication if rule.filter.matches(state)}
        return Forecast(
            strategy=preparation.strategy,
            makes_version=preparation.makes_version,
            bytes_sent=state.size if preparation.sends_bytes else 0,
            replicas=len(targets) if preparation.makes_version else 0,
            restarts=tuple(f"{state.ref.bucket}: {rule.name}" for rule in restarted),
            unknown=rules.unknown | untested,
        )

    async def copy_object(self, source: ObjectState, target: ObjectRef) -> bool:
        """See `imgtag.plugin.store.Copier.copy_object`. Raises Conflict, WriteRefused, Unavailable."""
        there = await self._reader.stat(target)
        if there is not None:
            # A copy is written whole, so a source that was uploaded in parts has another ETag than its copy.
            in_parts = "-" in source.etag
            if there.size != source.size or (there.etag != source.etag and not in_parts):
                raise Conflict(f"another object is at {target}", code="exists")
            return False
        try:
            await self._client.send("PUT", target.bucket, target.key, headers=copy_source_headers(source))
        except S3Error as error:
            raise map_write_error(error, source.ref) from error
        return True

    async def _prepare(
        self,
        change: Rewrite,
        if_match: Callable[[], Awaitable[IfMatch]],
        copy_makes_version: Callable[[], Awaitable[bool]],
    ) -> Preparation:
        """Decide how to write. Raises WriteRefused, S3Error."""
        state = change.state
        bucket = state.ref.bucket
        versioning = await self._buckets.versioning(bucket, plain=state.version is None)
        strategy = await choose_strategy(
            change.strategy,
            state,
            versioning,
            versions=lambda: self._versions.list_versions(state.ref),
            if_match=if_match,
            copy_makes_version=copy_makes_version,
        )
        if LOCK_MODE not in state.native.headers and await self._buckets.locks_by_default(bucket):
            raise WriteRefused("the bucket would put it under a retention that it does not have", code="retention")
        if SSE not in state.native.headers and await self._buckets.encrypts_by_default(bucket):
            raise WriteRefused("the bucket would encrypt it, and it is not encrypted", code="encryption")
        return Preparation(
            strategy=strategy,
            makes_version=versioning.makes_version(state.ref.key),
            headers={**build_headers(state, change.metadata), **await read_grants(self._client, state)},
            parts=await multipart.read_parts(self._client, state),
        )

    async def _require_digest(self, change: Rewrite, preparation: Preparation) -> None:
        """Raise WriteRefused(code="checksum") where the body has another digest than is said; a worker may lie.

        Where the body is sent and the server verifies the digest, a wrong one makes it refuse the write.
        """
        if change.body is None or change.digest is None:
            return
        if preparation.sends_bytes and not preparation.parts and await self._probe.verifies_digest():
            return
        if await digest_body(sha256, change.body) != change.digest:
            raise WriteRefused("the bytes that were read do not have the SHA-256 that is said of them", code="checksum")

    async def _write(self, change: Rewrite, preparation: Preparation) -> tuple[ObjectState, Written]:
        """The object just before the write, and what was written."""
        state, headers, parts = change.state, preparation.headers, preparation.parts
        write: Callable[[], Awaitable[Written]]
        if preparation.sends_bytes:
            write = await self._sending(change, headers, parts)
        elif parts:
            send = multipart.send_by_copy(self._client, state)
            write = partial(multipart.rewrite_parts, self._client, state, headers, parts, send)
        else:
            write = partial(copy_object, self._client, state, headers)
        before = await self._require_unchanged(state)
        failure: ImgtagError
        try:
            return before, await write()
        except NoResponse as error:
            failure = error
        except S3Error as error:
            failure = map_write_error(error, change.state.ref)
            if error.status < 500 or isinstance(failure, (BucketAbsent, WriteRefused)):
                raise failure from error
        # The response was lost, not necessarily the write: if the object has our metadata now, it succeeded.
        now = await self._reader.stat(change.state.ref)
        if now is None or dict(now.metadata) != dict(change.metadata) or now == change.state:
            raise failure
        return before, Written(now.version or "")

    async def _sending(
        self, change: Rewrite, headers: Mapping[str, str], parts: tuple[Part, ...]
    ) -> Callable[[], Awaitable[Written]]:
        """The request that sends the bytes again: those that were read already, else read part by part."""
        client, state, data = self._client, change.state, change.body
        if parts and data is None:

            async def read(part: Part) -> bytes:
                return await self._reader.read(state, _MAX_REREAD, start=part.start, size=part.size)

        else:
            body = await self._reader.read(state, _MAX_REREAD) if data is None else data
            verify_body(state, body)
            if not parts:
                return partial(put_object, client, state, headers, body, change.digest)

            async def read(part: Part) -> bytes:
                return body[part.start : part.end]

        send = multipart.send_by_bytes(client, state, read)
        return partial(multipart.rewrite_parts, client, state, headers, parts, send)

    async def _require_unchanged(self, state: ObjectState) -> ObjectState:
        """Read headers and tags once more, just before the write. Raises Conflict."""
        now = await self._reader.stat(state.ref)
        if now is None or now != state or now.native != state.native or await self._tags(now) != state.tags:
            raise Conflict(f"{state.ref} changed while it was being processed")
        return now

    async def _tags(self, now: ObjectState) -> Mapping[str, str]:
        """Requested by themselves, unless the headers prove that there are none."""
        if self._reader.tag_rights.proves_no_tags(now):
            return {}
        try:
            return await self._reader.tags(now.ref, now.version)
        except S3Error as error:
            if error.denied:
                raise WriteRefused("its tags may not be read, so they could be lost", code="tags_unknown") from error
            if error.status in {405, 501}:
                return {}
            raise

    async def _conclude(self, change: Rewrite, before: ObjectState, written: Written) -> ObjectState:
        """The object after the write. Raises Conflict where it is not what was written, or hid something newer.

        The response says all of it but the time, which is known where MinIO's clock showed one second before and after
        the write. (A `Date` beside another `Server` may be a proxy's, and `Last-Modified` is not of that clock.) So the
        object is looked at after the first writes in a bucket only: what a server keeps of one write it keeps of the
        next. Later writes are confirmed by their events, which carry the metadata.
        """
        ref, version = change.state.ref, written.version
        if version and await self._versions.withdraw_if_hiding(ref, version, change.state.version or NULL):
            raise Overwritten(f"a newer version of {ref} arrived during the write")
        native: Native = before.native
        modified = parse_time(written.date) if native.is_minio and "" != written.date == native.date else 0.0
        if modified and self._kept[ref.bucket] >= _LOOKS and written.etag == before.etag:
            return replace(
                before,
                metadata=change.metadata,
                modified=modified,
                version=version or None,
                revision=version or written.date,
                request=written.request,
                is_assumed=True,
            )
        after = await self._reader.stat(ref)
        if after is None or not change.metadata.items() <= after.metadata.items() or (after.version or "") != version:
            raise Overwritten(f"{ref} changed right after the write")
        if modified:
            self._kept[ref.bucket] = self._kept[ref.bucket] + 1 if after.modified == modified else 0
        return replace(after, request=written.request)

    async def _rewrite_tags(self, change: Rewrite) -> ObjectState:
        state = change.state
        tags = merge_tags(change)
        await self._require_unchanged(state)
        await write_tags(self._client, state, tags)
        after = await self._reader.stat(state.ref)
        if after is None:
            raise Overwritten(f"{state.ref} was deleted right after the write")
        return after


def _require_writable(state: ObjectState) -> None:
    """Raise WriteRefused where the object itself says that it may not be written."""
    if code := state.readonly or state.unreadable:
        raise WriteRefused(f"it may not be written ({code})", code=code)
