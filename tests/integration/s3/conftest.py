"""A real MinIO for all tests here, buckets of every kind, and a user who works in them behind the sidecar's back."""

from uuid import uuid4

import pytest
from anyio.from_thread import start_blocking_portal

from imgtag.plugin.spec import PluginContext
from imgtag_s3 import SPEC
from integration.s3.bucket import Bucket
from integration.s3.portal import PortalStore
from servers.minio import MinioServer, minio_binary
from servers.s3_client import S3Client


@pytest.fixture(scope="session")
def minio(tmp_path_factory):
    """The server."""
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="session")
def client(minio):
    """Requests as somebody else sends them."""
    client = S3Client(SPEC.settings(**minio.settings))
    yield client
    client.close()


@pytest.fixture
def make_bucket(client):
    """Makes buckets: ``versioning`` is None, "Enabled" or "Suspended"; ``excluded`` a prefix without versions."""

    def make(versioning=None, *, lock=False, excluded=None):
        bucket = Bucket(client, f"bucket-{uuid4().hex[:12]}")
        bucket.make(lock=lock)
        if versioning:
            bucket.set_versioning(versioning, excluded)
        return bucket

    return make


@pytest.fixture
def bucket(make_bucket):
    """A bucket without versions."""
    return make_bucket()


@pytest.fixture
def connect(minio, tmp_path):
    """Makes stores: keyword arguments go to the settings."""

    def make(buckets=(), *, read_only=False, **settings):
        context = PluginContext(site="home", state_dir=tmp_path, buckets=buckets, read_only=read_only)
        return SPEC.load()(SPEC.settings(**minio.settings | {"if_match": True} | settings), context)

    return make


@pytest.fixture
def portal():
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def store(portal, connect):
    """The store, entered, called from threads."""
    with portal.wrap_async_context_manager(connect()) as store:
        yield PortalStore(portal, store)
