"""All documents of a part of a store in the order of their keys, even if others come and go meanwhile.

The server cannot return documents in the order of their keys' bytes, and a filter on a key ignores case. So a
superset is read page by page in the server's own order, which does not change for a document that stays; the
documents of the scope are sorted in a temporary file, then returned.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from anyio import CancelScope

from imgtag.plugin import And, Condition, Document, Is, ObjectRef, Scope, StartsWith, normalise
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.document import decode, select_fields
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.long_values import is_long
from imgtag_meilisearch.spool import Spool

PAGE_SIZE = 1000  # documents


class Scan:
    """One pass over a site and scope."""

    def __init__(self, client: IndexClient, site: str, scope: Scope) -> None:
        self._client = client
        self._site = site
        self._scope = scope
        self._filter = expression(_superset(site, scope))

    async def documents(self, fields: Sequence[str]) -> AsyncIterator[Document]:
        """The documents; only these fields and the key where some are named."""
        names = {*fields, "key"} if fields else None
        spool = await self._client.run(Spool)
        try:
            await self._read(spool, select_fields(fields))
            rows = await self._client.run(spool.sorted)
            while page := await self._client.run(spool.page, rows, PAGE_SIZE):
                for document in page:
                    yield {name: document[name] for name in document if names is None or name in names}
        finally:
            await self._close(spool)

    async def count(self) -> int:
        """How many there are. A whole bucket takes one request; for a prefix the keys are read and compared."""
        if not self._scope.prefix:
            answer = await self._client.run(self._client.fetch, filter=self._filter, limit=0)
            return int(answer["total"])
        spool = await self._client.run(Spool)
        try:
            await self._read(spool, select_fields(("key",)))
            return await self._client.run(spool.count)
        finally:
            await self._close(spool)

    async def _read(self, spool: Spool, options: Mapping[str, Any]) -> None:
        """Read page by page, each beginning with the document that the last one ended with.

        Where a page begins with a new document, others were deleted and the rest moved up: go back half a page.
        """
        start = 0
        while True:
            answer = await self._client.run(
                self._client.fetch, filter=self._filter, offset=start, limit=PAGE_SIZE, **options
            )
            page = answer["results"]
            if start and (not page or not await self._client.run(spool.__contains__, page[0]["id"])):
                start = max(0, start - PAGE_SIZE // 2)
                continue
            await self._client.run(
                spool.add,
                [
                    (decode(raw), (raw["site"] == self._site and ObjectRef(raw["bucket"], raw["key"]) in self._scope))
                    for raw in page
                ],
            )
            if len(page) < PAGE_SIZE:
                return
            start += PAGE_SIZE - 1

    async def _close(self, spool: Spool) -> None:
        with CancelScope(shield=True):
            await self._client.run(spool.close)


def _superset(site: str, scope: Scope) -> Condition:
    """A condition that every document of the scope meets."""
    folder = scope.prefix[: scope.prefix.rfind("/") + 1]
    parts: list[Condition] = [Is("site", (normalise(site),)), Is("bucket", (normalise(scope.bucket),))]
    # Long values are left out: documents that an older release wrote cannot be found by them.
    if folder.strip() and not is_long(normalise(folder)):
        parts.append(Is("prefixes", (normalise(folder),)))
    # How a text is normalised may depend on what follows it, unless it is ASCII.
    if scope.prefix.isascii() and scope.prefix.strip() and not is_long(normalise(scope.prefix)):
        parts.append(StartsWith("key", normalise(scope.prefix)))
    return And(tuple(parts))
