"""A folder as a store."""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from imgtag.errors import BucketAbsent, Conflict, ImgtagError
from imgtag.plugin.store import Rewrite, StoreFeatures
from imgtag.types.metadata import MARK
from imgtag_directory.attributes import Attributes
from imgtag_directory.doctor import store_checks
from imgtag_directory.objects import Objects, Opened
from imgtag_directory.root import Root
from imgtag_directory.walk import PAGE, Walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from types import TracebackType

    from imgtag.plugin.service import Change, Check
    from imgtag.plugin.spec import PluginContext
    from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope
    from imgtag_directory.settings import DirectoryStoreSettings

THREADS = 8
AHEAD = 1 << 19
"""Bytes of a file that is read along with its state."""
T = TypeVar("T")


class Body:
    """An object opened for reading; ``ahead`` are its bytes where they were read along with its state."""

    def __init__(self, opened: Opened, ahead: bytes | None, limiter: CapacityLimiter) -> None:
        self.state = opened.state
        self._opened = opened
        self._ahead = ahead
        self._limiter = limiter

    async def read(self, limit: int) -> bytes:
        """All bytes. Raises Unreadable, Conflict, Unavailable."""
        if self._ahead is not None:
            return self._opened.within(limit, self._ahead)
        return await to_thread.run_sync(self._opened.read, limit, limiter=self._limiter)


class DirectoryStore:
    """The one bucket is the root; its objects are told in ``Objects``, their metadata in ``Attributes``."""

    features = StoreFeatures()

    def __init__(self, settings: DirectoryStoreSettings, context: PluginContext) -> None:
        self._root = Root(settings.root, settings.marker)
        self._attributes = Attributes(context.state_dir, context.site, self._root.bucket)
        self._objects = Objects(self._root, self._attributes)
        self._limiter = CapacityLimiter(THREADS)

    async def __aenter__(self) -> Self:
        await self._run(self._attributes.sweep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None when it is certainly absent."""
        return await self._run(lambda: self._objects.stat(ref))

    @asynccontextmanager
    async def open(self, ref: ObjectRef, *, if_match: str | None = None) -> AsyncIterator[Body | None]:
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
        """The object; what is small and surely wanted is read at once, which saves a change of threads."""
        opened = self._objects.open(ref)
        if opened is None or not _wanted(opened.state):
            return opened, None
        try:
            ahead = opened.read(AHEAD)
        except ImgtagError:
            return opened, None  # told to whoever reads
        opened.close()
        return opened, ahead

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata on the very file that ``change`` was made from."""
        return await self._run(lambda: self._objects.rewrite(change.state, change.metadata))

    async def list(self, scope: Scope, *, after: str = "") -> AsyncIterator[Listed]:
        """The objects of ``scope`` in the order of their keys."""
        if scope.bucket != self._root.bucket:
            raise BucketAbsent(f"there is one bucket, {self._root.bucket}, and not {scope.bucket}")
        found = self._walk().objects(scope.prefix, after)
        while page := await self._run(lambda: list(islice(found, PAGE))):
            for each in page:
                yield each

    async def buckets(self) -> tuple[str, ...]:
        """The one bucket."""
        return (self._root.bucket,)

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:  # noqa: ARG002
        """A new file; its type is that of its suffix. An empty root will do, as that of a new installation is."""
        return await self._run(lambda: self._objects.create(ref, data))

    async def erase(self, ref: ObjectRef) -> None:
        """Remove the file, with what was kept aside of it."""
        await self._run(lambda: self._objects.erase(ref))

    async def checks(self) -> AsyncIterator[Check]:
        """The root, what may be read there, and where labels will go."""
        for check in await self._run(lambda: store_checks(self._root, self._walk())):
            yield check

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002
        """Nothing is needed."""
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was made."""
        return None

    def policy(self) -> str | None:
        """A folder has none."""
        return None

    def _walk(self) -> Walk:
        return Walk(self._root, self._objects)

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)


def _wanted(state: ObjectState) -> bool:
    unseen = state.unreadable is None and MARK not in state.metadata
    return unseen and state.size <= AHEAD and state.content_type.startswith("image/")
