"""A store that threads can call, so that tests race it with what blocks."""

import time

from imgtag.errors import Conflict
from imgtag.plugin.store import Rewrite
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, Scope

LABELS = {"imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10"}


class PortalStore:
    """Each method is that of the store, done when it returns."""

    def __init__(self, portal, store):
        self._portal = portal
        self._store = store

    def stat(self, bucket, key):
        return self._portal.call(self._store.stat, ObjectRef(bucket.name, key))

    def read(self, bucket, key, limit=1 << 30):
        async def read():
            async with self._store.open(ObjectRef(bucket.name, key)) as body:
                return await body.read(limit)

        return self._portal.call(read)

    def look(self, bucket, key, read_ahead):
        """As the pipeline does it for an upload of so many bytes: headers and bytes in one request."""

        async def look():
            async with self._store.open(ObjectRef(bucket.name, key), read_ahead=read_ahead) as body:
                return body.state, await body.read(1 << 30)

        return self._portal.call(look)

    def keys(self, bucket, prefix="", after=""):
        async def collected():
            return [listed.ref.key async for listed in self._store.list(Scope(bucket.name, prefix), after=after)]

        return self._portal.call(collected)

    def rewrite(self, state, metadata, body=None, strategy="auto", digest=None):
        change = Rewrite(state=state, metadata=metadata, body=body, strategy=strategy, digest=digest)
        return self._portal.call(self._store.rewrite, change)

    def tag(self, bucket, key, labels, prefix):
        state = self.stat(bucket, key)
        change = Rewrite(state=state, metadata=state.metadata, strategy="tags", labels=labels, label_prefix=prefix)
        return self._portal.call(self._store.rewrite, change)

    def label(self, bucket, key, body=None, strategy="auto"):
        """As the sidecar does it: what is there, our entries beside the user's, until it has come to rest."""
        for _ in range(8):
            state = self.stat(bucket, key)
            if state is None or MARK in state.metadata:
                return state
            data = self.read(bucket, key) if body is None else body
            try:
                return self.rewrite(state, {**state.metadata, **LABELS, MARK: mark(state, data)}, data, strategy)
            except Conflict:
                body = None
        raise AssertionError(f"{key} does not come to rest")

    def create(self, bucket, key, data):
        return self._portal.call(self._store.create, ObjectRef(bucket.name, key), data, "image/jpeg")

    def erase(self, bucket, key):
        self._portal.call(self._store.erase, ObjectRef(bucket.name, key))

    def checks(self):
        async def collected():
            return [check async for check in self._store.checks()]

        return self._portal.call(collected)

    def setup(self, *, apply):
        return self._portal.call(lambda: self._store.setup(apply=apply))


def mark(state, data):
    """A mark as the sidecar writes it."""
    return Mark(
        model="lite0@5f2c9a1b",
        rules="r",
        content=content_digest(data),
        etag=state.etag,
        etag_after=state.etag,
        owner=owner_digest("home", state.ref),
        version=state.version,
        at=int(time.time()),
    ).encode()
