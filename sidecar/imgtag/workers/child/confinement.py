"""What a worker may not do, set by itself before it sees a picture."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_FILES = 64
_FIRST_TO_GO = "800"
"""Of 1,000: where memory is short the kernel ends a worker before anything else."""


def confine(parent: int) -> None:
    """No core dumps, no files written, no new privileges, no network; killed when the sidecar dies."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    libc = ctypes.CDLL(None, use_errno=True)
    # Root needs no namespace of users, and would lose its right to read a model that belongs to somebody else. Where
    # kernel or container forbid both, the worker keeps the network: it has no credentials to use there.
    if libc.unshare(_CLONE_NEWNET):
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    # Ctrl-C and systemd signal the whole group; the sidecar lets its workers finish, and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def limit_memory(more: int) -> None:
    """At most ``more`` bytes of address space beyond what is mapped now, once a model is loaded.

    It is against pictures that would take it, and can be lifted again: whatever takes the process over meets the limits
    of its unit or container.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def lift_memory() -> None:
    """As much as there is, to load a model."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
