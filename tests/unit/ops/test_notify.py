"""What systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from imgtag.ops.notify import READY, WATCHDOG, notify, status, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_states_reach_the_socket(tmp_path: Path, *, abstract: bool) -> None:
    """States go in one message, to a socket in the file system or to an abstract one."""
    name = f"@imgtag-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1))

        assert notify(READY, status("two\nlines"), env={"NOTIFY_SOCKET": name})

        assert b"READY=1\nSTATUS=two lines" == systemd.recv(100)


@pytest.mark.anyio
async def test_notifying_never_blocks(tmp_path: Path) -> None:
    """A systemd that does not read costs a message, not the event loop."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)

        heard = [notify(WATCHDOG, env={"NOTIFY_SOCKET": path}) for _ in range(5000)]

    assert heard[0]
    assert not heard[-1]


@pytest.mark.parametrize("name", ["", "/no/such/socket", "vsock:2:1"])
def test_without_systemd_nothing_happens(name: str) -> None:
    """No socket, a dead one or an unknown kind: work goes on."""
    assert not notify(READY, env={"NOTIFY_SOCKET": name})


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_time(env: dict[str, str], expected: float | None) -> None:
    """Only where systemd watches this very process."""
    assert expected == watchdog_seconds(env)
