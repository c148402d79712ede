"""Indexers: where documents are searched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from imgtag.errors import ImgtagError
from imgtag.plugin.service import Service
from imgtag.types.document import Document
from imgtag.types.query import Query
from imgtag.types.ref import Scope


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
