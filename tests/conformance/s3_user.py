"""Another client of an S3 server."""

from uuid import uuid4

import pytest
from anyio import to_thread

from imgtag.testing.conformance import StoreUser


class S3User(StoreUser):
    """Another client, and an administrator who can take a bucket's folder off the drive.

    ``data`` is the folder of the buckets' folders; None where the server has no such folder.
    """

    def __init__(self, client, data, *, versions):
        self.bucket = f"bucket-{uuid4().hex[:12]}"
        self._send = client.send
        self._data = data
        self._versions = versions

    async def make(self):
        # Locks need versions, and versions come with them.
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if self._versions else {}
        await self._do("PUT", "", headers=headers)

    async def put(self, key, data, metadata=None):
        headers = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        await self._do("PUT", key, headers={"Content-Type": "image/jpeg", **headers}, body=data)

    async def delete(self, key):
        await self._do("DELETE", key)

    async def take_away(self):
        if self._data is None:
            pytest.skip("no bucket of this server can be hidden")
        await to_thread.run_sync((self._data / self.bucket).rename, self._data.parent / self.bucket)

    async def bring_back(self):
        await to_thread.run_sync((self._data.parent / self.bucket).rename, self._data / self.bucket)

    async def lock(self, key):
        if self._versions:
            body = b"<LegalHold><Status>ON</Status></LegalHold>"
            await self._do("PUT", key, query={"legal-hold": ""}, body=body)
        return self._versions

    async def lock_by_default(self):
        if self._versions:
            days = "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention>"
            rule = f"<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>{days}</Rule>"
            body = f"<ObjectLockConfiguration>{rule}</ObjectLockConfiguration>".encode()
            await self._do("PUT", "", query={"object-lock": ""}, body=body)
        return self._versions

    async def has_remains(self, key):
        query = {"versions": "", "prefix": key}
        return b"<Key>" in (await self._do("GET", "", query=query)).data

    async def _do(self, method, key, **also):
        return await to_thread.run_sync(lambda: self._send(method, self.bucket, key, **also))
