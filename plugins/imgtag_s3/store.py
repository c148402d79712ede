"""An S3-compatible server as a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import CapacityLimiter, to_thread

from imgtag.errors import Conflict
from imgtag.plugin.service import Change, Check
from imgtag.plugin.spec import PluginContext
from imgtag.plugin.store import Rewrite, StoreFeatures
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client
from imgtag_s3.doctor import Doctor
from imgtag_s3.errors import Fault, while_asking
from imgtag_s3.notify import Notifications
from imgtag_s3.policy import policy
from imgtag_s3.probe import Probe
from imgtag_s3.reading import Reader
from imgtag_s3.sample import Sample
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.versions import Versions
from imgtag_s3.writeback import METADATA_LIMIT, METADATA_OVERHEAD, Writer

PAGE = 1000
"""Objects that a server lists in one answer."""
T = TypeVar("T")


class Body:
    """An object that was looked at; its bytes are asked for when they are wanted, by its ETag and version.

    Not in the same request: a MinIO lets nobody write on a key while an answer with its bytes is not read to the end.
    """

    def __init__(self, state: ObjectState, read: Callable[[ObjectState, int], bytes], limiter: CapacityLimiter) -> None:
        self.state = state
        self._read = read
        self._limiter = limiter

    async def read(self, limit: int) -> bytes:
        """All bytes as they are stored. Raises Unreadable, Conflict, Unavailable."""
        return await to_thread.run_sync(self._read, self.state, limit, limiter=self._limiter)


class S3Store:
    """Objects are read in `Reader` and written in `Writer`, by threads of its own."""

    features = StoreFeatures(metadata_limit=METADATA_LIMIT, metadata_overhead=METADATA_OVERHEAD, sure_when_empty=False)

    def __init__(self, settings: S3StoreSettings, context: PluginContext) -> None:
        self._settings = settings
        self._context = context
        self._client = Client(settings)
        self._minio = True
        self._limiter = CapacityLimiter(settings.connections)
        buckets, versions = Buckets(self._client), Versions(self._client, context.site)
        probe = Probe(self._client, settings)
        self._reader = Reader(self._client, buckets, versions, write_on=settings.write_on)
        self._writer = Writer(self._client, buckets, versions, self._reader, probe)
        self._sample = Sample(self._client, buckets, versions, self._reader)
        self._notifications = Notifications(self._client, settings, context)
        self._doctor = Doctor(self._client, buckets, probe, settings, context)

    async def __aenter__(self) -> Self:
        await self._run(self._connected)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None when it is certainly absent."""
        return await self._run(lambda: self._reader.look(ref))

    @asynccontextmanager
    async def open(self, ref: ObjectRef, *, if_match: str | None = None) -> AsyncIterator[Body | None]:
        """The object for reading."""
        state = await self.stat(ref)
        if state is not None and if_match not in {None, state.etag}:
            raise Conflict(f"{ref} is no longer what it was")
        yield None if state is None else Body(state, self._reader.read, self._limiter)

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata, on exactly the object that ``change`` was made from."""
        return await self._run(lambda: self._writer.rewrite(change))

    async def list(self, scope: Scope, *, after: str = "") -> AsyncIterator[Listed]:
        """The objects of ``scope`` in the order of their keys."""
        found = self._reader.objects(scope, after)
        while page := await self._run(lambda: list(islice(found, PAGE))):
            for each in page:
                yield each

    async def buckets(self) -> tuple[str, ...]:
        """The buckets that we may see."""
        return await self._run(self._bucket_names)

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """A new object, where the key never had one."""
        return await self._run(lambda: self._sample.create(ref, data, content_type))

    async def erase(self, ref: ObjectRef) -> None:
        """Remove every version and delete marker of the key."""
        await self._run(lambda: self._sample.erase(ref))

    async def checks(self) -> AsyncIterator[Check]:
        """Server, clock, buckets, permissions, names of headers, and how labels are written here."""
        found = self._doctor.checks()
        while page := await self._run(lambda: list(islice(found, 1))):
            yield page[0]

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Notifications of the buckets that the rules name, beside those that are there."""
        return await self._run(lambda: self._notifications.set_up(apply=apply))

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Take a notification back that setup made; the others stay."""
        return await self._run(lambda: self._notifications.undo(record, apply=apply))

    def policy(self) -> str | None:
        """An IAM policy; once entered, for the kind of server that answered."""
        locks = bool(self._settings.write_on & {"retention", "legal_hold"})
        tags = "tags" in self._context.strategies
        prefix = self._settings.probe_prefix
        return policy(self._context.buckets, prefix, locks=locks, tags=tags, minio=self._minio)

    def _connected(self) -> None:
        """Raises Unavailable where nothing answers, or the credentials are not taken."""
        try:
            server = self._client.send("GET").headers.get("Server", "")
        except Fault as fault:
            if fault.code != "AccessDenied":
                raise while_asking(fault) from fault
            server = fault.server
        self._minio = server.startswith("MinIO")

    def _bucket_names(self) -> tuple[str, ...]:
        try:
            with self._client.buckets() as minio:
                return tuple(bucket.name for bucket in minio.list_buckets())
        except Fault as fault:
            raise while_asking(fault) from fault

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
