"""What the sandbox of the systemd unit costs: `imgtag label` within it and without it, in the same booted Debian.

    python benchmarks/sandbox.py [--pictures 400] [--rounds 9]

Needs root, debootstrap and systemd-nspawn. Runs inside and outside the sandbox alternate, and each ratio compares
neighbours, so that a machine whose speed drifts changes both. Above 1, the sandbox is slower.

installed     the unit with all its lines
ProcSubset    the same with ProcSubset=pid, which hides /proc/cpuinfo from the inference; ten pictures
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

from pipeline import make_pictures, model_name

from servers.machine import Machine, debian

MEASURE = """\
import json, resource, subprocess, sys, time
begun = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
scores = [json.loads(line)["labels"] for line in done.stdout.splitlines()]
print(json.dumps([used.ru_utime + used.ru_stime, time.perf_counter() - begun, scores]))
"""
UNIT = """\
[Service]
Type=oneshot
ExecStartPre=
ExecStart=
ExecStart={command}
StandardOutput=truncate:/run/measured
Restart=no
WatchdogSec=0
TimeoutStartSec=infinity
{more}
"""
SIDES = {"installed": "", "ProcSubset": "ProcSubset=pid"}
TEN = "/srv/pictures/0000?.jpg"


@dataclass(frozen=True)
class Run:
    """CPU and elapsed seconds, and the output."""

    cpu: float
    elapsed: float
    scores: list

    @classmethod
    def of(cls, text: str) -> Run:
        return cls(*json.loads(text))


def prepare(machine: Machine, folder: Path, pictures: int) -> None:
    """Install the package, the pictures, and a unit for each side, made of the installed one."""
    build = [sys.executable, ROOT / "packaging/deb/build.py", "--output", folder]
    subprocess.run(build, check=True, stdout=sys.stderr)
    (package,) = folder.glob("*.deb")
    machine.path("/root/imgtag.deb").write_bytes(package.read_bytes())
    machine.run("apt-get", "install", "--yes", "--no-install-recommends", "/root/imgtag.deb")
    make_pictures(machine.path("/srv/pictures"), (500, 375), pictures)
    machine.path("/srv/measure.py").write_text(MEASURE)
    for side, more in SIDES.items():
        unit = f"/run/systemd/system/{side}.service"
        machine.run("cp", "/lib/systemd/system/imgtag.service", unit)
        machine.run("mkdir", f"{unit}.d")
        *words, last = command(side)
        text = UNIT.format(command=f"{' '.join(words)} '{last}'", more=more)
        machine.run("cp", "/dev/stdin", f"{unit}.d/measured.conf", input=text)
    machine.run("systemctl", "daemon-reload")


def command(side: str) -> list[str]:
    """What is measured."""
    pictures = TEN if SIDES[side] else "/srv/pictures/*.jpg"
    return ["/usr/bin/python3", "/srv/measure.py", "/bin/sh", "-c", f"exec /usr/bin/imgtag label --json {pictures}"]


def without(machine: Machine, side: str) -> Run:
    """A run as root runs it."""
    return Run.of(machine.run(*command(side), timeout=600))


def within(machine: Machine, side: str) -> Run:
    """A run in the sandbox of this side."""
    machine.run("systemctl", "start", side, timeout=600)
    return Run.of(machine.run("cat", "/run/measured"))


def tell(side: str, runs: list[tuple[Run, Run]]) -> None:
    """One line."""
    seconds = statistics.median(outside.elapsed for outside, _ in runs)
    speed = len(runs[0][0].scores) / seconds
    same = all(outside.scores == inside.scores for outside, inside in runs)
    print(f"{side}: CPU {ratios(runs, 'cpu')}, time {ratios(runs, 'elapsed')}", flush=True)
    print(f"    {speed:.0f} img/s without, with the start; labels {'the same' if same else 'NOT THE SAME'}", flush=True)


def ratios(runs: list[tuple[Run, Run]], what: str) -> str:
    """The median and the quartiles."""
    quotients = [getattr(inside, what) / getattr(outside, what) for outside, inside in runs]
    low, middle, high = statistics.quantiles(quotients, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{model_name()}, {os.cpu_count()} cores, Linux {platform.release()}")
    with tempfile.TemporaryDirectory() as folder, Machine(debian(), Path(folder)) as machine:
        prepare(machine, Path(folder), options.pictures)
        for side, more in SIDES.items():
            count = 3 if more else options.rounds
            tell(side, [(without(machine, side), within(machine, side)) for _ in range(count)])


if __name__ == "__main__":
    main()
