"""The image, built by buildah on a bootstrapped Debian and run by podman: as root, in storage of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BASE = "localhost/imgtag-base"
IMAGE = "localhost/imgtag"
CACHE = ROOT / ".tools" / "base.tar"
HARDENED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
CONFIG = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
"""


class Engine:
    """buildah and podman with a folder for all that they keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{folder / "graph"}"\nrunroot = "{folder / "run"}"\n'
        (folder / "storage.conf").write_text(storage)
        (folder / "containers.conf").write_text(CONFIG)
        self.env = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def build(self) -> None:
        """The image of what is in the tree, on a base that this machine makes."""
        run = self.env | {"TARBALL": str(CACHE), "ENGINE": "podman"}
        subprocess.run([ROOT / "scripts/base_image.sh", BASE], check=True, env=run, timeout=900, capture_output=True)
        shared = [part for path in ("/etc/ssl/certs", "/etc/resolv.conf") for part in ("-v", f"{path}:{path}:ro")]
        options = ["--format", "docker", "--build-arg", f"BASE={BASE}", "--build-arg", "VERSION=test", *shared]
        command = ["buildah", "bud", *options, "--tag", IMAGE, str(ROOT)]
        done = subprocess.run(command, env=self.env, timeout=900, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def podman(self, *arguments: str, code: int = 0, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        done = subprocess.run(["podman", *arguments], env=self.env, capture_output=True, text=True, timeout=timeout)
        assert code == done.returncode, done.stdout + done.stderr
        return done

    def run(self, *arguments: str, options: tuple[str, ...] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        """A container that runs to its end, hardened, on the network of the machine."""
        return self.podman("run", "--rm", "--network", "host", *HARDENED, *options, IMAGE, *arguments, code=code)

    def start(self, *options: str, arguments: tuple[str, ...] = ()) -> Running:
        """A container in the background."""
        name = f"imgtag-{token_hex(4)}"
        command = ("run", "--detach", "--name", name, "--network", "host", *HARDENED, *options, IMAGE, *arguments)
        self.podman(*command)
        return Running(self, name)

    def image(self) -> Mapping[str, Any]:
        """What the engine says of the image."""
        found: Mapping[str, Any] = json.loads(self.podman("image", "inspect", IMAGE).stdout)[0]
        return found


class Running:
    """A container that was started."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self.name = name

    def exec(self, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command beside what runs, to its end."""
        return self._engine.podman("exec", self.name, *command, code=code)

    def logs(self) -> str:
        done = self._engine.podman("logs", self.name)
        return done.stdout + done.stderr

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self._engine.podman("stop", "--time", "40", self.name)
        state = self._engine.podman("inspect", "--format", "{{.State.ExitCode}}", self.name).stdout
        return int(state)

    def changed(self) -> list[str]:
        """Paths of the root filesystem that are not as in the image."""
        lines = self._engine.podman("diff", self.name).stdout.splitlines()
        return [line.split(" ", 1)[1] for line in lines]

    def remove(self) -> None:
        self._engine.podman("rm", "--force", "--time", "0", self.name)


def engine(folder: Path) -> Engine:
    """The engine; without root and its programs the test is skipped, and on CI it fails."""
    missing = [name for name in ("buildah", "podman", "runc", "debootstrap") if not shutil.which(name)]
    if os.geteuid():
        missing.append("root")
    if missing:
        words = f"needed to build and run an image: {', '.join(missing)}; scripts/ci-packages.sh"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    return Engine(folder)
