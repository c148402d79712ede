"""Which file system a folder is on."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs"})


def remote_kind(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the network file system that ``path`` is on; None on a local one, or if it is unknown.

    inotify does not report what other machines change there.
    """
    kind = _kind(os.path.realpath(path), mounts)
    return kind if kind in REMOTE or (kind or "").startswith("fuse.") else None


def _kind(path: str, mounts: Path) -> str | None:
    best, kind = "", None
    for line in _lines(mounts):
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), left.split(" ")[4])
        # Of two mounts on one point the later one is on top.
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, right.split(" ")[0]
    return kind


def _lines(mounts: Path) -> list[str]:
    try:
        return os.fsdecode(mounts.read_bytes()).splitlines()
    except OSError:
        return []
