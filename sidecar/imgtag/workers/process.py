"""How a worker process is started, before anybody knows what it is for. Imports nothing that takes time itself."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

MAX_REAP = 2.0
"""Seconds until a process that has closed its socket has ended."""
_ENVIRONMENT = {
    # One thread a worker: parallelism comes from the number of processes.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    # Else it looks through all installed distributions.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    # What a large picture took is given back at once; by default glibc comes to keep much of it.
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}


class WaitingProcess(NamedTuple):
    """A process that waits for its terms, and our end of its socket. It ends when that is closed."""

    process: subprocess.Popen[bytes]
    connection: socket.socket


_ahead: list[WaitingProcess] = []


def start_process() -> WaitingProcess:
    """Start a process; the kernel ends it when the calling thread ends. Raises OSError."""
    ours, theirs = socket.socketpair()
    # Ctrl-C and systemd signal the whole group. A process that blocks these from birth has no moment to die of them.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-I", "-m", "imgtag.workers.child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # What a classifier's libraries print is noise, unless somebody is looking for a fault.
                stderr=subprocess.PIPE if log.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
                cwd="/",
                env=_ENVIRONMENT,
            )
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    if process.stderr is not None:
        Thread(target=_show_output, args=(process,), daemon=True).start()
    return WaitingProcess(process, ours)


@contextmanager
def started_ahead() -> Iterator[None]:
    """Start a process for the first worker within; it is ended where there is none.

    For a command that is about to import what it needs, and will need a worker: the process does its own imports
    meanwhile. To be entered in a thread that outlives the worker.
    """
    with suppress(OSError):  # the worker will meet the same, and say it
        _ahead.append(start_process())
    try:
        yield
    finally:
        while unused := take_process():
            unused.process.kill()
            unused.connection.close()
            reap(unused.process)


def take_process() -> WaitingProcess | None:
    """The process that was started ahead, if there is one."""
    return _ahead.pop() if _ahead else None


def reap(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process is gone that was killed, or has closed its socket; a little, as it may hang."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(MAX_REAP)


def _show_output(process: subprocess.Popen[bytes]) -> None:
    """Copy what a worker prints to our stderr, escaped. It cannot have that itself: it may not write to files."""
    assert process.stderr is not None, "it was asked for"
    with process.stderr as lines:
        for line in lines:
            text = line.decode("utf-8", "backslashreplace").rstrip("\n")
            sys.stderr.write(f"worker {process.pid}: {text.encode('unicode_escape').decode()}\n")
