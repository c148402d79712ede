"""Scope -> hints: where a store and its index differ."""

from __future__ import annotations

from collections.abc import AsyncIterator

from imgtag.errors import BucketAbsent
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Store
from imgtag.types.document import Document
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

_PASSING_CODES = frozenset({"permission", "read_only"})
"""Refusals that end without a new ETag: an admin grants a permission, or mounts the folder writable."""


async def find_differences(store: Store, indexer: Indexer, site: str, scope: Scope) -> AsyncIterator[Hint]:
    """Yield a hint for each object that the index lacks or knows with another ETag or revision, and for each orphaned
    document.

    Objects that were refused for a reason that may have passed are included.

    Both sides come in the order of their keys, so memory does not grow with their number. An empty index has
    nothing to lose: then a bucket that shows nothing is believed to be empty. Raises BucketAbsent.
    """
    documents = aiter(indexer.scan(site, scope, fields=("etag", "code", "revision")))
    document = await anext(documents, None)
    if document is not None:
        await require_right_bucket(store, scope.bucket)
    try:
        async for listed in store.list(scope):
            while document is not None and document["key"].encode() < listed.ref.key.encode():
                yield _removal(scope, document)
                document = await anext(documents, None)
            same = document is not None and document["key"] == listed.ref.key
            known = same and document is not None and is_of_content(document, listed)
            if not known or (document is not None and may_pass(store, document)):
                yield Hint(ref=listed.ref)
            if same:
                document = await anext(documents, None)
    except BucketAbsent:
        if document is not None:
            raise
    while document is not None:
        yield _removal(scope, document)
        document = await anext(documents, None)


def is_of_content(document: Document, state: Listed | ObjectState) -> bool:
    """Whether the document was made from the object as it is now.

    The time of a file can be set back, so that its ETag is the same; its revision tells. Older documents lack it.
    """
    same_revision = None in {document.get("revision"), state.revision} or document["revision"] == state.revision
    return same_revision and bool(document.get("etag") == state.etag)


def may_pass(store: Store, document: Document) -> bool:
    """Whether the object was refused for a reason outside its content that the store reports when it is over."""
    return store.features.tells_refusals and document.get("code") in _PASSING_CODES


async def require_right_bucket(store: Store, bucket: str) -> None:
    """Raise BucketAbsent if the bucket shows nothing: it may be one of the same name on the wrong server."""
    if store.features.sure_when_empty:
        return
    async for _ in store.list(Scope(bucket)):
        return
    raise BucketAbsent(f"{bucket} is empty, and the index knows of objects in it")


def _removal(scope: Scope, document: Document) -> Hint:
    return Hint(ref=ObjectRef(scope.bucket, document["key"]), removed=True)
