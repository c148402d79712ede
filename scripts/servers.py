#!/usr/bin/env python3
"""Servers and tools for the tests: found on PATH, or built with Go into `.tools/bin`.

python scripts/servers.py install [NAME...]
python scripts/servers.py where NAME
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".tools" / "bin"


class NoGo(Exception):
    """Go is not installed."""


@dataclass(frozen=True)
class Server:
    """A Go program. ``command`` is the name that `go install` gives it.

    MinIO's release tags are not semantic versions, so its two programs are pinned by pseudo-version. A program with
    replaced dependencies has a ``module`` folder, whose go.mod contains the version too.
    """

    package: str
    version: str
    command: str
    module: Path | None = None
    flags: tuple[str, ...] = ()

    def install(self, gobin: str) -> None:
        """Build the program in a folder. Raises CalledProcessError."""
        package = self.package if self.module else f"{self.package}@{self.version}"
        environment = {**os.environ, "GOBIN": gobin, "CGO_ENABLED": "0"}
        command = ["go", "install", "-v", *self.flags, package]
        subprocess.run(command, env=environment, cwd=self.module, check=True)  # noqa: S603 - of the list below


def _kubernetes(command: str) -> Server:
    """Return a control plane program with a stamped version, because clients read the version from the server."""
    version, names = "v1.34.2", "k8s.io/component-base/version"
    stamp = f"-s -w -X {names}.gitVersion={version} -X {names}.gitMajor=1 -X {names}.gitMinor=34"
    folder = Path(__file__).parent / "kubernetes"
    return Server(f"k8s.io/kubernetes/cmd/{command}", version, command, folder, ("-ldflags", stamp))


SERVERS = {
    "minio": Server("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c", "minio"),
    "mc": Server("github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9", "mc"),
    "nats-server": Server("github.com/nats-io/nats-server/v2", "v2.12.1", "nats-server"),
    "toxiproxy-server": Server("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0", "server"),
    "helm": Server("helm.sh/helm/v3/cmd/helm", "v3.21.4", "helm"),
    "kubeconform": Server("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0", "kubeconform"),
    **{name: _kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kubectl")},
}


def find(name: str) -> Path | None:
    """Return the path of a server: on PATH, otherwise in `.tools/bin`; None if it is not installed.

    Programs of one module must have the same version, so they never come from PATH.
    """
    is_pinned = name in SERVERS and SERVERS[name].module is not None
    places = [str(FOLDER)] if is_pinned else [os.environ.get("PATH", os.defpath), str(FOLDER)]
    path = shutil.which(name, path=os.pathsep.join(places))
    return Path(path) if path else None


def install(name: str) -> Path:
    """Return the path of a server; build it first if it is missing. Raises NoGo or CalledProcessError."""
    return find(name) or _build(name, SERVERS[name])


def _build(name: str, server: Server) -> Path:
    if shutil.which("go") is None:
        raise NoGo(f"{name} is neither on PATH nor in {FOLDER}, and Go is not installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{name}: building {server.package} {server.version}", flush=True)
    # Build in another folder first, because other processes may look for the program meanwhile; then rename it.
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as folder:
        server.install(folder)
        return (Path(folder) / server.command).replace(FOLDER / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0, or 1 if a server is missing and cannot be built."""
    parser = argparse.ArgumentParser(description="Servers for the integration tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    names = commands.add_parser("install", help="build missing servers").add_argument
    names("names", nargs="*", metavar="NAME", help=f"one of {', '.join(SERVERS)}; default: all")
    commands.add_parser("where", help="print the path of a server").add_argument("name", choices=list(SERVERS))
    options = parser.parse_args(arguments)
    if options.command == "where":
        return _where(options.name)
    unknown = set(options.names) - set(SERVERS)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    return _install(options.names or list(SERVERS))


def _where(name: str) -> int:
    path = find(name)
    print(
        path or f"{name} is not installed: python scripts/servers.py install {name}", file=None if path else sys.stderr
    )
    return 0 if path else 1


def _install(names: Sequence[str]) -> int:
    for name in names:
        try:
            print(f"{name}: {install(name)}", flush=True)
        except NoGo as error:
            print(f"{error}. Install Go 1.26 or newer.", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            print(f"{name}: go install failed with exit code {error.returncode}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
