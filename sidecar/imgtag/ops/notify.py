"""Tell systemd how the service is, over the socket that it names (sd_notify(3)); nothing happens without one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"


def notify(*states: str, env: Mapping[str, str] = os.environ) -> bool:
    """Send states such as READY; whether systemd was there to hear them. Never blocks and never raises."""
    path = env.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return False
    address = "\0" + path[1:] if path[0] == "@" else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.connect(address)
            sender.send("\n".join(states).encode())
    except OSError:
        return False
    return True


def reloading() -> tuple[str, str]:
    """The states that say that the configuration is read again; READY ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def status(text: str) -> str:
    """The state that `systemctl status` shows as one line."""
    return f"STATUS={' '.join(text.split())}"


def watchdog_seconds(env: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which systemd wants to hear WATCHDOG; None when it does not watch this process."""
    micros = env.get("WATCHDOG_USEC", "")
    watched = env.get("WATCHDOG_PID") or str(os.getpid())
    if not micros.isdecimal() or int(micros) == 0 or watched != str(os.getpid()):
        return None
    return int(micros) / 1e6
