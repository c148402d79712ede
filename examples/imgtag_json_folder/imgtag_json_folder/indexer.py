"""The indexer: what a query means comes from `imgtag.testing`, where documents are kept from `Folder`."""

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

from anyio import to_thread

from imgtag.errors import DocumentError, PluginError, Unavailable
from imgtag.plugin import (
    Check,
    Delete,
    Document,
    ObjectRef,
    Outcome,
    Page,
    PluginContext,
    Scope,
    SearchRequest,
    ServiceBase,
    Similar,
    SimilarRequest,
    Upsert,
    cosine,
    count_values,
    vector_of,
)
from imgtag.testing import matches, rank_documents
from imgtag_json_folder.folder import Folder
from imgtag_json_folder.settings import JsonFolderSettings


class JsonFolderIndexer(ServiceBase):
    """`ServiceBase` has what this indexer does not need: a connection, setup, permissions."""

    def __init__(self, settings: JsonFolderSettings, context: PluginContext) -> None:
        self._folder = Folder(settings.folder or context.state_dir / "json-folder")

    async def __aenter__(self) -> Self:
        await self.index_id()
        return self

    async def index_id(self) -> str:
        return await self._run(self._folder.create)

    async def _run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work in a thread, so that the event loop goes on, and name the folder in its errors."""
        try:
            return await to_thread.run_sync(work, *arguments)
        except OSError as error:  # it may work later: the sidecar tries again
            hint = f"Check that {self._folder.path} is a folder that the sidecar may write to."
            raise Unavailable(f"{self._folder.path}: {error.strerror}", hint=hint) from error
        except ValueError as error:  # it will not
            hint = f"Stop the sidecar, move {self._folder.path} away and start it again."
            raise PluginError(f"{self._folder.path} holds a damaged file: {error}", hint=hint) from error

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        return await self._run(self._apply, changes)

    def _apply(self, changes: Sequence[Upsert | Delete]) -> list[Outcome]:
        self._folder.create()
        outcomes = [self._change(change) for change in changes]
        self._folder.flush()
        return outcomes

    def _change(self, change: Upsert | Delete) -> Outcome:
        try:
            if isinstance(change, Delete):
                self._folder.delete(change.id)
            else:
                self._folder.put(change.document)
        except (TypeError, ValueError) as error:  # this document is at fault, not the others
            return Outcome(change.id, DocumentError(f"the document is not JSON: {error}"))
        return Outcome(change.id)

    async def get(self, ids: Sequence[str], *, fields: Sequence[str] = ()) -> Mapping[str, Document]:
        return await self._run(self._get, ids, fields)

    def _get(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Document]:
        documents = {id_: document for id_ in ids if (document := self._folder.get(id_)) is not None}
        return {
            id_: {name: value for name, value in document.items() if not fields or name in fields}
            for id_, document in documents.items()
        }

    async def search(self, request: SearchRequest) -> Page:
        return await self._run(self._search, request)

    def _search(self, request: SearchRequest) -> Page:
        hits = rank_documents(request.query, self._folder.documents())
        facets = {field: count_values(hits, field) for field in request.facets}
        return Page(hits=hits[request.offset :][: request.limit], total=len(hits), facets=facets)

    async def similar(self, request: SimilarRequest) -> Sequence[Similar]:
        return await self._run(self._similar, request)

    def _similar(self, request: SimilarRequest) -> list[Similar]:
        original = self._folder.get(request.id)
        comparable = request.among(original)  # raises where there is nothing to compare
        nearest = [
            Similar(document, cosine(vector_of(original or {}) or (), vector))
            for document in self._folder.documents()
            if document["id"] != request.id and matches(comparable, document) and (vector := vector_of(document))
        ]
        return sorted(nearest, key=lambda similar: -similar.similarity)[: request.limit]

    async def scan(self, site: str, scope: Scope, *, fields: Sequence[str] = ()) -> AsyncIterator[Document]:
        for document in await self._run(self._within, site, scope):
            yield {name: value for name, value in document.items() if not fields or name in {*fields, "key"}}

    async def count(self, site: str, scope: Scope) -> int:
        return len(await self._run(self._within, site, scope))

    def _within(self, site: str, scope: Scope) -> list[Document]:
        documents = [
            document
            for document in self._folder.documents()
            if document["site"] == site and ObjectRef(document["bucket"], document["key"]) in scope
        ]
        return sorted(documents, key=lambda document: document["key"].encode())

    async def known(self, words: Sequence[str]) -> frozenset[str]:
        return await self._run(lambda: frozenset(words) & self._terms("terms", "words").keys())

    async def suggest(self, prefix: str, limit: int = 10) -> Sequence[str]:
        counts = await self._run(lambda: self._terms("terms"))
        terms = [term for term in counts if term.startswith(prefix)]
        return sorted(terms, key=lambda term: (-counts[term], term))[:limit]

    def _terms(self, *fields: str) -> Counter[str]:
        return Counter(term for document in self._folder.documents() for field in fields for term in document[field])

    async def checks(self) -> AsyncIterator[Check]:
        path = self._folder.path
        writable = await to_thread.run_sync(os.access, path, os.W_OK)
        hint = "" if writable else f"Allow the sidecar's user to write to {path}."
        yield Check(check="folder", ok=writable, message=f"{path} is {'' if writable else 'not '}writable", hint=hint)
