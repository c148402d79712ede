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
    count_values,
    vector_of,
)
from imgtag.plugin.matching import matches, rank_documents
from imgtag.testing.service import MemoryService
from imgtag.types.document import Document
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.vector import cosine


class MemoryIndexer(MemoryService):
    """Keeps documents by id and evaluates queries on all of them.

    ``documents`` is the index: an indexer that is given the same dictionary opens the same index. ``replace`` puts
    another one in its place, as if somebody had deleted the index. ``refused``: the errors of single documents, by id.
    ``faults.fail(Unavailable(), times=None)`` is an outage until ``faults.mend()``; ``faults.count("apply")`` tells how
    often changes came.
    """

    def __init__(self, documents: dict[str, Document] | None = None) -> None:
        super().__init__()
        self.documents: dict[str, Document] = {} if documents is None else documents
        self.refused: dict[str, ImgtagError] = {}
        self._replaced: list[dict[str, Document]] = []

    def replace(self, documents: dict[str, Document] | None = None) -> None:
        """Put another index in the place of this one, an empty one unless ``documents`` are given."""
        self._replaced.append(self.documents)  # kept, so that no later index has its address
        self.documents = {} if documents is None else documents

    async def index_id(self) -> str:
        """The address of the dictionary."""
        await self.faults.meet("index_id")
        return f"memory-{id(self.documents):x}"

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order."""
        await self.faults.meet("apply", tuple(change.id for change in changes))
        outcomes = []
        for change in changes:
            error: ImgtagError | None = None
            if isinstance(change, Delete):
                self.documents.pop(change.id, None)
            else:
                try:
                    self.documents[change.id] = self._stored(change)
                except ImgtagError as refusal:
                    error = refusal
            outcomes.append(Outcome(change.id, error))
        await self.faults.reach("apply.applied")
        return outcomes

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """The documents of these ids."""
        await self.faults.meet("get", tuple(ids))
        return {id_: self.documents[id_] for id_ in ids if id_ in self.documents}

    async def search(self, request: SearchRequest) -> Page:
        """The documents that match."""
        await self.faults.meet("search", request)
        hits = rank_documents(request.query, self.documents.values())
        facets = {field: count_values(hits, field) for field in request.facets}
        return Page(hits=hits[request.offset :][: request.limit], total=len(hits), facets=facets)

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """The nearest first."""
        await self.faults.meet("similar", request)
        original = self.documents.get(request.id)
        comparable = request.among(original)
        assert original is not None, "`among` raises where there is none"
        nearest = [
            Similar(document, cosine(vector_of(original) or (), vector))
            for document in self.documents.values()
            if document is not original and matches(comparable, document) and (vector := vector_of(document))
        ]
        return sorted(nearest, key=lambda similar: (-similar.similarity, similar.document["key"]))[: request.limit]

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Those of the texts that equal a term or a word of some document."""
        await self.faults.meet("known", tuple(words))
        return frozenset(
            word
            for word in words
            if any(word in (*document["terms"], *document["words"]) for document in self.documents.values())
        )

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Terms with this prefix, those of most documents first."""
        await self.faults.meet("suggest", prefix)
        counts = Counter(term for document in self.documents.values() for term in document["terms"])
        terms = [term for term in counts if term.startswith(prefix)]
        return sorted(terms, key=lambda term: (-counts[term], term))[:limit]

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """The documents of a site and scope in the order of their keys' UTF-8 bytes."""
        await self.faults.meet("scan", scope)
        names = {*fields, "key"}
        for document in self._within(site, scope):
            yield {name: value for name, value in document.items() if not fields or name in names}

    async def count(self, site: str, scope: Scope) -> int:
        """How many documents ``scan`` would yield."""
        await self.faults.meet("count", scope)
        return len(self._within(site, scope))

    def _stored(self, change: Upsert) -> Document:
        """The document as it comes back from a server: through JSON. Raises the error planned for it."""
        if change.id in self.refused:
            raise self.refused[change.id]
        try:
            return dict(json.loads(json.dumps(change.document, allow_nan=False)))
        except (TypeError, ValueError) as error:
            raise DocumentError(f"the document is not JSON: {error}") from error

    def _within(self, site: str, scope: Scope) -> list[Document]:
        documents = [
            document
            for document in self.documents.values()
            if document["site"] == site and ObjectRef(document["bucket"], document["key"]) in scope
        ]
        return sorted(documents, key=lambda document: str(document["key"]).encode())
