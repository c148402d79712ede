"""Stores: where objects live."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from imgtag.errors import WriteRefused
from imgtag.plugin.service import Service
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope


@dataclass(frozen=True, kw_only=True)
class StoreFeatures:
    """Limits and habits of a store.

    ``metadata_limit``: bytes that all user metadata of an object may take, counted as name + value +
    ``metadata_overhead`` an entry (S3: 2048 and the 11 of ``x-amz-meta-``); None where there is none.
    ``tells_refusals``: an object that may not be read, or not be written, for lack of permission or on a read-only
    file system says so in its state already; so one that was refused is looked at again, at no cost, once it may be.
    ``sure_when_empty``: False where a bucket that shows nothing may be one of the same name on the wrong server.
    ``verifies_digest``: ``rewrite`` refuses a body whose SHA-256 is not the ``digest`` that is said of it, so a worker,
    which a hostile image may have taken over, can be asked for it.
    """

    metadata_limit: int | None = None
    metadata_overhead: int = 0
    sure_when_empty: bool = True
    tells_refusals: bool = False
    verifies_digest: bool = False


class Body(Protocol):
    """An object opened for reading: what it is, and then its bytes if they are wanted."""

    state: ObjectState

    async def read(self, limit: int) -> bytes:
        """All bytes, unchanged.

        Raises Unreadable(code="too_large") over ``limit``, Conflict when they are not those of ``state``.
        """
        ...


@runtime_checkable
class RangedBody(Body, Protocol):
    """A body that can also be read in parts, so that a file of any length takes little memory. Optional."""

    async def read_range(self, start: int, size: int) -> bytes:
        """Exactly ``size`` bytes from ``start`` on, unchanged. Raises Conflict when they are not those of ``state``."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """New user metadata for an object, all of it: what is not named here goes.

    ``state`` is what it was made from: where the object is no longer that, nothing may be written and
    Conflict is raised. ``body`` holds the bytes of that state, for a strategy that sends them again, and ``digest``
    their SHA-256, where it is known; only as somebody says where the store has ``verifies_digest``.

    With the strategy ``tags`` the metadata stay as they are, and ``labels`` (entry name -> confidence) become tags of
    the object. A tag whose name begins with ``label_prefix``, and whose value is a confidence, is an older label.
    """

    state: ObjectState
    metadata: Mapping[str, str]
    body: bytes | None = None
    digest: bytes | None = None
    strategy: str = "auto"
    labels: Mapping[str, str] = field(default_factory=dict)
    label_prefix: str = "imgtag_"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a rewrite of an object would do, as far as it shows without a write.

    ``refusal``: why nothing would be written; the rest does not matter then. ``strategy``: how it would be written, in
    the store's words. ``makes_version``: the old version would stay beside the new one. ``changes_time``: the object
    would look modified. ``bytes_sent``: bytes of the object that would be sent to the store again. ``replicas``: other
    stores that the object would be sent to again. ``restarts``: rules of the bucket that count days since the last
    change, and would count from the write, as a person reads them. ``unknown``: what could not be found out, such as
    a setting of the bucket that may not be read.
    """

    refusal: WriteRefused | None = None
    strategy: str = ""
    makes_version: bool = False
    changes_time: bool = True
    bytes_sent: int = 0
    replicas: int = 0
    restarts: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()


class Forecaster(Protocol):
    """What a store may have besides: `imgtag plan` asks it. A store without it is planned for by `Store.stat` alone."""

    async def forecast(self, change: Rewrite) -> Forecast:
        """What ``rewrite`` of this change would do now. Nothing is changed or created anywhere. Raises Unavailable.

        It decides by the code that ``rewrite`` decides by, so that the two cannot disagree.
        """
        ...


class Copier(Protocol):
    """What a store may have besides: `imgtag dataset copy` needs it."""

    async def copy_object(self, source: ObjectState, target: ObjectRef) -> bool:
        """Copy an object, without its bytes leaving the store; whether it was copied, or was copied before.

        Nothing is overwritten. Raises Conflict where ``source`` is no longer that, or another object has the name,
        WriteRefused where it may not be written, BucketAbsent, Unavailable.
        """
        ...


class Store(Service, Protocol):
    """Reads objects and writes their metadata; never their bytes, but for the one picture that ``doctor`` sends."""

    features: StoreFeatures

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None when it is certainly absent. Raises BucketAbsent where that cannot be known."""
        ...

    def open(
        self, ref: ObjectRef, *, if_match: str | None = None, read_ahead: int = 0
    ) -> AbstractAsyncContextManager[Body | None]:
        """The object for reading; None as in ``stat``. Raises Conflict when ``if_match`` is not its ETag.

        An object of at most ``read_ahead`` bytes may be read at once, where that saves a request: its bytes are
        probably needed, and there is memory for so many.

        Raises Unreadable, as ``stat`` does, where permissions hide whether there is an object, which waiting would not
        change; an object that is known and may not be read has ``unreadable`` in its state instead.
        """
        ...

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata, keep everything else, return the object as it then is.

        ``is_assumed`` is set where that was concluded from the response. Then the event of the write confirms it, or
        a later look where no event comes.

        Raises Conflict (changed or gone before the write), Overwritten (changed or gone right after it), WriteRefused
        (must not or cannot be written).
        """
        ...

    def list(self, scope: Scope, *, after: str = "", with_metadata: bool = False) -> AsyncIterator[Listed]:
        """The objects of ``scope`` with keys behind ``after``, in the order of the keys' UTF-8 bytes.

        ``with_metadata``: with their user metadata, where that needs no request for each object.
        """
        ...

    async def buckets(self) -> tuple[str, ...]:
        """The buckets that there are."""
        ...

    async def create(self, ref: ObjectRef, data: bytes, content_type: str) -> ObjectState:
        """A new object, without metadata; nobody ever sees a part of it. For ``doctor --send`` alone.

        Raises Conflict where the key has an object, or versions of one, and WriteRefused where it could not be
        written or, as under a default retention, not be erased again; nothing is there then.
        """
        ...

    async def erase(self, ref: ObjectRef) -> None:
        """Remove what ``create`` made and everything derived from it: every version and delete marker of the key.

        For ``doctor --send`` alone, on its own object. Nothing happens where there is none. Raises WriteRefused.
        """
        ...


@runtime_checkable
class VersionLister(Protocol):
    """What a store with versions may offer beside `Store`, so that `imgtag audit` sees what the sidecar hides."""

    def list_misplaced(self, scope: Scope) -> AsyncIterator[ObjectRef]:
        """The objects that are shown as a version of the sidecar's that hides a newer upload or delete marker.

        In the order of the keys' UTF-8 bytes; nothing is changed. A look at such an object through ``open`` withdraws
        that version. Raises Unavailable, BucketAbsent, Unreadable.
        """
        ...
