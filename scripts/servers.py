#!/usr/bin/env python3
"""The servers and tools that tests run against: found on PATH, or built into `.tools/bin`.

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
COMPILERS = {"go": "Go 1.26 or newer", "cargo": "Rust 1.85 or newer", "mvn": "Maven and Java 17 or newer"}


class NoCompiler(Exception):
    """There is nothing to build with."""


@dataclass(frozen=True, kw_only=True)
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
    compiler: str = "go"
    optional: bool = False
    """Takes so long to build that it is only built when it is named."""

    def install(self, folder: Path) -> Path:
        """Build it into a folder; its path there. Raises CalledProcessError."""
        package = self.package if self.module else f"{self.package}@{self.version}"
        environment = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        command = ["go", "install", "-v", *self.flags, package]
        subprocess.run(command, env=environment, cwd=self.module, check=True)  # noqa: S603 - of the list below
        return folder / self.command


@dataclass(frozen=True, kw_only=True)
class RustServer(Server):
    """A Rust program; ``package`` is its crate."""

    compiler: str = "cargo"

    def install(self, folder: Path) -> Path:
        """Build it into a folder; its path there. Raises CalledProcessError."""
        command = ["cargo", "install", self.package, "--version", self.version, "--locked", "--root", str(folder)]
        subprocess.run(command, check=True)  # noqa: S603 - of the list below
        return folder / "bin" / self.command


@dataclass(frozen=True, kw_only=True)
class JavaServer(Server):
    """A Java program: its jars in a folder beside the other programs, and a script that starts the class ``package``.

    Its ``module`` folder has a pom.xml, which takes the version from the command line, and may have sources.
    """

    compiler: str = "mvn"

    def install(self, folder: Path) -> Path:
        """Download its jars and write the script into a folder; its path there. Raises CalledProcessError."""
        assert self.module, "it has a pom.xml"
        jars = f"{self.command}-{self.version}"
        command = ["mvn", "--batch-mode", "--quiet", "-f", str(self.module), "dependency:copy-dependencies"]
        subprocess.run([*command, f"-Dserver.version={self.version}", f"-DoutputDirectory={folder / jars}"], check=True)  # noqa: S603 - of the list below
        if sources := [str(path) for path in self.module.glob("*.java")]:
            subprocess.run(["javac", "-cp", f"{folder / jars}/*", "-d", str(folder / jars), *sources], check=True)  # noqa: S603, S607 - ours
        shutil.rmtree(FOLDER.parent / jars, ignore_errors=True)
        (folder / jars).replace(FOLDER.parent / jars)
        script = folder / self.command
        home = f'home=$(dirname "$0")/../{jars}'
        script.write_text(f'#!/bin/sh\n{home}\nexec java $JAVA_OPTS -cp "$home:$home/*" {self.package} "$@"\n')
        script.chmod(0o755)
        return script


def _kubernetes(command: str) -> Server:
    """A program of a Kubernetes control plane. Its version is stamped, because clients read it from the server."""
    version, names = "v1.34.2", "k8s.io/component-base/version"
    stamp = f"-s -w -X {names}.gitVersion={version} -X {names}.gitMajor=1 -X {names}.gitMinor=34"
    return Server(
        package=f"k8s.io/kubernetes/cmd/{command}",
        version=version,
        command=command,
        module=Path(__file__).parent / "kubernetes",
        flags=("-ldflags", stamp),
    )


_MINIO, _MC = "v0.0.0-20260212201848-7aac2a2c5b7c", "v0.0.0-20250313080218-cf909e1063a9"
SERVERS = {
    "minio": Server(package="github.com/minio/minio", version=_MINIO, command="minio"),
    "mc": Server(package="github.com/minio/mc", version=_MC, command="mc"),
    "nats-server": Server(package="github.com/nats-io/nats-server/v2", version="v2.12.1", command="nats-server"),
    "toxiproxy-server": Server(
        package="github.com/Shopify/toxiproxy/v2/cmd/server", version="v2.5.0", command="server"
    ),
    "versitygw": Server(package="github.com/versity/versitygw/cmd/versitygw", version="v1.8.0", command="versitygw"),
    "garage": RustServer(package="garage", version="2.5.0", command="garage", optional=True),
    "weed": Server(
        package="github.com/seaweedfs/seaweedfs/weed",
        version="v0.0.0-20261109003541-7506e5f91cd6",  # 4.53: its tags are no semantic versions either
        command="weed",
        module=Path(__file__).parent / "seaweedfs",
        optional=True,
    ),
    "elasticmq": JavaServer(
        package="org.elasticmq.server.Main",
        version="1.6.12",
        command="elasticmq",
        module=Path(__file__).parent / "elasticmq",
    ),
    "helm": Server(package="helm.sh/helm/v3/cmd/helm", version="v3.21.4", command="helm"),
    "kubeconform": Server(
        package="github.com/yannh/kubeconform/cmd/kubeconform", version="v0.8.0", command="kubeconform"
    ),
    "opensearch": JavaServer(
        package="TestNode", version="2.19.1", command="opensearch", module=Path(__file__).parent / "opensearch"
    ),
    **{name: _kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kubectl")},
}


def find(name: str) -> Path | None:
    """The path of a server: on PATH, else in `.tools/bin`; None where it is not installed.

    Programs of one module belong together by version, so those are never taken from PATH.
    """
    ours = name in SERVERS and SERVERS[name].module is not None
    places = [str(FOLDER)] if ours else [os.environ.get("PATH", os.defpath), str(FOLDER)]
    path = shutil.which(name, path=os.pathsep.join(places))
    return Path(path) if path else None


def install(name: str) -> Path:
    """The path of a server, which is built if it is missing. Raises NoCompiler or CalledProcessError."""
    if path := find(name):
        return path
    server = SERVERS[name]
    if shutil.which(server.compiler) is None:
        raise NoCompiler(f"{name} is neither on PATH nor in {FOLDER}, and there is no {server.compiler} to build it")
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{name}: building {server.package} {server.version}", flush=True)
    # Aside first: others may look for it in the meantime, and the name that it is built with can say too little.
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as aside:
        return server.install(Path(aside)).replace(FOLDER / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 where a server is missing and cannot be built."""
    parser = argparse.ArgumentParser(description="Servers for the integration tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    usual = [name for name, server in SERVERS.items() if not server.optional]
    optional = [name for name, server in SERVERS.items() if server.optional]
    names = f"one of {', '.join(SERVERS)}; all by default except {', '.join(optional)}"
    commands.add_parser("install", help="build what is missing").add_argument(
        "names", nargs="*", metavar="NAME", help=names
    )
    commands.add_parser("where", help="print the path of one").add_argument("name", choices=list(SERVERS))
    options = parser.parse_args(arguments)
    if options.command == "where":
        path = find(options.name)
        missing = f"{options.name} is not installed: python scripts/servers.py install {options.name}"
        print(path or missing, file=None if path else sys.stderr)
        return 0 if path else 1
    unknown = set(options.names) - set(SERVERS)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    return _install(options.names or usual)


def _install(names: Sequence[str]) -> int:
    code = 0
    for name in names:
        try:
            print(f"{name}: {install(name)}", flush=True)
        except NoCompiler as error:
            print(f"{error}. Install {COMPILERS[SERVERS[name].compiler]}.", file=sys.stderr)
            code = 1
        except subprocess.CalledProcessError as error:
            print(f"{name}: the build failed with exit code {error.returncode}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
