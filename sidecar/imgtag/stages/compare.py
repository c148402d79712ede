"""Scope -> hints: where a store and its index differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from imgtag.errors import BucketAbsent
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Store
from imgtag.types.document import Document
from imgtag.types.event import Hint
from imgtag.types.ref import Listed, ObjectRef, ObjectState, Scope

_PASSING_CODES = frozenset({"permission", "read_only"})
"""Refusals that end without a new ETag: an admin grants a permission, or mounts the folder writable."""
MAX_NO_IMAGES = 100_000
"""Objects that are remembered as no images, at some 100 bytes each."""


class NoImages:
    """Remembers what a look found to be no image: no document says so, and each comparison would look at it again."""

    def __init__(self, max_objects: int = MAX_NO_IMAGES) -> None:
        self._max_objects = max_objects
        self._seen: set[int] = set()

    def remember(self, state: ObjectState) -> None:
        """An object as it was when it was no image."""
        if len(self._seen) >= self._max_objects:
            self._seen.pop()  # an arbitrary one: without the oldest, a longer listing would meet none that is left
        self._seen.add(_identify(state))

    def __contains__(self, listed: Listed) -> bool:
        """Whether the object is still as it was then."""
        return _identify(listed) in self._seen


async def find_differences(
    store: Store, indexer: Indexer, site: str, scope: Scope, may_need_document: Callable[[Listed], bool]
) -> AsyncIterator[Hint]:
    """Yield a hint for each object that the index knows with another ETag or revision, for each of those that it lacks
    that ``may_need_document``, and for each orphaned document.

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
            if document is None or document["key"] != listed.ref.key:
                if may_need_document(listed):
                    yield Hint(ref=listed.ref)
                continue
            if not is_of_content(document, listed) or may_pass(store, document):
                yield Hint(ref=listed.ref)
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


def _identify(shown: Listed | ObjectState) -> int:
    return hash((shown.ref, shown.etag, int(shown.modified)))  # in a header, times are in whole seconds


def _removal(scope: Scope, document: Document) -> Hint:
    return Hint(ref=ObjectRef(scope.bucket, document["key"]), removed=True)
