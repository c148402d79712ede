"""An S3-compatible server as a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from imgtag.errors import Conflict
from imgtag.plugin.service import Change, Check, ServiceBase
from imgtag.plugin.spec import PluginContext
from imgtag.plugin.store import Forecast, Rewrite, StoreFeatures
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
from imgtag_s3.buckets import Buckets
from imgtag_s3.checks import StoreChecks
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_request_error
from imgtag_s3.policy import build_policy
from imgtag_s3.probe import Probe
from imgtag_s3.reader import Reader
from imgtag_s3.sample import SampleObjects
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.setup import NotificationSetup
from imgtag_s3.versions import Versions
from imgtag_s3.writeback import MAX_METADATA, METADATA_OVERHEAD, Writer

MAX_READ_AHEAD = 4 << 20
"""Bytes that one request for headers and bytes may bring: the sockets' buffers hold so many, so that a MinIO has let
go of the key's lock before they are read. See docs/design/20261121-s3-requests.md."""


class Body:
    """An object that was looked at; bytes that the look did not bring are requested on demand, by ETag and version.

    Those of a large object come in a request of their own: MinIO blocks writes to a key until a response with its bytes
    was read to the end, and they may have to wait for memory.
    """

    def __init__(self, state: ObjectState, data: bytes | None, reader: Reader) -> None:
        self.state = state
        self._data = data
        self._reader = reader

    async def read(self, limit: int) -> bytes:
        """All bytes as they are stored. Raises Unreadable, Conflict, Unavailable."""
        data, self._data = self._data, None  # held by the caller alone, who may let go of them
        if data is not None and self.state.size <= limit:
            return data
        return await self._reader.read(self.state, limit)

    async def read_range(self, start: int, size: int) -> bytes:
        """A part of the bytes, in a request of its own. Raises Conflict, Unavailable."""
        return await self._reader.read(self.state, size, start=start, size=size)


class S3Store(ServiceBase):
    """`Reader` reads objects and `Writer` writes them."""

    features = StoreFeatures(
        metadata_limit=MAX_METADATA, metadata_overhead=METADATA_OVERHEAD, sure_when_empty=False, verifies_digest=True
    )

    def __init__(self, settings: S3StoreSettings, context: PluginContext) -> None:
        self._settings = settings
        self._context = context
        self._client = Client(settings)
        self._is_minio = True
        self._buckets = buckets = Buckets(self._client)
        self._versions = versions = Versions(self._client, context.site)
        probe = Probe(self._client, settings, context.state_dir)
        self._reader = Reader(self._client, buckets, versions, write_on=settings.write_on, read_only=context.read_only)
        self._writer = Writer(self._client, buckets, versions, self._reader, probe)
        self._sample = SampleObjects(self._client, buckets, versions, self._reader)
        self._notifications = NotificationSetup(self._client, settings, context)
        self._checks = StoreChecks(self._client, buckets, probe, settings, context)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        try:
            await self._connect()
        except BaseException:
            await self._client.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None when it is certainly absent."""
        return await self._reader.stat(ref)

    @asynccontextmanager
    async def open(
        self, ref: ObjectRef, *, if_match: str | None = None, read_ahead: int = 0
    ) -> AsyncIterator[Body | None]:
        """The object for reading."""
        state, data = await self._reader.look(ref, min(read_ahead, MAX_READ_AHEAD))
        if state is not None and if_match not in {None, state.etag}:
            raise Conflict(f"{ref} has changed")
        yield None if state is None else Body(state, data, self._reader)

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata, on exactly the object that ``change`` was made from."""
        return await self._writer.rewrite(change)

    async def forecast(self, change: Rewrite) -> Forecast:
        """What `rewrite` would do, by the same decisions; nothing is written or created."""
        return await self._writer.forecast(change)

    async def copy_object(self, source: ObjectState, target: ObjectRef) -> bool:
        """Copy within the server, with metadata, tags and type; whether it was not there already."""
        return await self._writer.copy_object(source, target)

    async def list(self, scope: Scope, *, after: str = "", with_metadata: bool = False) -> AsyncIterator[Listed]:
        """The objects of ``scope`` in the order of their keys, on MinIO with their metadata where these are wanted."""
        async for listed in self._reader.list_objects(scope, after, with_metadata=with_metadata and self._is_minio):
            yield listed

    async def list_misplaced(self, scope: Scope) -> AsyncIterator[ObjectRef]:
        """The objects that a version of ours hides, in order; no version is listed where the bucket has none."""
        try:
            if (await self._buckets.versioning(scope.bucket)).status:
                async for ref in self._versions.list_misplaced(scope):
                    yield ref
        except S3Error as error:
            raise map_request_error(error) from error

    async def buckets(self) -> tuple[str, ...]:
        """The buckets that our user may list."""
        return await self._reader.list_buckets()

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """Create an object where the key never had one."""
        return await self._sample.create(ref, data, content_type)

    async def erase(self, ref: ObjectRef) -> None:
        """Remove every version and delete marker of the key."""
        await self._sample.erase(ref)

    async def checks(self) -> AsyncIterator[Check]:
        """Server, clock, buckets, permissions, header names, and how labels are written here."""
        async for check in self._checks.run():
            yield check

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Add notifications to the buckets that the rules name, beside those of others, if the source needs them."""
        if not self._context.needs_notifications:
            return []
        return await self._notifications.set_up(apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Remove a notification that setup created; the others stay."""
        return await self._notifications.undo(record, apply=apply)

    def policy(self) -> str | None:
        """An IAM policy; once entered, for the kind of server that responded."""
        return self.policy_with(())

    def policy_with(self, commands: Collection[str]) -> str | None:
        """As `policy`; with `plan`, it permits reading the rules of lifecycle and replication as well."""
        locks = bool(self._settings.write_on & {"retention", "legal_hold"})
        tags = "tags" in self._context.strategies
        prefix = self._settings.probe_prefix
        return build_policy(
            self._context.buckets,
            prefix,
            locks=locks,
            tags=tags,
            plans="plan" in commands,
            is_minio=self._is_minio,
            inventory_buckets=self._context.inventory_buckets,
        )

    async def _connect(self) -> None:
        """Raise Unavailable where nothing responds, or the credentials are rejected."""
        try:
            server = (await self._client.send("GET")).headers.get("Server", "")
        except S3Error as error:
            if error.code != "AccessDenied":  # it knows the user, who may only not list buckets
                raise map_request_error(error) from error
            server = error.server
        self._is_minio = server.startswith("MinIO")
