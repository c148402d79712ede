"""MinIO on one drive, with keys for encryption, and the settings that a store needs to use it."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import md5
from pathlib import Path

import pytest
import urllib3

from servers.nats import NatsServer
from servers.process import ServerProcess, free_port

KMS_KEY = "imgtag:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""For `MINIO_KMS_SECRET_KEY`: makes SSE-S3 and SSE-KMS work, with one fixed key."""
_KEY = bytes(range(32))
CUSTOMER_KEY = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": b64encode(_KEY).decode(),
    "x-amz-server-side-encryption-customer-key-md5": b64encode(md5(_KEY).digest()).decode(),
}
"""Headers of an object that is encrypted with a key of its uploader, which needs TLS."""
_SCRIPT = Path(__file__).parents[2] / "scripts" / "servers.py"


def minio_binary() -> Path:
    """Where MinIO is; without it the test is skipped, and on CI it fails."""
    found: Path | None = runpy.run_path(str(_SCRIPT))["find"]("minio")
    if found is None:
        missing = "minio is not installed: python scripts/servers.py install minio"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


def lanes(nats: NatsServer, subject: str, queue: Path) -> dict[str, str]:
    """Settings of two targets: FAST, at once and not durable, and SAFE, durable in the folder ``queue`` and late."""
    queue.mkdir(parents=True, exist_ok=True)
    target = {"ENABLE": "on", "ADDRESS": f"127.0.0.1:{nats.port}", "SUBJECT": subject, "JETSTREAM": "on"}
    both = {"FAST": target, "SAFE": target | {"QUEUE_DIR": str(queue)}}
    return {f"MINIO_NOTIFY_NATS_{key}_{name}": value for name, lane in both.items() for key, value in lane.items()}


def make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 in the folder, as ``certs`` of `MinioServer`; returns the folder."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    kind = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "private.key"), "-out", str(folder / "public.crt")]
    subprocess.run([*kind, *named, *files], check=True, capture_output=True, timeout=30)
    return folder


class MinioServer(ServerProcess):
    """``extra`` is environment, such as ``MINIO_NOTIFY_NATS_ENABLE_FAST``; it may change between stop and start.

    ``certs`` is a folder with ``public.crt`` and ``private.key``: with one it speaks TLS.
    """

    access_key = "imgtag-tests"
    secret_key = "imgtag-tests-secret"

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        extra: Mapping[str, str] | None = None,
        certs: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__(binary, folder, port)
        self.certs = certs
        self._console = free_port()
        self.environment |= {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_KMS_SECRET_KEY": KMS_KEY,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            # Without it a MinIO takes requests for seconds after a start before it notifies of them.
            "MINIO_SYNC_BOOT": "on",
            **(extra or {}),
        }

    def arguments(self) -> Sequence[str]:
        certs = self.certs or self.folder / "certs"
        listen = ["--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{self._console}"]
        return ["server", *listen, "--certs-dir", str(certs), str(self.folder / "data")]

    def ready(self) -> bool:
        """Whether it takes requests."""
        ca = str(self.certs / "public.crt") if self.certs else None
        with urllib3.PoolManager(retries=False, timeout=1.0, ca_certs=ca) as pool:
            try:
                answer = pool.request("GET", f"{self.endpoint}/minio/health/ready")
            except urllib3.exceptions.HTTPError:
                return False
        # Before it knows its drives it answers 200 as well, and has this header besides: "offline".
        return answer.status == 200 and "x-minio-server-status" not in answer.headers

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"{'https' if self.certs else 'http'}://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, object]:
        """The table `[store.s3]` of its administrator."""
        return {"endpoint": self.endpoint, "access_key": self.access_key, "secret_key": self.secret_key}
