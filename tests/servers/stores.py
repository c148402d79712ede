"""S3 servers besides MinIO: versitygw, Garage and SeaweedFS, each on one folder."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import urllib3

from servers.nats import NatsServer
from servers.process import ServerProcess, free_port

_SCRIPT = Path(__file__).parents[2] / "scripts" / "servers.py"
SUBJECT = "imgtag.home.events"


class StoreServer(ServerProcess):
    """``nats``: a server that it publishes its events to, where it can."""

    name = ""
    access_key = "GK000000000000000000000001"
    secret_key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

    def __init__(self, binary: Path, folder: Path, nats: NatsServer | None = None) -> None:
        super().__init__(binary, folder)
        self._nats = nats

    @property
    def version(self) -> str:
        """The exact version, as the build was asked for."""
        return str(runpy.run_path(str(_SCRIPT))["SERVERS"][self.name].version)

    @property
    def settings(self) -> dict[str, Any]:
        """The table `[store.s3]`."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return {"endpoint": endpoint, "access_key": self.access_key, "secret_key": self.secret_key}

    def ready(self) -> bool:
        with urllib3.PoolManager(retries=False, timeout=1.0) as pool:
            try:
                return bool(pool.request("GET", f"http://127.0.0.1:{self.port}/").status < 500)
            except urllib3.exceptions.HTTPError:
                return False

    def move(self, bucket: str, aside: Path, *, back: bool = False) -> None:
        """Take a bucket's folder off the drive, or put it back. Raises NotImplementedError where it has none."""
        raise NotImplementedError


class Minio(StoreServer):
    """With the lines for events that `imgtag setup` proposes."""

    name = "minio"


class Versitygw(StoreServer):
    """On a folder, with versions beside it, as its manual has it."""

    name = "versitygw"

    def arguments(self) -> Sequence[str]:
        for folder in ("data", "versions"):
            (self.folder / folder).mkdir(exist_ok=True)
        nats = self._nats
        events = ["--event-nats-url", nats.url, "--event-nats-topic", SUBJECT] if nats else []
        listen = ["--port", f"127.0.0.1:{self.port}", "--access", self.access_key, "--secret", self.secret_key]
        backend = ["posix", "--versioning-dir", str(self.folder / "versions"), str(self.folder / "data")]
        return ["--quiet", *listen, *events, *backend]

    def move(self, bucket: str, aside: Path, *, back: bool = False) -> None:
        there = self.folder / "data" / bucket
        (aside / bucket).rename(there) if back else there.rename(aside / bucket)


class Garage(StoreServer):
    """One node, with one key that may make buckets."""

    name = "garage"

    def arguments(self) -> Sequence[str]:
        self._rpc = free_port()
        config = self.folder / "garage.toml"
        config.write_text(
            f"""\
metadata_dir = "{self.folder}/meta"
data_dir = "{self.folder}/data"
db_engine = "sqlite"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{self._rpc}"
rpc_public_addr = "127.0.0.1:{self._rpc}"
rpc_secret = "{"1" * 64}"

[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{self.port}"
"""
        )
        return ["-c", str(config), "server"]

    def start(self) -> Garage:
        super().start()
        node = self._run("node", "id", "-q").partition("@")[0].strip()
        if "NO ROLE" in self._run("status"):
            self._run("layout", "assign", "-z", "here", "-c", "1G", node[:16])
            self._run("layout", "apply", "--version", "1")
            self._run("key", "import", "--yes", "-n", "imgtag", self.access_key, self.secret_key)
            self._run("key", "allow", "--create-bucket", self.access_key)
        return self

    def _run(self, *arguments: str) -> str:
        command = [str(self.binary), "-c", str(self.folder / "garage.toml"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


class Seaweedfs(StoreServer):
    """Master, volume, filer and S3 in one process."""

    name = "seaweedfs"
    patience = 60.0

    def arguments(self) -> Sequence[str]:
        (self.folder / "data").mkdir(exist_ok=True)
        config = self.folder / "s3.json"
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "imgtag", "actions": actions, "credentials": keys}
        config.write_text(json.dumps({"identities": [identity]}))
        ports = [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
        here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder / 'data'}"]
        return ["server", *here, *ports, "-s3", f"-s3.port={self.port}", f"-s3.config={config}"]
