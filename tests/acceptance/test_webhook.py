"""The real command behind MinIO's own pushes: it is killed and restarted, and MinIO sends again what was not taken."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass
from io import BytesIO

import pytest
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from acceptance.conftest import Site, uploader
from acceptance_support import wait_until
from imgtag_s3 import SPEC
from servers.minio import MinioServer, minio_binary
from servers.process import free_port
from servers.s3_client import S3Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

BUCKET, TOKEN = "photos", "a-secret-of-this-site"
UPLOADS = 60


@dataclass
class World:
    """MinIO, a sidecar that it pushes to, and somebody who uploads."""

    minio: MinioServer
    site: Site
    user: Minio
    advice: str
    """What setup says before MinIO knows the sidecar."""

    def upload(self, numbers, photographs):
        kinds = list(photographs.values())
        for number in numbers:
            data = kinds[number % 3] + number.to_bytes(4, "big")
            self.user.put_object(BUCKET, f"{number}.jpg", BytesIO(data), len(data), content_type="image/jpeg")

    def versions(self) -> list[str]:
        listing = self.user.list_objects(BUCKET, recursive=True, include_version=True)
        return [version.object_name for version in listing]

    def etags(self) -> dict[str, str]:
        return {listed.object_name: listed.etag for listed in self.user.list_objects(BUCKET, recursive=True)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("webhook")
    (folder / "site").mkdir()
    (folder / "queue").mkdir()
    with ExitStack() as stack:
        minio = stack.enter_context(MinioServer(minio_binary(), folder / "minio"))
        site = Site(folder / "site")
        site.file.write_text(
            f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
            f'secret_key = "{minio.secret_key}"\n'
            f'[source.webhook]\nlisten = "127.0.0.1:{free_port()}"\ntoken = "{TOKEN}"\n'
            f'[indexer.sqlite]\n[[rules]]\nbucket = "{BUCKET}"\n[state]\ndir = "{site.base / "state"}"\n'
            f'[ops]\nlisten = "127.0.0.1:0"\n[pipeline]\nworkers = 2\nretry_first = 0.1\nretry_max = 2\n'
        )
        user = uploader(minio)
        user.make_bucket(BUCKET)
        user.set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
        advice = site.ask("setup", "--yes", code=1)
        # The lines as they were printed; what stands in <> is filled in.
        lines = dict(line.strip().split("=", 1) for line in advice.splitlines() if line.strip().startswith("MINIO_"))
        values = {"<token>": TOKEN, "<folder>": str(folder / "queue")}
        minio.environment |= {name: values.get(value, value) for name, value in lines.items()}
        minio.restart()
        with closing(S3Client(SPEC.settings(**minio.settings))) as client:
            wait_until(lambda: "IMGTAG:webhook" in client.admin_info(), 20)  # targets come up after readiness
        site.ask("setup", "--yes")
        with site.running():
            yield World(minio, site, user, advice)


def test_setup_says_what_minio_needs(world):
    """Complete lines for its environment, except for the secret and the folder."""
    assert "MINIO_NOTIFY_WEBHOOK_ENDPOINT_IMGTAG=http://127.0.0.1:" in world.advice
    assert TOKEN not in world.advice


def test_uploads_while_the_sidecar_is_killed(world, photographs):
    """Every upload is labelled with one write, though the sidecar is killed twice and away for a while."""
    world.upload(range(20), photographs)
    wait_until(world.site.found, 60)
    world.site.kill()
    world.upload(range(20, 40), photographs)
    world.site.start()
    uploads = threading.Thread(target=world.upload, args=(range(40, UPLOADS), photographs))
    uploads.start()
    wait_until(lambda: len(world.site.found()) > 20, 60)
    world.site.kill()
    world.site.start()
    uploads.join()

    def documents():
        return {document["key"]: document["etag"] for document in world.site.found()}

    wait_until(lambda: len(documents()) == UPLOADS, 180, lambda: f"{len(documents())} found")
    wait_until(lambda: len(world.versions()) == 2 * UPLOADS, 60, lambda: f"{len(world.versions())} versions")
    wait_until(lambda: world.site.metric("imgtag_backlog") == 0, 60)

    assert world.etags() == documents()
    assert len(world.versions()) == 2 * UPLOADS  # what was uploaded, and what we wrote
    assert world.site.ask("dlq", "list") == ""


def test_doctor(world):
    """MinIO notifies the sidecar, and the sidecar listens."""
    report = world.site.ask("doctor")

    assert "IMGTAG:webhook" in report
    assert "a sidecar listens" in report
    assert TOKEN not in report + world.site.log.read_text()
