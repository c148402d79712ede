"""What keeps a worker that a picture has taken over away from everything else. A kernel may lack some of it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from imgtag.workers.child.kernel import PR_GET_DUMPABLE, PR_SET_DUMPABLE, control_process

WORKER_FEATURES = ("landlock", "seccomp", "namespaces")
"""What a worker asks for, by the names that it answers."""
REQUIRED_FEATURES = ("landlock", "seccomp")
"""Without these, a worker that was taken over can read files or reach the network. A network namespace adds nothing
to them but depth: many sandboxes forbid it, and seccomp forbids sockets."""
CONFINEMENT_HINT = (
    "Landlock needs Linux 5.13 and `landlock` in /sys/kernel/security/lsm; seccomp needs x86-64 or aarch64. "
    "A container's seccomp profile or a unit's SystemCallFilter can forbid both."
)


def missing_features(granted: Collection[str]) -> tuple[str, ...]:
    """The required features that a worker did not get."""
    return tuple(feature for feature in REQUIRED_FEATURES if feature not in granted)


def hide_memory() -> None:
    """Let no other process of this user read this one's memory, environment, or descriptors, nor trace it.

    There are no core dumps either, and a debugger needs root.
    """
    with suppress(OSError):
        control_process(PR_SET_DUMPABLE, 0)


def is_memory_hidden() -> bool:
    """Whether `hide_memory` is in force."""
    return control_process(PR_GET_DUMPABLE) != 1
