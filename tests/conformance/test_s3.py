"""The S3 store passes the suite, on a real MinIO, with versions and without."""

import pytest

from conformance.s3_user import S3User
from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import StoreConformance
from imgtag_s3 import SPEC
from servers.minio import MinioServer, minio_binary
from servers.s3_client import S3Client


@pytest.fixture(scope="module")
def minio(tmp_path_factory):
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def client(minio):
    client = S3Client(SPEC.settings(**minio.settings))
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
