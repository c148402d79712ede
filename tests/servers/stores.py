"""Every S3 server that can be had, each on a folder of its own."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import urllib3

from servers.minio import MinioServer
from servers.nats import NatsServer
from servers.process import ServerProcess, free_port

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "servers.py"))


class StoreServer(ServerProcess):
    """``nats`` and ``subject``: where it publishes its events by flags of its own, if it can."""

    name = ""
    title = ""
    events = "none"
    """How it notifies over NATS."""
    access_key = "GK000000000000000000000001"
    secret_key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

    def __init__(self, binary: Path, folder: Path, nats: NatsServer | None = None, subject: str = "") -> None:
        super().__init__(binary, folder)
        self.nats = nats
        self.subject = subject

    @classmethod
    def notifying(cls, binary: Path, folder: Path, nats: NatsServer, subject: str) -> Self:
        """A server that publishes its events there, where it can."""
        return cls(binary, folder, nats, subject)

    @property
    def settings(self) -> dict[str, Any]:
        """The table `[store.s3]`."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return {"endpoint": endpoint, "access_key": self.access_key, "secret_key": self.secret_key}

    @property
    def data(self) -> Path | None:
        """The folder that has a folder for each bucket; None where there is none."""
        return None

    def ready(self) -> bool:
        """Whether it accepts requests."""
        return _answers(self.port)


class Minio(MinioServer):
    """MinIO, with the two targets that `imgtag setup` proposes where there is a NATS server."""

    name, title, events = "minio", "MinIO", "by `imgtag setup`"

    @classmethod
    def notifying(cls, binary: Path, folder: Path, nats: NatsServer, subject: str) -> Self:
        """A server with a target for events."""
        target = {"ENABLE": "on", "ADDRESS": f"127.0.0.1:{nats.port}", "SUBJECT": subject}
        return cls(binary, folder, extra={f"MINIO_NOTIFY_NATS_{key}_FAST": value for key, value in target.items()})

    @property
    def data(self) -> Path | None:
        """The folder that has a folder for each bucket."""
        return self.folder / "data"


class Versitygw(StoreServer):
    """On a folder, with older versions in another one."""

    name, title, events = "versitygw", "versitygw (posix)", "by flags of the server"

    @property
    def data(self) -> Path | None:
        return self.folder / "data"

    def arguments(self) -> Sequence[str]:
        for folder in ("data", "versions"):
            (self.folder / folder).mkdir(exist_ok=True)
        listen = ["--port", f"127.0.0.1:{self.port}", "--access", self.access_key, "--secret", self.secret_key]
        events = []
        if self.nats:
            events = ["--event-nats-url", f"nats://127.0.0.1:{self.nats.port}", "--event-nats-topic", self.subject]
        backend = ["posix", "--versioning-dir", str(self.folder / "versions"), str(self.folder / "data")]
        return ["--quiet", *listen, *events, *backend]


class Garage(StoreServer):
    """One node, with one key that may create buckets."""

    name, title = "garage", "Garage"

    def arguments(self) -> Sequence[str]:
        rpc = free_port()
        self._config = self.folder / "garage.toml"
        self._config.write_text(
            f"""\
metadata_dir = "{self.folder}/meta"
data_dir = "{self.folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{"1" * 64}"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{self.port}"
"""
        )
        return ["-c", str(self._config), "server"]

    def start(self) -> Self:
        """Start it, and give the new node its role and the key."""
        super().start()
        node = self._run("node", "id", "-q").partition("@")[0].strip()
        self._run("layout", "assign", "-z", "here", "-c", "1G", node[:16])
        self._run("layout", "apply", "--version", "1")
        self._run("key", "import", "--yes", "-n", "imgtag", self.access_key, self.secret_key)
        self._run("key", "allow", "--create-bucket", self.access_key)
        return self

    def _run(self, *arguments: str) -> str:
        command = [str(self.binary), "-c", str(self._config), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


class Seaweedfs(StoreServer):
    """Master, volume, filer and S3 in one process."""

    name, title = "weed", "SeaweedFS 4.53"
    patience = 60.0

    def ready(self) -> bool:
        """Whether it accepts requests, and has a place for an object: some seconds later."""
        return super().ready() and _answers(self._master, "/dir/assign")

    def arguments(self) -> Sequence[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        config = self.folder / "s3.json"
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "imgtag", "actions": actions, "credentials": keys}
        config.write_text(json.dumps({"identities": [identity]}))
        self._master = free_port()
        options = {
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "dir": self.folder / "data",
            "master.port": self._master,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 0,  # as many as there is room for: eight are the default, and each bucket takes some
            "s3.port": self.port,
            "s3.config": config,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            **{f"{part}.port": free_port() for part in ("volume", "filer")},
            **{f"{part}.port.grpc": free_port() for part in ("master", "volume", "filer", "s3")},
        }
        return ["server", "-s3", *(f"-{name}={value}" for name, value in options.items())]


def _answers(port: int, path: str = "/") -> bool:
    with urllib3.PoolManager(retries=False, timeout=1.0) as pool:
        try:
            return bool(pool.request("GET", f"http://127.0.0.1:{port}{path}").status < 404)
        except urllib3.exceptions.HTTPError:
            return False


STORES: tuple[type[Minio | StoreServer], ...] = (Minio, Versitygw, Garage, Seaweedfs)


def is_installed(store: type[Minio | StoreServer]) -> bool:
    """Whether its program is found."""
    return SCRIPT["find"](store.name) is not None


def version_of(store: type[Minio | StoreServer]) -> str:
    """The exact version that is built here."""
    known = SCRIPT["SERVERS"].get(store.name)
    return str(known.version) if known else "unknown"
