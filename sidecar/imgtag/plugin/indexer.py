"""Indexers: where documents are searched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from imgtag.errors import ImgtagError, Incomparable
from imgtag.plugin.service import Service
from imgtag.query import And, Condition, Is, Query
from imgtag.types.document import Document
from imgtag.types.folding import normalise
from imgtag.types.ref import Scope

_NO_VECTOR = (
    "Either its model has no embedding, or [labels] keep lacks vec, or its metadata have no room for the entry, or it "
    "was labelled before there were vectors; then put it again."
)
_NO_LABELS = "Only what could be decoded can be compared."


@dataclass(frozen=True, slots=True)
class Upsert:
    """Put this document in the place of any older one of its id."""

    document: Document

    @property
    def id(self) -> str:
        return str(self.document["id"])


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the document of this id, if there is one."""

    id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change: durable and visible, or the error."""

    id: str
    error: ImgtagError | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A query with what is wanted of its answer.

    ``facets`` are field names of which the values are counted.
    """

    query: Query
    limit: int = 20
    offset: int = 0
    facets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimilarRequest:
    """Which documents look like that of ``id``, of those that ``query`` finds; its order does not count."""

    id: str
    query: Query
    limit: int = 20

    def among(self, document: Document | None) -> Condition:
        """What may be compared with the document of ``id``, itself included: vectors of one space, in the query.

        Raises Incomparable where there is no document, or no vector in it.
        """
        if document is None:
            raise Incomparable("the index knows no such object", code="absent")
        if not vector_of(document):
            unread = document["status"] in {"refused", "failed"}
            why, hint = (f"it is {document['status']}", _NO_LABELS) if unread else ("it has no vector", _NO_VECTOR)
            name = f"{document['bucket']}/{document['key']}"
            raise Incomparable(f"nothing can be compared with {name}: {why}", hint=hint, code="no_vector")
        return And((self.query.condition, Is("space", (normalise(document["space"]),))))


def vector_of(document: Document) -> Sequence[float] | None:
    """The vector of a document; None where it has none, or none that may be compared."""
    vector: Sequence[float] | None = (document.get("_vectors") or {}).get("img")
    return vector if document.get("space") else None


@dataclass(frozen=True, slots=True)
class Similar:
    """A document, and the cosine of its vector and the one asked for: 1 is the same, 0 has nothing in common."""

    document: Document
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """Hits in order, the exact number of all, and the counts asked for: field -> value -> documents."""

    hits: Sequence[Document]
    total: int
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Indexer(Service, Protocol):
    """Keeps one document an object and finds it again."""

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes, in order; durable on return.

        Raises Unavailable when not all of them are known to be; making them again does no harm.
        """
        ...

    async def get(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """The whole documents of these ids; absent ones are left out."""
        ...

    async def search(self, request: SearchRequest) -> Page:
        """Documents that match. Raises QueryError."""
        ...

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """The nearest by their vectors first, never the document itself. Raises Incomparable, QueryError."""
        ...

    def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """The documents of a site and scope in the order of their keys' UTF-8 bytes.

        Only ``fields`` where some are named (``key`` comes along always).
        """
        ...

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Those of the words and labels that some document has among its terms or the words of its key."""
        ...

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """Terms that begin so, those of most documents first."""
        ...

    async def count(self, site: str, scope: Scope) -> int:
        """How many documents ``scan`` would give."""
        ...
