"""What a worker gives up by itself, before it sees a model or a picture."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from imgtag.workers.child.kernel import (
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    control_process,
    leave_namespaces,
    set_capabilities,
)
from imgtag.workers.child.landlock import restrict_access
from imgtag.workers.child.seccomp import filter_system_calls

_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_CAP_DAC_READ_SEARCH = 1 << 2
_AMBIENT_CLEAR_ALL = 4
_MAX_FILES = 64
_MAX_TASKS = 256
"""Threads of a worker in a user namespace of its own, where the kernel counts no others."""
_OOM_SCORE = "800"
"""Of 1,000: where memory is short, the kernel ends a worker before anything else."""
_SYSTEM_FILES = (
    # Shared libraries, and where the loader finds them.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    # Processors and memory, which the runtimes of models look at.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
)


def confine(parent: int, readable: Sequence[str]) -> list[str]:
    """Give up everything but reading code, shared libraries and ``readable``, computing, and the open socket.

    The kernel kills the process when its parent ends. Returns those of ``namespaces``, ``landlock`` and ``seccomp``
    that this kernel has granted. Call it while there is one thread.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_FILES, _MAX_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    # Ctrl-C and systemd signal the whole group; the sidecar lets its workers finish, and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    granted = {"namespaces": _leave_network()}
    control_process(PR_SET_NO_NEW_PRIVS, 1)
    # Keep none; root keeps the right to read what belongs to others, and Landlock says which files that are.
    kept = 0 if os.geteuid() else _CAP_DAC_READ_SEARCH
    with suppress(OSError):  # kernels without ambient capabilities
        control_process(PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    # Fails past the last capability, and where there is no right to drop one: then there is none to drop.
    with suppress(OSError):
        for capability in range(64):
            if not kept >> capability & 1:
                control_process(PR_CAPBSET_DROP, capability)
    try:
        set_capabilities(kept)
    except OSError:
        # A container has taken that right from root; or a filter around us forbids the call, where none is left anyway.
        with suppress(OSError):
            set_capabilities(0)
    granted["landlock"] = bool(restrict_access([*_code_paths(), *_SYSTEM_FILES, *readable]))
    granted["seccomp"] = filter_system_calls()
    return [feature for feature, has in granted.items() if has]


def _leave_network() -> bool:
    """Whether the process is in a network namespace of its own, which has no interface."""
    # Root needs no namespace of users, and would lose its right to read a model that belongs to somebody else.
    if leave_namespaces(_CLONE_NEWNET):
        return True
    if not leave_namespaces(_CLONE_NEWUSER | _CLONE_NEWNET):
        return False
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = _MAX_TASKS if hard == resource.RLIM_INFINITY else min(_MAX_TASKS, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    return True


def _code_paths() -> Iterator[str]:
    """Where modules and their libraries are."""
    yield from filter(os.path.isabs, sys.path)
    # An interpreter with a prefix of its own, such as one of conda, has its shared libraries there.
    yield str(Path(sys.base_prefix, "lib"))
