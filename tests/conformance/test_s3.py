"""The S3 store passes the suite, on a real MinIO, with versions and without."""

from uuid import uuid4

import pytest
from anyio import to_thread

from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import StoreConformance, StoreUser
from imgtag_s3 import SPEC
from imgtag_s3.client import Client
from servers.minio import MinioServer, minio_binary


class S3User(StoreUser):
    """Another client, and an administrator who can take a bucket's folder off the drive."""

    def __init__(self, client, data, *, versions):
        self.bucket = f"bucket-{uuid4().hex[:12]}"
        self._send = client.send
        self._folder, self._aside = data / self.bucket, data.parent / self.bucket
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
        await to_thread.run_sync(self._folder.rename, self._aside)

    async def bring_back(self):
        await to_thread.run_sync(self._aside.rename, self._folder)

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


@pytest.fixture(scope="module")
def minio(tmp_path_factory):
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def client(minio):
    client = Client(SPEC.settings(**minio.settings))
    yield client
    client.close()


class TestS3Store(StoreConformance):
    versions = False

    @pytest.fixture
    async def user(self, minio, client):
        user = S3User(client, minio.folder / "data", versions=self.versions)
        await user.make()
        return user

    @pytest.fixture
    def connect(self, minio, tmp_path):
        context = PluginContext(site="home", state_dir=tmp_path)
        return lambda: SPEC.load()(SPEC.settings(**minio.settings, if_match=True), context)


class TestS3StoreWithVersions(TestS3Store):
    versions = True
