"""Stores: where objects live."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from imgtag.plugin.service import Service
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope


@dataclass(frozen=True, kw_only=True)
class StoreFeatures:
    """Limits and habits of a store.

    ``metadata_limit``: bytes that all user metadata of an object may take, counted as name + value +
    ``metadata_overhead`` an entry (S3: 2048 and the 11 of ``x-amz-meta-``); None where there is none.
    """

    metadata_limit: int | None = None
    metadata_overhead: int = 0


class Body(Protocol):
    """An object opened for reading: what it is, and then its bytes if they are wanted."""

    state: ObjectState

    async def read(self, limit: int) -> bytes:
        """All bytes, unchanged.

        Raises Unreadable(code="too_large") over ``limit``, Conflict when they are not those of ``state``.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """New user metadata for an object, all of it: what is not named here goes.

    ``state`` is what it was made from: where the object is no longer that, nothing may be written and
    Conflict is raised. ``body`` holds the bytes of that state, for a strategy that sends them again.
    """

    state: ObjectState
    metadata: Mapping[str, str]
    body: bytes | None = None
    strategy: str = "auto"


class Store(Service, Protocol):
    """Reads objects and writes their metadata; never their bytes."""

    features: StoreFeatures

    async def stat(self, ref: ObjectRef) -> ObjectState | None:
        """The object now; None when it is certainly absent. Raises BucketAbsent where that cannot be known."""
        ...

    def open(self, ref: ObjectRef, *, if_match: str | None = None) -> AbstractAsyncContextManager[Body | None]:
        """The object for reading; None as in ``stat``. Raises Conflict when ``if_match`` is not its ETag."""
        ...

    async def rewrite(self, change: Rewrite) -> ObjectState:
        """Write the metadata, keep everything else, return the object as it then is.

        Raises Conflict (changed or gone meanwhile), WriteRefused (must not or cannot be written).
        """
        ...

    def list(self, scope: Scope, *, after: str = "") -> AsyncIterator[Listed]:
        """The objects of ``scope`` with keys behind ``after``, in the order of the keys' UTF-8 bytes."""
        ...

    async def buckets(self) -> tuple[str, ...]:
        """The buckets that there are."""
        ...
