"""All documents of a part of a store, though others come and go meanwhile, in the order of their keys.

The server cannot give documents in the order of their keys' bytes, and a filter on a key does not regard its
case. So the documents that may be meant are read page after page in the server's own order, which does not
change for a document that stays; what is really meant is sorted in a temporary file, then given out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from anyio import CancelScope

from imgtag.query import And, Condition, Is, StartsWith
from imgtag.types.document import Document
from imgtag.types.folding import normalise
from imgtag.types.ref import ObjectRef, Scope
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.document import VECTORS, decode
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.spool import Spool
from imgtag_meilisearch.threads import Threads

PAGE = 1000  # documents
NAMED = ("id", "site", "bucket", "key")


class Scan:
    """One look at a site and scope."""

    def __init__(self, connection: Connection, threads: Threads, site: str, scope: Scope) -> None:
        self._connection = connection
        self._threads = threads
        self._site = site
        self._scope = scope
        self._filter = expression(_condition(site, scope))

    async def documents(self, fields: Sequence[str]) -> AsyncIterator[Document]:
        """The documents; only these fields and the key where some are named."""
        wanted = {*fields, "key"} if fields else None
        spool = await self._threads.run(Spool)
        try:
            await self._read(spool, _asked(fields))
            rows = await self._threads.run(spool.sorted)
            while page := await self._threads.run(spool.page, rows, PAGE):
                for document in page:
                    yield {name: document[name] for name in document if wanted is None or name in wanted}
        finally:
            await self._close(spool)

    async def count(self) -> int:
        """How many there are. A whole bucket is one question; for a prefix the keys are read and looked at."""
        if not self._scope.prefix:
            answer = await self._threads.run(self._connection.fetch, filter=self._filter, limit=0)
            return int(answer["total"])
        spool = await self._threads.run(Spool)
        try:
            await self._read(spool, _asked(("key",)))
            return await self._threads.run(spool.count)
        finally:
            await self._close(spool)

    async def _read(self, spool: Spool, asked: Mapping[str, Any]) -> None:
        """Read page after page, each beginning with what the last one ended with.

        Where a page begins with something new, documents were deleted and the rest moved up: half a page back.
        """
        start = 0
        while True:
            answer = await self._threads.run(
                self._connection.fetch, filter=self._filter, offset=start, limit=PAGE, **asked
            )
            page = answer["results"]
            if start and not await self._threads.run(_continues, spool, page):
                start = max(0, start - PAGE // 2)
                continue
            await self._threads.run(spool.add, [(decode(each), self._meant(each)) for each in page])
            if len(page) < PAGE:
                return
            start += PAGE - 1

    async def _close(self, spool: Spool) -> None:
        with CancelScope(shield=True):
            await self._threads.run(spool.close)

    def _meant(self, document: Mapping[str, Any]) -> bool:
        return document["site"] == self._site and ObjectRef(document["bucket"], document["key"]) in self._scope


def _condition(site: str, scope: Scope) -> Condition:
    """What includes the scope. How a text is normalised may depend on what follows it, unless it is ASCII."""
    folder = scope.prefix[: scope.prefix.rfind("/") + 1]
    parts: list[Condition] = [Is("site", (normalise(site),)), Is("bucket", (normalise(scope.bucket),))]
    if folder.strip():
        parts.append(Is("prefixes", (normalise(folder),)))
    if scope.prefix.isascii() and scope.prefix.strip():
        parts.append(StartsWith("key", normalise(scope.prefix)))
    return And(tuple(parts))


def _continues(spool: Spool, page: Sequence[Mapping[str, Any]]) -> bool:
    return bool(page) and page[0]["id"] in spool


def _asked(fields: Sequence[str]) -> dict[str, Any]:
    vectors = not fields or VECTORS in fields
    return {"retrieveVectors": vectors, **({"fields": sorted({*NAMED, *fields})} if fields else {})}
