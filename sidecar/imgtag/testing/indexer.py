"""An indexer in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence

from imgtag.errors import DocumentError, ImgtagError
from imgtag.plugin.indexer import (
    Delete,
    Outcome,
    Page,
    SearchRequest,
    Similar,
    SimilarRequest,
    Upsert,
    vector_of,
)
from imgtag.testing.evaluate import facets, matches, ranked
from imgtag.testing.service import MemoryService
from imgtag.types.document import Document
from imgtag.types.folding import fold
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.vector import cosine


class MemoryIndexer(MemoryService):
    """Keeps documents by id and evaluates queries on all of them.

    ``documents`` is what it keeps them in: give the same to a second indexer, and it is the same index opened
    again. ``refused``: the errors of single documents, by id. ``faults.fail(Unavailable(), times=None)`` is an
    outage until ``faults.mend()``; ``faults.count("apply")`` tells how often changes came.
    """

    def __init__(self, documents: dict[str, Document] | None = None) -> None:
        super().__init__()
        self.documents: dict[str, Document] = {} if documents is None else documents
        self.refused: dict[str, ImgtagError] = {}

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order."""
        await self.faults.meet("apply", tuple(change.id for change in changes))
        outcomes = [self._apply(change) for change in changes]
        await self.faults.reach("apply.applied")
        return outcomes

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """The documents of these ids."""
        await self.faults.meet("get", tuple(ids))
        return {each: self.documents[each] for each in ids if each in self.documents}

    async def search(self, request: SearchRequest) -> Page:
        """Documents that match."""
        await self.faults.meet("search", request)
        hits = ranked(request.query, self.documents.values())
        counts = {name: facets(hits, name) for name in request.facets}
        return Page(hits=hits[request.offset :][: request.limit], total=len(hits), facets=counts)

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """The nearest first."""
        await self.faults.meet("similar", request)
        asked = self.documents.get(request.id)
        among = request.among(asked)
        assert asked is not None, "among has looked"
        found = [
            Similar(document, cosine(vector_of(asked) or (), vector))
            for document in self.documents.values()
            if document is not asked and matches(among, document) and (vector := vector_of(document))
        ]
        return sorted(found, key=lambda each: (-each.similarity, each.document["key"]))[: request.limit]

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Those of the words and labels that some document has among its terms and words."""
        await self.faults.meet("known", tuple(words))
        there = {each for document in self.documents.values() for name in ("terms", "words") for each in document[name]}
        return frozenset(word for word in words if fold(word) in there)

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Terms that begin so, those of most documents first."""
        await self.faults.meet("suggest", prefix)
        terms = Counter(term for document in self.documents.values() for term in document["terms"])
        found = [term for term in terms if term.startswith(fold(prefix))]
        return sorted(found, key=lambda term: (-terms[term], term))[:limit]

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """The documents of a site and scope in the order of their keys' UTF-8 bytes."""
        await self.faults.meet("scan", scope)
        wanted = {*fields, "key"}
        for document in self._within(site, scope):
            yield {name: value for name, value in document.items() if not fields or name in wanted}

    async def count(self, site: str, scope: Scope) -> int:
        """How many documents ``scan`` would give."""
        await self.faults.meet("count", scope)
        return len(self._within(site, scope))

    def _apply(self, change: Upsert | Delete) -> Outcome:
        if isinstance(change, Delete):
            self.documents.pop(change.id, None)
            return Outcome(change.id)
        try:
            self.documents[change.id] = self._taken(change)
        except ImgtagError as error:
            return Outcome(change.id, error)
        return Outcome(change.id)

    def _taken(self, change: Upsert) -> Document:
        """The document as it comes back from a server: through JSON. Raises what was planned for it."""
        if change.id in self.refused:
            raise self.refused[change.id]
        try:
            return dict(json.loads(json.dumps(change.document, allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise DocumentError(f"the document is no JSON: {error}") from error

    def _within(self, site: str, scope: Scope) -> list[Document]:
        found = [
            document
            for document in self.documents.values()
            if document["site"] == site and ObjectRef(document["bucket"], document["key"]) in scope
        ]
        return sorted(found, key=lambda document: str(document["key"]).encode())
