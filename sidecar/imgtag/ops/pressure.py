"""How busy this machine is, as far as the kernel shows it: pressure stall information, load, temperature."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from imgtag.flow.governor import Reason, Strain

_RESOURCES: dict[str, Reason] = {"cpu": "cpu_pressure", "io": "io_pressure", "memory": "memory_pressure"}
_SOME = re.compile(r"some avg10=(\d+\.\d+) .*total=(\d+)")
_MIN_INTERVAL = 0.5
"""Seconds between two readings of a total from which a share is computed; the kernel updates it about that often."""
_PSI_LAG, _LOAD_LAG, _TEMPERATURE_LAG = 2.0, 30.0, 10.0
_SANE = range(30, 151)
"""Degrees Celsius. Some sensors always show 0 or -274, and some firmware has trip points of that kind."""
_BELOW_CRITICAL = 10
"""Degrees to keep below the temperature at which the kernel switches the machine off."""


@dataclass(frozen=True, kw_only=True)
class PressureLimits:
    """Above which bulk work is reduced. Pressures are parts of the time in which something waits (PSI, "some")."""

    cpu: float = 0.4
    io: float = 0.5
    """Bulk work alone reaches a quarter, by the flushes after its writes."""
    memory: float = 0.1
    load: float = 1.5
    """Tasks that run or wait, for each core; used only where the kernel has no PSI."""
    temperature: float = 85.0
    """Degrees Celsius, of a sensor for which the kernel knows no temperature of its own at which to slow down."""


class MachinePressure:
    """Reads /proc and /sys below ``root``, which tests replace. What cannot be read puts nothing under pressure.

    The shares are those since the last reading, computed from the kernel's totals: its averages over ten seconds would
    still show what a governor did ten seconds ago. Only the first reading takes them.
    https://docs.kernel.org/accounting/psi.html
    """

    def __init__(
        self,
        limits: PressureLimits | None = None,
        *,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits or PressureLimits()
        self._root = root
        self._clock = clock
        self._totals: dict[Path, tuple[float, int, float]] = {}
        """When a file was last read, the microseconds it showed, and the share that came out."""
        self._cores = os.cpu_count() or 1
        self._ticks: tuple[int, ...] = ()
        self.polite_share = 0.0
        """The part of the processors' work, between the last two readings, that was done at a low priority and so gave
        way to other programs."""

    async def __call__(self) -> Sequence[Strain]:
        """What the governor asks for."""
        return await to_thread.run_sync(self.read)

    def read(self) -> Sequence[Strain]:
        """One strain for each thing that can be read. Blocking."""
        self._read_polite_share()
        return [*self._read_pressures(), *self._read_temperatures()]

    def _read_pressures(self) -> Iterator[Strain]:
        cgroup = self._own_cgroup()
        has_psi = False
        for resource, reason in _RESOURCES.items():
            shares = [self._read_share(self._root / "proc/pressure" / resource)]
            # Under the CPU pressure of its own group the sidecar alone waits, for its quota: to do less helps nobody.
            if cgroup and resource != "cpu":
                shares.append(self._read_share(cgroup / f"{resource}.pressure"))
            known = [share for share in shares if share is not None]
            has_psi = has_psi or bool(known)
            if known:
                share, limit = max(known), getattr(self._limits, resource)
                name = "CPU" if resource == "cpu" else resource.replace("io", "I/O")
                text = f"{name} pressure of {share:.0%}, over {limit:.0%}"
                yield Strain(reason=reason, level=share / limit, text=text, lag=_PSI_LAG)
        if not has_psi:
            yield from self._read_load()

    def _read_share(self, path: Path) -> float | None:
        """The part of the time since the last reading in which something waited."""
        match = _SOME.match(_read(path))
        if match is None:
            return None
        now, total = self._clock(), int(match[2])
        before = self._totals.get(path)
        if before is None:
            share = float(match[1]) / 100
        elif now - before[0] < _MIN_INTERVAL:
            return before[2]
        else:
            share = min(1.0, max(0.0, (total - before[1]) / 1e6 / (now - before[0])))
        self._totals[path] = now, total, share
        return share

    def _read_polite_share(self) -> None:
        """From the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, in ticks.

        https://docs.kernel.org/filesystems/proc.html#miscellaneous-kernel-statistics-in-proc-stat
        """
        fields = _read(self._root / "proc/stat").partition("\n")[0].split()[1:8]
        ticks = tuple(int(field) for field in fields if field.isdigit())
        if len(ticks) == len(self._ticks) == 7:
            user, nice, system, _, _, irq, softirq = (
                now - before for now, before in zip(ticks, self._ticks, strict=True)
            )
            busy = user + nice + system + irq + softirq
            self.polite_share = max(0.0, nice / busy) if busy > 0 else 0.0
        self._ticks = ticks

    def _own_cgroup(self) -> Path | None:
        """The folder of this process's group, version 2, where it is visible."""
        for line in _read(self._root / "proc/self/cgroup").splitlines():
            if line.startswith("0::"):
                return self._root / "sys/fs/cgroup" / line.removeprefix("0::").lstrip("/")
        return None

    def _read_load(self) -> Iterator[Strain]:
        load = _to_number(_read(self._root / "proc/loadavg").partition(" ")[0])
        if load is not None:
            per_core, limit = load / self._cores, self._limits.load
            text = f"load of {per_core:.1f} for each core, over {limit:g}"
            yield Strain(reason="load", level=per_core / limit, text=text, lag=_LOAD_LAG)

    def _read_temperatures(self) -> Iterator[Strain]:
        for zone in (self._root / "sys/class/thermal").glob("thermal_zone*"):
            degrees = _read_degrees(zone / "temp")
            if degrees is not None:
                limit = _find_limit(zone) or self._limits.temperature
                text = f"{_read(zone / 'type') or zone.name} at {degrees:.0f} °C, over {limit:.0f} °C"
                # Ten degrees are the way from calm to the limit: a ratio of temperatures would say nothing.
                level = max(0.0, 1 + (degrees - limit) / 50)
                yield Strain(reason="temperature", level=level, text=text, lag=_TEMPERATURE_LAG)


def _find_limit(zone: Path) -> float | None:
    """The temperature at which the kernel begins to slow the machine down, or a little below the one where it ends.

    https://docs.kernel.org/driver-api/thermal/sysfs-api.html
    """
    limits = []
    for kind in zone.glob("trip_point_*_type"):
        degrees = _read_degrees(kind.with_name(kind.name.replace("_type", "_temp")))
        if degrees is not None:
            limits.append({"passive": degrees, "critical": degrees - _BELOW_CRITICAL}.get(_read(kind), math.inf))
    limit = min(limits, default=math.inf)
    return limit if math.isfinite(limit) else None


def _read_degrees(path: Path) -> float | None:
    millidegrees = _to_number(_read(path))
    degrees = None if millidegrees is None else millidegrees / 1000
    return degrees if degrees is not None and _SANE.start <= degrees < _SANE.stop else None


def _to_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # also where the file is there and its driver has no answer
        return ""
