"""How many workers there are, under quotas and limits of memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgtag.workers.capacity import MAIN_PROCESS, Capacity, read_capacity

MIB = 1024**2
WORKER = 768 * MIB


@pytest.mark.parametrize(
    ("capacity", "workers", "reason"),
    [
        (Capacity(cores=8), 8, "8 cores"),
        (Capacity(cores=16, quota=0.5), 1, "a CPU quota of 0.5"),
        (Capacity(cores=16, quota=2.5), 3, "a CPU quota of 2.5"),
        (Capacity(cores=4, quota=64.0), 4, "4 cores"),
        (Capacity(cores=44, memory=2048 * MIB), 2, "2,048 MiB of memory, 768 MiB per worker"),
        (Capacity(cores=2, memory=64 * 1024 * MIB), 2, "2 cores"),
        (Capacity(cores=8, quota=3.0, memory=256 * MIB), 1, "256 MiB of memory, 768 MiB per worker"),
        (Capacity(cores=8, quota=1.0, memory=4096 * MIB), 1, "a CPU quota of 1"),
        (Capacity(cores=8, memory=MAIN_PROCESS + 3 * WORKER), 3, "2,560 MiB of memory, 768 MiB per worker"),
    ],
)
def test_the_scarcest_decides(capacity: Capacity, workers: int, reason: str) -> None:
    """Cores, quota or memory; one worker there always is."""
    assert (workers, reason) == (capacity.workers(WORKER), capacity.describe(WORKER))


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_limits_of_cgroups_2(tmp_path: Path) -> None:
    """Of our own and of those above: the least holds. A slice that sets none does not matter."""
    write(tmp_path / "proc/self", cgroup="0::/system.slice/imgtag.service")
    base = tmp_path / "sys/fs/cgroup"
    write(base / "system.slice/imgtag.service", cpu__max="max 100000", memory__max="max", memory__high="max")
    write(base / "system.slice", cpu__max="150000 100000", memory__max=str(512 * MIB))

    capacity = read_capacity(tmp_path)

    assert (1.5, 512 * MIB) == (capacity.quota, capacity.memory)


def test_limits_of_a_container_with_cgroups_2(tmp_path: Path) -> None:
    """It sees its own group as the root."""
    write(tmp_path / "proc/self", cgroup="0::/")
    write(tmp_path / "sys/fs/cgroup", cpu__max="50000 100000", memory__max=str(256 * MIB))

    capacity = read_capacity(tmp_path)

    assert (0.5, 256 * MIB) == (capacity.quota, capacity.memory)


def test_limits_of_cgroups_1(tmp_path: Path) -> None:
    """One folder for each controller; -1 and an enormous number are no limit."""
    write(tmp_path / "proc/self", cgroup="4:memory:/docker/a\n1:cpu,cpuacct:/docker/a")
    base = tmp_path / "sys/fs/cgroup"
    write(base / "cpu,cpuacct/docker/a", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    write(base / "cpu,cpuacct", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(base / "memory/docker/a", memory__limit_in_bytes=str(300 * MIB))
    write(base / "memory", memory__limit_in_bytes="9223372036854771712")

    capacity = read_capacity(tmp_path)

    assert (2.0, 300 * MIB) == (capacity.quota, capacity.memory)


def test_without_cgroups_the_machine_decides(tmp_path: Path) -> None:
    """Its cores that we may run on, and its memory."""
    capacity = read_capacity(tmp_path)

    assert (len(os.sched_getaffinity(0)), None) == (capacity.cores, capacity.quota)
    assert capacity.memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
