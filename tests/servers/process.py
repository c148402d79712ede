"""A server process with a data folder of its own, which never outlives the tests."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

READY = 60.0
"""Seconds until a server must answer."""
STOP = 30.0
"""Seconds until a server that was asked to stop is killed."""
PORTS = range(10_000, 32_768)


def free_port() -> int:
    """A port of loopback that nobody listens on.

    It is below those that the kernel gives away by itself (``ip_local_port_range``), so that no connection takes it
    before the server does, nor while the server is restarted.
    """
    while True:
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """One server. Subclasses say how it is called, and may say when it is ready.

    ``port`` and ``folder`` stay the same over ``stop``, ``kill`` and ``start``, so a restart finds its data.
    """

    patience = READY

    def __init__(self, binary: Path, folder: Path, port: int | None = None) -> None:
        self.binary = binary
        self.folder = folder
        self.port = port or free_port()
        self.environment: dict[str, str] = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        self._process: subprocess.Popen[bytes] | None = None

    def arguments(self) -> Sequence[str]:
        """What follows the name of the binary."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it answers; by default, whether its port does."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def log(self) -> Path:
        """Where what it prints goes."""
        return self.folder / "server.log"

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it is ready. Raises RuntimeError with the end of its log."""
        assert not self.running, "it runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            command = [str(self.binary), *self.arguments()]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
            )
        self._guard = guard(self._process.pid)
        self._wait()
        return self

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start, on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It lives and does nothing, as a machine that swaps itself to death."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _wait(self) -> None:
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline and self.running:
            if self.ready():
                return
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self.binary.name} does not answer on port {self.port}:\n{self.last_words}")

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP)
        self._guard.communicate(b"\n")


def guard(pid: int) -> subprocess.Popen[bytes]:
    """Kills a process when the tests themselves are killed: our end of its pipe is closed then."""
    command = ["/bin/sh", "-c", 'read -r _ || kill -9 "$1"', "guard", str(pid)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
