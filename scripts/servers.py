#!/usr/bin/env python3
"""The servers that the integration tests run against: found on PATH, or built with Go into `.tools/bin`.

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
    """There is nothing to build with."""


@dataclass(frozen=True)
class Server:
    """A Go program. ``command`` is the name that `go install` gives it.

    MinIO's release tags are no semantic versions, so those two are pinned by pseudo-version.
    """

    package: str
    version: str
    command: str


SERVERS = {
    "minio": Server("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c", "minio"),
    "mc": Server("github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9", "mc"),
    "nats-server": Server("github.com/nats-io/nats-server/v2", "v2.12.1", "nats-server"),
    "toxiproxy-server": Server("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0", "server"),
}


def find(name: str) -> Path | None:
    """Where a server is: on PATH, else in `.tools/bin`; None where it is not installed."""
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), str(FOLDER)))
    found = shutil.which(name, path=places)
    return Path(found) if found else None


def install(name: str) -> Path:
    """Where a server is; built first where it is not. Raises NoGo or CalledProcessError."""
    return find(name) or _build(name, SERVERS[name])


def _build(name: str, server: Server) -> Path:
    go = shutil.which("go")
    if go is None:
        raise NoGo(f"{name} is neither on PATH nor in {FOLDER}, and there is no Go to build it with")
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{name}: building {server.package} {server.version}", flush=True)
    # Aside first: others may be looking for it meanwhile, and toxiproxy's own name says too little.
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as aside:
        environment = {**os.environ, "GOBIN": aside, "CGO_ENABLED": "0"}
        subprocess.run([go, "install", "-v", f"{server.package}@{server.version}"], env=environment, check=True)  # noqa: S603 - of the list above
        return (Path(aside) / server.command).replace(FOLDER / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 where a server is missing and cannot be had."""
    parser = argparse.ArgumentParser(description="Servers for the integration tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    names = commands.add_parser("install", help="build what is missing").add_argument
    names("names", nargs="*", metavar="NAME", help=f"of {', '.join(SERVERS)}; all by default")
    commands.add_parser("where", help="print the path of one").add_argument("name", choices=list(SERVERS))
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
            print(f"{error}. Install Go 1.24 or newer.", file=sys.stderr)
            return 1
        except subprocess.CalledProcessError as error:
            print(f"{name}: go install failed with exit code {error.returncode}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
