"""What is mounted where."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

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
