"""A folder as a store."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, WriteRefused
from imgtag.plugin import Forecast, ServiceBase, StoreFeatures
from imgtag.types.metadata import MARK
from imgtag_directory.attributes import Attributes
from imgtag_directory.checks import store_checks
from imgtag_directory.objects import Objects, Opened
from imgtag_directory.root import Root
from imgtag_directory.walk import PAGE, Walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from imgtag.plugin import Check, Listed, ObjectRef, ObjectState, PluginContext, Rewrite, Scope
    from imgtag_directory.settings import DirectoryStoreSettings

MAX_THREADS = 8
MAX_READ_AHEAD = 1 << 19
"""Bytes of a file that is read along with its state."""
T = TypeVar("T")


class Body:
    """An object opened for reading; ``ahead``: its bytes, if they were read along with its state."""

    def __init__(self, opened: Opened, ahead: bytes | None, limiter: CapacityLimiter) -> None:
        self.state = opened.state
        self._opened = opened
        self._ahead = ahead
        self._limiter = limiter

    async def read(self, limit: int) -> bytes:
        """All bytes. Raises Unreadable, Conflict, Unavailable."""
        if self._ahead is not None:
            return self._opened.require_within(limit, self._ahead)
        return await to_thread.run_sync(self._opened.read, limit, limiter=self._limiter)

    async def read_range(self, start: int, size: int) -> bytes:
        """Exactly these bytes. Raises Unreadable, Conflict, Unavailable."""
        if self._ahead is not None:
            return self._ahead[start : start + size]
        return await to_thread.run_sync(self._opened.read_range, start, size, limiter=self._limiter)


class DirectoryStore(ServiceBase):
    """The one bucket is the root; ``Objects`` says what its objects are, ``Attributes`` where their metadata is."""

    features = StoreFeatures(tells_refusals=True)

    def __init__(self, settings: DirectoryStoreSettings, context: PluginContext) -> None:
        self._root = Root(settings.root, settings.marker)
        self._attributes = Attributes(context.state_dir, context.site, self._root.bucket, read_only=context.read_only)
        self._objects = Objects(self._root, self._attributes)
        self._limiter = CapacityLimiter(MAX_THREADS)

    async def __aenter__(self) -> Self:
        await self._run(self._attributes.sweep)
        return self

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None if it is certainly absent."""
        return await self._run(lambda: self._objects.stat(ref))

    @asynccontextmanager
    async def open(
        self,
        ref: ObjectRef,
        *,
        if_match: str | None = None,
        read_ahead: int = 0,  # noqa: ARG002
    ) -> AsyncIterator[Body | None]:
        """The object for reading."""
        opened, ahead = await self._run(lambda: self._open(ref))
        if opened is None:
            yield None
            return
        try:
            if if_match is not None and if_match != opened.state.etag:
                raise Conflict
            yield Body(opened, ahead, self._limiter)
        finally:
            if opened.file is not None:
                with anyio.CancelScope(shield=True):
                    await self._run(opened.close)

    def _open(self, ref: ObjectRef) -> tuple[Opened | None, bytes | None]:
        """The object; one that is small and surely needed is read at once, which saves a switch of threads."""
        opened = self._objects.open(ref)
        if opened is None:
            return None, None
        state = opened.state
        is_unseen_image = (
            state.unreadable is None and MARK not in state.metadata and state.content_type.startswith("image/")
        )
        if not is_unseen_image or state.size > MAX_READ_AHEAD:
            return opened, None
        try:
            ahead = opened.read(MAX_READ_AHEAD)
        except ImgtagError:
            return opened, None  # the error will come again when the body is read
        opened.close()
        return opened, ahead

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata on the very file that ``change`` was made from."""
        return await self._run(lambda: self._objects.rewrite(change.state, change.metadata))

    async def forecast(self, change: Rewrite) -> Forecast:
        """Labels go beside the bytes of the file: neither these nor its time change."""
        code = change.state.readonly or change.state.unreadable
        return Forecast(refusal=WriteRefused(code=code) if code else None, strategy="attributes", changes_time=False)

    async def copy_object(self, source: ObjectState, target: ObjectRef) -> bool:
        """Copy a file with its time, without attributes; whether it was not there already."""
        return await self._run(lambda: self._objects.copy(source, target))

    async def list(self, scope: Scope, *, after: str = "", with_metadata: bool = False) -> AsyncIterator[Listed]:  # noqa: ARG002
        """The objects of ``scope`` in the order of their keys; their revision tells as much as their metadata."""
        if scope.bucket != self._root.bucket:
            raise BucketAbsent(f"the only bucket is {self._root.bucket}, not {scope.bucket}")
        objects = Walk(self._root, self._objects.look).objects(scope.prefix, after)
        while page := await self._run(lambda: list(islice(objects, PAGE))):
            for listed in page:
                yield listed

    async def buckets(self) -> tuple[str, ...]:
        """The one bucket."""
        return (self._root.bucket,)

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:  # noqa: ARG002
        """A new file; its type is that of its suffix. The root may be empty, as in a new installation."""
        return await self._run(lambda: self._objects.create(ref, data))

    async def erase(self, ref: ObjectRef) -> None:
        """Remove the file and its record."""
        await self._run(lambda: self._objects.erase(ref))

    async def checks(self) -> AsyncIterator[Check]:
        """The root, what is readable there, and where labels will go."""
        for check in await self._run(lambda: store_checks(self._root, self._objects)):
            yield check

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)
