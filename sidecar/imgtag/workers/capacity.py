"""How many workers this machine, or the container around us, has room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

MAIN_PROCESS = 256 * 1024**2
"""Bytes that the main process is left; it takes 80 to 200 MB with the default limits."""
_UNLIMITED = 1 << 60
"""Bytes; cgroup v1 writes about 2**63 where there is no limit."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What we may use. ``quota`` is a number of cores, ``memory`` is bytes; None where nothing limits it."""

    cores: int
    quota: float | None = None
    memory: int | None = None

    def workers(self, worker_memory: int) -> int:
        """One worker per core, but no more than the CPU quota keeps busy or the memory holds at their limit."""
        return min(self.cores, *self._bounds(worker_memory))

    def describe(self, worker_memory: int) -> str:
        """What decides the number of workers, as a person reads it."""
        count = self.workers(worker_memory)
        quota, memory = self._bounds(worker_memory)
        if count == self.cores:
            return f"{self.cores} cores"
        if count == memory and memory < quota:
            return f"{(self.memory or 0) / 1024**2:,.0f} MiB of memory, {worker_memory / 1024**2:,.0f} MiB per worker"
        return f"a CPU quota of {self.quota:g}"

    def _bounds(self, worker_memory: int) -> tuple[int, int]:
        quota = self.cores if self.quota is None else max(1, ceil(self.quota))
        memory = self.cores if self.memory is None else max(1, (self.memory - MAIN_PROCESS) // worker_memory)
        return quota, memory


def read_capacity(root: Path = Path("/")) -> Capacity:
    """The capacity by affinity, cgroup (version 1 or 2) and physical memory. ``root`` is for tests. Blocking.

    https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    quotas: list[float] = []
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for folder in _cgroups(root):
        version_2 = _read(folder / "cpu.max").partition(" ")[::2]  # `max 100000` where there is no quota
        version_1 = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")  # -1: no quota
        for quota, period in (version_2, version_1):
            if quota.isdecimal() and period.isdecimal() and int(quota):
                quotas.append(int(quota) / int(period))
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            text = _read(folder / name)
            if text.isdecimal() and int(text) < _UNLIMITED:
                limits.append(int(text))
    return Capacity(cores=len(os.sched_getaffinity(0)), quota=min(quotas, default=None), memory=min(limits))


def _cgroups(root: Path) -> Iterator[Path]:
    """The folders of our cgroups and of all above them: each may set a limit."""
    base = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for mount in [base, *(base / name for name in {controllers, *controllers.split(",")} if name)]:
            folder = mount / path.lstrip("/")
            while folder.is_relative_to(mount):
                yield folder
                folder = folder.parent


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
