"""A control plane of Kubernetes on loopback: etcd, API server, controllers. Pods are made, and never run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import urllib3

from servers.process import ServerProcess, free_port

TOKEN = "tests-only"
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: tests
contexts: [{{name: tests, context: {{cluster: tests, user: tests}}}}]
users: [{{name: tests, user: {{token: {token}}}}}]
clusters: [{{name: tests, cluster: {{server: "{url}", certificate-authority: "{ca}"}}}}]
"""


class Etcd(ServerProcess):
    """The store of the API server."""

    def arguments(self) -> Sequence[str]:
        peers = f"http://127.0.0.1:{free_port()}"
        # Nothing has to outlive the tests, and a shared disk may take seconds for an fsync.
        quick = ["--unsafe-no-fsync", "--heartbeat-interval=500", "--election-timeout=5000"]
        ours = [f"--listen-client-urls={self.url}", f"--advertise-client-urls={self.url}"]
        others = [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
        named = ["--name=tests", f"--initial-cluster=tests={peers}", f"--data-dir={self.folder / 'data'}"]
        return [*ours, *others, *named, *quick]

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"


class ApiServer(ServerProcess):
    """``key`` signs the tokens of service accounts; a client with TOKEN may do anything."""

    patience = 90.0

    def __init__(self, binary: Path, folder: Path, *, etcd: str, key: Path) -> None:
        super().__init__(binary, folder)
        self._etcd, self._key = etcd, key

    def arguments(self) -> Sequence[str]:
        tokens = self.folder / "tokens.csv"
        tokens.write_text(f"{TOKEN},tests,tests,system:masters\n")
        return [
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._key}",
            f"--service-account-signing-key-file={self._key}",
            "--service-cluster-ip-range=10.0.0.0/24",
        ]

    def ready(self) -> bool:
        """Whether all that it does at a start is done."""
        with suppress(urllib3.exceptions.HTTPError, OSError):
            return self.get("/readyz").status == 200
        return False

    def get(self, path: str) -> urllib3.BaseHTTPResponse:
        """What it answers to its administrator."""
        with urllib3.PoolManager(retries=False, timeout=10.0, ca_certs=str(self.certificate)) as pool:
            return pool.request("GET", f"{self.url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """The certificate that it made for itself."""
        return self.folder / "certs" / "apiserver.crt"


class ControllerManager(ServerProcess):
    """Makes pods of workloads, and cleans up behind what is deleted."""

    patience = 60.0

    def __init__(self, binary: Path, folder: Path, *, kubeconfig: Path, key: Path) -> None:
        super().__init__(binary, folder)
        self._kubeconfig, self._key = kubeconfig, key

    def arguments(self) -> Sequence[str]:
        return [
            f"--kubeconfig={self._kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--service-account-private-key-file={self._key}",
            "--leader-elect=false",
            # No kubelet reports that the nodes live; after a minute they would get no pods of a DaemonSet any more.
            "--node-startup-grace-period=24h",
            "--node-monitor-grace-period=24h",
        ]


class ControlPlane:
    """The three of them, and `kubectl` as their administrator.

    ``binaries`` are etcd, kube-apiserver, kube-controller-manager and kubectl by name.
    """

    def __init__(self, binaries: dict[str, Path], folder: Path) -> None:
        self._kubectl = binaries["kubectl"]
        self._folder, self.kubeconfig = folder, folder / "kubeconfig"
        key = folder / "key.pem"
        self.etcd = Etcd(binaries["etcd"], folder / "etcd")
        self.api = ApiServer(binaries["kube-apiserver"], folder / "api", etcd=self.etcd.url, key=key)
        manager = binaries["kube-controller-manager"]
        self.controllers = ControllerManager(manager, folder / "controllers", kubeconfig=self.kubeconfig, key=key)
        self._key = key

    def __enter__(self) -> Self:
        subprocess.run(["openssl", "genrsa", "-out", str(self._key), "2048"], check=True, capture_output=True)
        self.kubeconfig.write_text(KUBECONFIG.format(token=TOKEN, url=self.api.url, ca=self.api.certificate))
        with ExitStack() as stack:
            for server in (self.etcd, self.api, self.controllers):
                stack.enter_context(server)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need, and nothing of the user who runs the tests."""
        return {"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """`kubectl`, however it ends."""
        command = [str(self._kubectl), *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self.environment, cwd=self._folder, timeout=60
        )

    def apply(self, manifest: str) -> None:
        """Make objects, under strict validation."""
        done = self.kubectl("apply", "--validate=strict", "-f", "-", stdin=manifest)
        assert done.returncode == 0, done.stderr

    def objects(self, *arguments: str) -> list[dict[str, Any]]:
        """What `kubectl get` finds."""
        done = self.kubectl("get", "--output", "json", "--ignore-not-found", *arguments)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"] if done.stdout else []
        return found
