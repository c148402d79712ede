"""Over TLS, with a CA of one's own; and objects whose key is with the client, which exist only there."""

import os

import pytest

from imgtag.errors import Unavailable, Unreadable, WriteRefused
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import SPEC
from integration.s3.bucket import Bucket
from integration.s3.portal import LABELS, PortalStore
from servers.minio import CUSTOMER_KEY, MinioServer, make_certificate, minio_binary
from servers.s3_client import S3Client

JPEG = b"\xff\xd8\xff" + os.urandom(1_000)


@pytest.fixture(scope="module")
def minio(tmp_path_factory):
    certs = make_certificate(tmp_path_factory.mktemp("certs"))
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("tls"), certs=certs) as server:
        yield server


@pytest.fixture
def settings(minio):
    return SPEC.settings(**minio.settings, ca=minio.certs / "public.crt", if_match=True)


@pytest.fixture
def bucket(settings):
    client = S3Client(settings)
    bucket = Bucket(client, f"bucket-{os.urandom(6).hex()}")
    bucket.make()
    yield bucket
    client.close()


@pytest.fixture
def store(portal, settings, tmp_path):
    store = SPEC.load()(settings, PluginContext(site="home", state_dir=tmp_path))
    with portal.wrap_async_context_manager(store) as entered:
        yield PortalStore(portal, entered)


def test_labelling_over_tls(store, bucket):
    """All is as without, with the CA of the settings."""
    bucket.put("a.jpg", JPEG)
    state = store.label(bucket, "a.jpg")

    assert state.metadata["imgtag_red+fox"] == "0.59"
    assert bucket.get("a.jpg") == JPEG


def test_unknown_ca(portal, minio, tmp_path):
    """A certificate that nobody vouches for is not taken."""
    store = SPEC.load()(SPEC.settings(**minio.settings), PluginContext(site="home", state_dir=tmp_path))
    with pytest.raises(Unavailable, match="certificate"), portal.wrap_async_context_manager(store):
        pass


def test_customers_key(store, bucket):
    """An object with a customer's key is seen, with a code, and neither read nor written."""
    bucket.put_with("a.jpg", JPEG, CUSTOMER_KEY)
    state = store.stat(bucket, "a.jpg")

    assert (state.unreadable, state.size) == ("customer_key", len(JPEG))
    with pytest.raises(Unreadable) as unreadable:
        store.read(bucket, "a.jpg")
    assert unreadable.value.code == "customer_key"
    with pytest.raises(WriteRefused):
        store.rewrite(state, LABELS, JPEG)
