"""Indexers: where documents are searched."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from imgtag.errors import ImgtagError, Incomparable
from imgtag.plugin.service import Service
from imgtag.query import And, Condition, Is, Query
from imgtag.types.document import Document
from imgtag.types.folding import fold, normalise
from imgtag.types.ref import Scope

_NO_VECTOR = (
    "Its model has no embedding, or [labels] keep lacks vec, or its metadata has no room for the entry, or it was "
    "labelled by a release without vectors; in that case upload it again."
)
_FOLDED = frozenset({"terms", "words"})
_NOT_DECODED = "Only decoded images can be compared."


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
    """What became of one change: it is durable and visible, or it failed with ``error``."""

    id: str
    error: ImgtagError | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """A query, and which part of the answer is wanted: ``limit`` hits after the first ``offset``.

    ``facets`` are names of fields whose values are counted over all hits; see `count_values`. A limit of 0 asks for
    the number of hits and the facets alone.
    """

    query: Query
    limit: int = 20
    offset: int = 0
    facets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimilarRequest:
    """Asks which of the documents that ``query`` finds look like that of ``id``; the order of the query is ignored."""

    id: str
    query: Query
    limit: int = 20

    def among(self, document: Document | None) -> Condition:
        """The condition for documents that may be compared: vectors of the same space, within the query.

        ``document`` is that of ``id``, or None where the index has none; it meets the condition itself. Raises
        Incomparable where there is no document, or it has no vector.
        """
        if document is None:
            raise Incomparable("the index has no document of this object", code="absent")
        if not vector_of(document):
            unread = document["status"] in {"refused", "failed"}
            why, hint = (
                (f"its status is {document['status']}", _NOT_DECODED) if unread else ("it has no vector", _NO_VECTOR)
            )
            name = f"{document['bucket']}/{document['key']}"
            raise Incomparable(f"{name} cannot be compared with others: {why}", hint=hint, code="no_vector")
        return And((self.query.condition, Is("space", (normalise(document["space"]),))))


def vector_of(document: Document) -> Sequence[float] | None:
    """The vector of a document, 128 numbers; None where it has none that may be compared."""
    vector: Sequence[float] | None = (document.get("_vectors") or {}).get("img")
    return vector if document.get("space") else None


def field_values(document: Document, field: str) -> dict[str, str]:
    """The values of a text field of a document: as they are compared -> as they are shown.

    ``field`` is a name of the document, or ``meta.NAME`` for an entry of its user metadata. A field holds one value or
    a list of them; a value that is empty after normalisation is left out.
    """
    home, _, name = field.partition(".")
    value = document.get(home, {}).get(name) if home == "meta" and name else document.get(field)
    form = fold if field in _FOLDED else normalise
    texts = [text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)]
    return {compared: text for text in texts if (compared := form(text))}


def count_values(documents: Iterable[Document], field: str) -> dict[str, int]:
    """A facet: the values of a field -> how many of the documents have each. Equal values count as one."""
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for document in documents:
        values = field_values(document, field)
        shown = values | shown
        counts.update(values.keys())
    return {shown[value]: count for value, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Similar:
    """A document, and the cosine of its vector and that of the one asked for: 1 is equal, 0 has nothing in common."""

    document: Document
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """Hits in order, the exact ``total`` whatever the limit, and the facets: field -> value -> number of documents."""

    hits: Sequence[Document]
    total: int
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Indexer(Service, Protocol):
    """Keeps one document per object and finds it again.

    **Overlapping calls.** The sidecar calls an indexer from many tasks at once, so calls of all methods overlap. None
    of them blocks the event loop: an engine without an asynchronous client runs in threads (`anyio.to_thread`).

    **Other processes.** While `imgtag run` keeps an index open, `imgtag search`, `doctor` and other sidecars open it
    too, to read and to write. An engine that locks its file for one process opens it for the time of a call, or waits.

    **Sites.** Sidecars of several sites may share an index. `scan` and `count` name a site; `search`, `similar`,
    `known` and `suggest` cover all of them, and a query for one site has a condition on the field `site`.

    **Text.** `terms` and `words` of a document, the texts of conditions, and what `known` and `suggest` are given are
    already folded or normalised. Other fields of a document are not: compare them as ``normalise`` writes them, which
    `field_values` does for a document.

    **Errors.** Unavailable where the engine does not answer, is busy, or has no room: the sidecar tries again.
    PluginError for what no further try mends, such as a damaged file or an index of another program: the sidecar waits
    and reports it, so the hint says how to get a new index. DocumentError, as the outcome of one change, for a document
    that the engine rejects. QueryError for a condition that it cannot evaluate, such as one that is nested too deeply.
    """

    async def index_id(self) -> str:
        """An id of the index that is there now; empty where there is none yet.

        The same in every process, after a restart, and whatever is written. Another one after the index was deleted
        and created again, or another index was put in its place. The sidecar compares it with the one it knows; a new
        one means that documents are missing, so it compares all objects with the index.
        """
        ...

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """Make the changes; return one outcome for each, in their order. Durable and visible on return.

        No id occurs twice. An empty sequence has no outcome. Where one document is rejected, the others are indexed.
        Raises Unavailable when not all changes are known to be made; making them again does no harm.
        """
        ...

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        """The documents of these ids, as they were put; absent ones are left out. An id may occur twice.

        With ``fields``, only those of each document: bulk work asks for a few fields of every object.
        """
        ...

    async def search(self, request: SearchRequest) -> Page:
        """The documents that match, in the order of the query (see `Query`). Raises QueryError."""
        ...

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        """The documents with the nearest vectors, nearest first, never the document itself.

        `SimilarRequest.among` says which documents are compared. Raises Incomparable, QueryError.
        """
        ...

    def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        """The documents of a site and scope in the order of their keys' UTF-8 bytes.

        With ``fields``, only those and ``key``. A document that stays is yielded once, even if others come and go.
        """
        ...

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        """Those of the folded texts that equal a term or a word of some document."""
        ...

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        """At most ``limit`` terms with this folded prefix: those of most documents first, then alphabetically."""
        ...

    async def count(self, site: str, scope: Scope) -> int:
        """How many documents ``scan`` would yield."""
        ...


class Rebuilder(Protocol):
    """What an indexer may have besides: `imgtag reindex` needs it. It is asked for only where the index is open.

    Beside the index in use there is at most one other, the spare: nobody searches it, and only a rebuild writes to it.
    It outlives the process that fills it, so that a rebuild that was killed goes on. ``spare`` says what it is called,
    for the person who looks for it on the server or on the disk.
    """

    spare: str

    async def check_rebuild(self) -> None:
        """Raise ImgtagError where a rebuild would fail later on, for want of rights or of room. Nothing is changed."""
        ...

    async def has_spare(self) -> bool:
        """Whether there is a spare: one that a rebuild left, or the index that was in use before a swap."""
        ...

    def open_spare(self) -> AbstractAsyncContextManager[Indexer]:
        """The spare; where there is none, an empty one is created, which is set up as the index in use is.

        What was in use before a swap need only be read (`get`, `scan`, `count`, `index_id`).
        """
        ...

    async def swap(self) -> None:
        """Exchange the index in use and the spare, whole and at one moment, together with their ids; then return.

        A search sees either of them, never a part. Other processes have the index open, search it and write to it: what
        they confirmed as done is in the one or in the other afterwards. Nothing is written to the spare meanwhile, and
        what was opened by `open_spare` is closed. Raises ImgtagError: whether they were exchanged, `index_id` tells.
        """
        ...

    async def drop_spare(self) -> None:
        """Delete the spare, whatever it is, if there is one."""
        ...


class TokenSigner(Protocol):
    """What an indexer may have besides: `imgtag search-token` needs it. It is asked for where the index is not open."""

    def sign_search_token(self, key: str, condition: Condition, expires: int) -> str:
        """A token that the engine's own search interface accepts; with it, only documents that meet a condition exist.

        ``key`` is the content of the file that a person names, in the form of the engine; ``expires`` counts seconds
        since 1970. Nothing is sent. Raises ConfigError for a key that cannot sign tokens.
        """
        ...
