"""What is mounted where."""

from __future__ import annotations

import os
import re
import select
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs"})


def remote_kind(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the network file system that ``path`` is on; None on a local one, or if it is unknown.

    inotify does not report what other machines change there.
    """
    real = os.path.realpath(path)
    longest, kind = "", ""
    for point, point_kind in _read_mounts(mounts):
        # Of two mounts on one point the later one is on top.
        if len(point) >= len(longest) and (real == point or real.startswith(point.rstrip("/") + "/")):
            longest, kind = point, point_kind
    return kind if kind in REMOTE or kind.startswith("fuse.") else None


def mounts_below(root: Path, mounts: Path = MOUNTS) -> set[str]:
    """The folders below ``root`` on which something is mounted, given as ``a/b/``."""
    below = f"{root}/"
    return {f"{point.removeprefix(below)}/" for point, _ in _read_mounts(mounts) if point.startswith(below)}


class MountAlarm:
    """Wakes ``poller`` whenever something is mounted or unmounted anywhere, and tells when it is asked.

    An open mountinfo signals each change once, so one is open for each of the two.
    https://man7.org/linux/man-pages/man5/proc_pid_mounts.5.html
    """

    def __init__(self, poller: select.poll, mounts: Path = MOUNTS) -> None:
        self._files: list[BinaryIO] = []
        self._asked = select.poll()
        with suppress(OSError):  # without /proc, nothing is known of mounts
            for waiting in (poller, self._asked):
                self._files.append(mounts.open("rb"))
                waiting.register(self._files[-1], select.POLLPRI)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def has_rung(self) -> bool:
        """Whether there was a change since it was asked last."""
        return bool(self._asked.poll(0))


def _read_mounts(mounts: Path) -> Iterator[tuple[str, str]]:
    """Mount points and file system types: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""
    try:
        lines = os.fsdecode(mounts.read_bytes()).splitlines()
    except OSError:
        return
    for line in lines:
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
        yield point, right.split(" ")[0]
