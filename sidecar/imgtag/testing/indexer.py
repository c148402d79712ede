"""An indexer in memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

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


@dataclass
class _Rebuild:
    """The index in use, the spare, and their ids; of all indexers that were given the same dictionary."""

    documents: dict[str, Document]
    id: str
    spare: dict[str, Document] | None = None
    spare_id: str = ""
    count: int = 0


_REBUILDS: dict[int, _Rebuild] = {}
"""By the address of the dictionary, which is kept, so that no later one has its address."""


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
        """The address of the dictionary; after a swap, the id of the spare."""
        await self.faults.meet("index_id")
        rebuild = _REBUILDS.get(id(self.documents))
        return rebuild.id if rebuild else self._address

    @property
    def _address(self) -> str:
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

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        """The documents of these ids, or these fields of them."""
        await self.faults.meet("get", tuple(ids))
        documents = {id_: self.documents[id_] for id_ in ids if id_ in self.documents}
        if not fields:
            return documents
        return {
            id_: {name: document[name] for name in document if name in fields} for id_, document in documents.items()
        }

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

    spare = "the spare in memory"

    async def check_rebuild(self) -> None:
        """Nothing is lacking."""
        await self.faults.meet("check_rebuild")

    async def has_spare(self) -> bool:
        """Whether there is a spare."""
        return self._rebuild.spare is not None

    @asynccontextmanager
    async def open_spare(self) -> AsyncIterator[MemoryIndexer]:
        """The spare; an empty one where there is none."""
        await self.faults.meet("open_spare")
        rebuild = self._rebuild
        if rebuild.spare is None:
            rebuild.count += 1
            rebuild.spare, rebuild.spare_id = {}, f"{self._address}-{rebuild.count}"
        spare = MemoryIndexer(rebuild.spare)
        _REBUILDS[id(rebuild.spare)] = _Rebuild(rebuild.spare, rebuild.spare_id)
        async with spare:
            yield spare

    async def swap(self) -> None:
        """Exchange the contents of both dictionaries, and the ids."""
        await self.faults.meet("swap")
        rebuild = self._rebuild
        assert rebuild.spare is not None, "there is a spare"
        in_use, spare = dict(rebuild.documents), dict(rebuild.spare)
        for documents, others in ((rebuild.documents, spare), (rebuild.spare, in_use)):
            documents.clear()
            documents.update(others)
        rebuild.id, rebuild.spare_id = rebuild.spare_id, rebuild.id
        await self.faults.reach("swap.swapped")

    async def drop_spare(self) -> None:
        """Forget the spare."""
        await self.faults.meet("drop_spare")
        self._rebuild.spare = None
        await self.faults.reach("drop_spare.dropped")

    @property
    def _rebuild(self) -> _Rebuild:
        return _REBUILDS.setdefault(id(self.documents), _Rebuild(self.documents, self._address))

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
