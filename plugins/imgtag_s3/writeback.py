"""Writing metadata on an object and leaving all the rest of it as it was.

an object with versions, whose next write makes another -> copy     then ours must lie on its source
one without, where the server honours If-Match          -> put
anything else                                           -> refused
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectState
from imgtag_s3 import multipart
from imgtag_s3.acl import grants
from imgtag_s3.buckets import Buckets, Versioning
from imgtag_s3.client import Client
from imgtag_s3.copy import copy
from imgtag_s3.errors import Fault, NoAnswer, while_writing
from imgtag_s3.probe import Probe
from imgtag_s3.put import put, verify
from imgtag_s3.reading import Reader
from imgtag_s3.state import LOCK_MODE, META, SSE, Native
from imgtag_s3.tags import tagged, write_tags
from imgtag_s3.versions import NULL, Version, Versions

METADATA_LIMIT, METADATA_OVERHEAD = 2048, len(META)
"""Bytes of user metadata, and what each entry takes of them beside its name and value.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html; MinIO counts the prefix too.
"""
_READ_AGAIN = 256 << 20
"""Bytes of an object that is read here, where whoever asks for the write has not read it."""

Strategy = Literal["put", "copy"]
Slices = Callable[[multipart.Part], bytes]


def choose(
    wanted: str,
    state: ObjectState,
    versioning: Versioning,
    *,
    versions: Callable[[], list[Version]],
    if_match: Callable[[], bool],
) -> Strategy:
    """How this object can be written without harm. Raises WriteRefused where it cannot."""
    another = versioning.makes_version(state.ref.key)
    if not another and state.version and any(version.id == NULL for version in versions()):
        raise WriteRefused(
            "a write would replace an older version of it: the bucket makes no more versions", code="version_lost"
        )
    if wanted == "copy" or (wanted == "auto" and another):
        return "copy"
    if not if_match():
        raise WriteRefused(
            "the store does not honour If-Match, so a newer upload could be lost",
            code="if_match",
            hint='Turn on versioning of the bucket, or index without writing: [writeback] strategy = "none".',
        )
    return "put"


def headers_of(state: ObjectState, metadata: Mapping[str, str]) -> dict[str, str]:
    """All that an object has in headers, its metadata replaced. Raises WriteRefused."""
    native: Native = state.native
    sent = {META + name: _verbatim(state, name, value) for name, value in metadata.items()}
    try:
        size = sum(len(name) + len(value.encode()) for name, value in sent.items())
        b"".join(value.encode() for value in native.headers.values())
    except UnicodeEncodeError as error:
        raise WriteRefused(
            "one of its headers is not UTF-8 and cannot be sent again", code="metadata_encoding"
        ) from error
    if size > METADATA_LIMIT:
        raise WriteRefused(f"its metadata would take {size} of {METADATA_LIMIT} bytes", code="metadata_full")
    return {**native.headers, **sent}


def _verbatim(state: ObjectState, name: str, value: str) -> str:
    """What was not changed goes back as the server showed it, not as it was read."""
    return state.native.raw[name] if state.metadata.get(name) == value else value


class Writer:
    """Writes. No request that writes is sent twice: after a lost answer the object is looked at."""

    def __init__(self, client: Client, buckets: Buckets, versions: Versions, reader: Reader, probe: Probe) -> None:
        self._client = client
        self._buckets = buckets
        self._versions = versions
        self._reader = reader
        self._probe = probe

    def rewrite(self, change: Rewrite) -> ObjectState:
        """See `imgtag.plugin.store.Store.rewrite`. Raises Conflict, WriteRefused, Unavailable."""
        state = change.state
        code = state.readonly or state.unreadable
        if code:
            raise WriteRefused(f"nothing may be written on it ({code})", code=code)
        try:
            if change.strategy == "tags":
                return self._tag(change)
            return self._checked(change, self._write(change, self._strategy(change)))
        except Fault as fault:
            raise while_writing(fault, state.ref) from fault

    def _strategy(self, change: Rewrite) -> Strategy:
        state = change.state
        bucket = state.ref.bucket
        strategy = choose(
            change.strategy,
            state,
            self._buckets.versioning(bucket, plain=state.version is None),
            versions=lambda: self._versions.of(state.ref),
            if_match=self._probe.honours_if_match,
        )
        if LOCK_MODE not in state.native.headers and self._buckets.locks_by_default(bucket):
            raise WriteRefused("the bucket would put a retention on it that it has not got", code="retention")
        if SSE not in state.native.headers and self._buckets.encrypts_by_default(bucket):
            raise WriteRefused("the bucket would encrypt it, and it is not encrypted", code="encryption")
        return strategy

    def _write(self, change: Rewrite, strategy: Strategy) -> str:
        """The id of the version that was written, or nothing where the store keeps none."""
        state = change.state
        headers = {**headers_of(state, change.metadata), **grants(self._client, state)}
        parts = multipart.parts(self._client, state)
        # MinIO keeps no checksum of a part that it copies.
        send = strategy == "put" or bool(parts and state.native.checksums)
        body = self._body(change, parts) if send else None
        write = self._request(state, headers, parts, body)
        self._unchanged(state)
        return self._sent(change, write)

    def _request(
        self, state: ObjectState, headers: Mapping[str, str], parts: tuple[multipart.Part, ...], body: Slices | None
    ) -> Callable[[], str]:
        client = self._client
        if parts and body:
            return lambda: multipart.again(client, state, headers, parts, multipart.by_bytes(client, state, body))
        if parts:
            return lambda: multipart.again(client, state, headers, parts, multipart.by_copy(client, state))
        if body:
            data = body(multipart.whole(state))
            verify(state, data)
            return lambda: put(client, state, headers, data)
        return lambda: copy(client, state, headers)

    def _body(self, change: Rewrite, parts: tuple[multipart.Part, ...]) -> Slices:
        """The bytes of each part: from what was read already, else from the store, a part at a time."""
        state, data = change.state, change.body
        if data is None and parts:
            return lambda part: self._reader.read(state, _READ_AGAIN, start=part.start, size=part.size)
        whole = self._reader.read(state, _READ_AGAIN) if data is None else data
        if len(whole) != state.size:
            raise WriteRefused(f"{len(whole):,} bytes were read of {state.size:,}", code="checksum")
        return lambda part: whole[part.start : part.end]

    def _unchanged(self, state: ObjectState) -> None:
        """Headers and tags once more, just before the write. Raises Conflict."""
        now = self._reader.look(state.ref)
        if now is None or now != state or now.native != state.native or self._tags(state) != state.tags:
            raise Conflict(f"{state.ref} changed while it was being worked on")

    def _tags(self, state: ObjectState) -> Mapping[str, str]:
        """Asked for by themselves: a HEAD counts them only for those who may read them."""
        try:
            return self._reader.tags(state.ref, state.version)
        except Fault as fault:
            if fault.denied:
                raise WriteRefused("its tags must not be read, so they could be lost", code="tags_unknown") from fault
            if fault.status in {405, 501}:
                return {}
            raise

    def _sent(self, change: Rewrite, write: Callable[[], str]) -> str:
        lost: ImgtagError
        try:
            return write().replace(NULL, "")
        except NoAnswer as error:
            lost = error
        except Fault as fault:
            lost = while_writing(fault, change.state.ref)
            if fault.status < 500 or isinstance(lost, (BucketAbsent, WriteRefused)):
                raise lost from fault
        now = self._reader.look(change.state.ref)
        if now is None or dict(now.metadata) != dict(change.metadata) or now == change.state:
            raise lost
        return now.version or ""

    def _checked(self, change: Rewrite, version: str) -> ObjectState:
        """The object after the write. Raises Conflict where it is not what was written, or hid something newer."""
        state = change.state
        if version and self._versions.settle(state.ref, version, state.version or NULL):
            raise Conflict(f"a newer version of {state.ref} came while it was written")
        after = self._reader.look(state.ref)
        if after is None or not change.metadata.items() <= after.metadata.items() or (after.version or "") != version:
            raise Conflict(f"{state.ref} changed right behind the write")
        return after

    def _tag(self, change: Rewrite) -> ObjectState:
        state = change.state
        tags = tagged(state, change.metadata)
        self._unchanged(state)
        write_tags(self._client, state, tags)
        after = self._reader.look(state.ref)
        if after is None:
            raise Conflict(f"{state.ref} was deleted right behind the write")
        return after
