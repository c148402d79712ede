"""Who works in the stores and behind the sources that the suites are run on."""

import json
import os
from urllib.parse import quote_plus

import anyio
import urllib3
from anyio import to_thread

from imgtag.testing.conformance import SourceUser, StoreUser
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef

PATIENCE = 20.0
"""Seconds until somebody must take what is pushed."""


class MemoryStoreUser(StoreUser):
    """Acts on a store in memory."""

    bucket = "photos"

    def __init__(self, store):
        self._store = store

    async def put(self, key, data, metadata=None):
        self._store.put(ObjectRef(self.bucket, key), data, metadata=metadata, tags={"project": "a"})

    async def delete(self, key):
        self._store.delete(ObjectRef(self.bucket, key))

    async def take_away(self):
        self._store.take_away(self.bucket)

    async def bring_back(self):
        self._store.bring_back(self.bucket)

    async def lock(self, key):
        self._store.lock(ObjectRef(self.bucket, key), "retention")
        return True

    async def lock_by_default(self):
        self._store.lock_by_default(self.bucket)
        return True

    async def has_remains(self, key):
        return bool(self._store.versions(ObjectRef(self.bucket, key)))


class MemorySourceUser(SourceUser):
    """Makes notifications."""

    bucket = "photos"

    def __init__(self, source):
        self._source = source

    async def change(self, key):
        self._source.send(Hint(ref=ObjectRef(self.bucket, key)))

    async def remove(self, key):
        self._source.send(Hint(ref=ObjectRef(self.bucket, key), removed=True))
        return True


class SilentUser(SourceUser):
    """Works where nothing reports it."""

    bucket = "photos"

    async def change(self, key):
        pass


class PushingUser(SourceUser):
    """Pushes what a store would, until somebody takes it: from the first push on that somebody listens at all."""

    bucket = "photos"

    def __init__(self, url):
        self._url = url

    async def change(self, key):
        await self._push(key, "s3:ObjectCreated:Put")

    async def remove(self, key):
        await self._push(key, "s3:ObjectRemoved:Delete")
        return True

    async def _push(self, key, name):
        thing = {"bucket": {"name": self.bucket}, "object": {"key": quote_plus(key)}}
        body = json.dumps({"Records": [{"eventName": name, "s3": thing}]})
        if key == "first.jpg" and name.endswith("Put"):
            return  # before the source is entered, a store would keep it
        with anyio.fail_after(PATIENCE):
            while not await to_thread.run_sync(self._send, body):
                await anyio.sleep(0.05)

    def _send(self, body):
        try:
            return urllib3.request("POST", self._url, body=body, retries=False, timeout=PATIENCE).status == 200
        except urllib3.exceptions.HTTPError:
            return False


class FolderUser(StoreUser, SourceUser):
    """Works in a folder as a camera or a person does: new files come under their name when they are whole."""

    def __init__(self, root):
        self.bucket = root.name
        self._root = root
        self._aside = root.parent / "aside"

    async def put(self, key, data, metadata=None):
        await to_thread.run_sync(self._put, key, data, metadata or {})

    async def delete(self, key):
        await to_thread.run_sync((self._root / key).unlink)

    async def change(self, key):
        await self.put(key, os.urandom(16))

    async def remove(self, key):
        await self.delete(key)
        return True

    async def has_remains(self, key):
        path = self._root / key
        return await to_thread.run_sync(lambda: any(path.parent.glob(f"*{path.name}*")))

    async def take_away(self):
        await to_thread.run_sync(self._root.rename, self._aside)

    async def bring_back(self):
        await to_thread.run_sync(self._aside.rename, self._root)

    def _put(self, key, data, metadata):
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(data)
        for name, value in metadata.items():
            os.setxattr(unfinished, f"user.{name}", value.encode())
        unfinished.replace(path)
