"""A small Debian that is booted with systemd, sharing the network of the machine that the tests run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Self

import pytest

from servers.process import guard

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".tools" / "rootfs"
SUITE = "bookworm"
PACKAGES = "systemd,systemd-sysv,dbus,procps,python3,man-db"
BOOT = 90.0
"""Seconds until it must have booted."""


def debian() -> Path:
    """The folder of a bootstrapped Debian, not to be changed; without root and debootstrap the test is skipped."""
    missing = [name for name in ("debootstrap", "systemd-nspawn", "nsenter") if not shutil.which(name)]
    if os.geteuid():
        missing.append("root")
    if missing:
        words = f"needed to boot a Debian: {', '.join(missing)}; scripts/ci-packages.sh"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    folder = CACHE / f"{SUITE}-{PACKAGES.replace(',', '+')}"
    if not folder.exists():
        _bootstrap(folder)
    return folder


def _bootstrap(folder: Path) -> None:
    """Aside first, so that what was interrupted is not taken for the whole."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as aside:
        base = Path(aside) / "root"
        mirror = [site] if (site := _mirror()) else []
        options = ["--variant=minbase", f"--include={PACKAGES}"]
        # In a namespace of its own: what it mounts goes with it, however it ends.
        command = ["unshare", "--mount", "debootstrap", *options, SUITE, str(base), *mirror]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode:
            log = base / "debootstrap" / "debootstrap.log"
            raise RuntimeError(
                done.stdout[-2000:] + done.stderr[-2000:] + (log.read_text()[-2000:] if log.exists() else "")
            )
        base.rename(folder)


def _mirror() -> str:
    """Where this machine has its own Debian from; else where debootstrap looks by itself."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)|$(SUITE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    known = (line.split("|") for line in lines)
    sites = [site for site, *_, component, origin in known if (component, origin) == ("main", "Debian")]
    return next((site for site in sites if not site.endswith("security")), "")


class Machine:
    """A copy of ``base`` below ``folder``, booted."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.root = folder / "root"
        self.log = folder / "boot.log"
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], check=True)
        (self.root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def start(self) -> Self:
        """Boot, and wait until that is done."""
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine=imgtag-{token_hex(4)}"]
        # Real machines do not forbid Landlock; the container that stands for one does, unless its filter is told.
        command.append("--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--directory", str(self.root), "--boot"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._guard = guard(self._process.pid)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        deadline = time.monotonic() + BOOT
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError, IndexError):
                self._leader = int(children.read_text().split()[0])
                if self.run("systemctl", "is-system-running", check=False).strip() in {"running", "degraded"}:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"it does not boot:\n{self.log.read_text(errors='replace')[-4000:]}")

    def run(self, *command: str, check: bool = True, input: str | None = None, timeout: float = 120) -> str:  # noqa: A002
        """What a command prints that root types there."""
        done = self.call(*command, input=input, timeout=timeout)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *command: str, input: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """A command that root types there."""
        enter = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            "--root",
            "--wd",
        ]
        clean = [
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "HOME=/root",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        return subprocess.run([*enter, *clean, *command], capture_output=True, text=True, input=input, timeout=timeout)

    def path(self, inside: str) -> Path:
        """Where a file of it is, seen from outside."""
        return self.root / inside.lstrip("/")

    def journal(self, unit: str) -> str:
        """What a unit said, and what systemd said of it."""
        return self.run("journalctl", "--no-pager", "--output=short-iso", "--unit", unit)

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def stop(self) -> None:
        """Power it off; what does not go is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        self._guard.communicate(b"\n")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
