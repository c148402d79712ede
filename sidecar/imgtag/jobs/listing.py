"""The objects of a store, one job's worth: the listing of a large bucket outlives outages of the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio

from imgtag.errors import BucketAbsent, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.plugin.store import Store
from imgtag.types.ref import Listed, Scope


async def list_through_outages(
    store: Store,
    scope: Scope,
    *,
    after: str = "",
    with_metadata: bool = False,
    backoff: Backoff | None = None,
    max_failures: int | None = None,
) -> AsyncIterator[Listed]:
    """The objects of ``scope`` with keys after ``after``; after an outage the listing goes on where it was.

    Raises BucketAbsent at once, and Unavailable after ``max_failures`` in a row; None: it waits as long as it takes.
    """
    failures, backoff = 0, backoff or Backoff()
    while True:
        try:
            async for listed in store.list(scope, after=after, with_metadata=with_metadata):
                after, failures = listed.ref.key, 0
                yield listed
        except BucketAbsent:
            raise
        except Unavailable:
            failures += 1
            if failures == max_failures:
                raise
            await anyio.sleep(backoff.delay(failures))
        else:
            return
