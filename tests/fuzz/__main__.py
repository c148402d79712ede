"""Fuzzing: damaged inputs through everything that reads bytes of strangers.

    PYTHONPATH=tests python -m fuzz [--inputs 100000]       all targets, as a table in Markdown
    PYTHONPATH=tests python -m fuzz TARGET --only NUMBER    one input again, with its traceback

Each target runs in a process of its own, so that a crash or a hang of it is seen, and the input that it had by then.
An input is made of its target and its number alone, so that a number is enough to have it again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fuzz.targets import Target

MAX_SECONDS = 10
"""For one input; a hundred times what the slowest takes on a busy machine."""
WARM_UP = 50
"""Inputs before memory is measured, in which modules are imported and caches filled."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a target's inputs. ``growth``: bytes that its process grew by after the first inputs."""

    inputs: int
    refused: int
    slowest: float
    growth: int
    failed: int | None = None
    """The number of the input that broke a promise, crashed the process or did not end."""
    reason: str = ""


def fuzz(name: str, count: int) -> Outcome:
    """Run a target's first ``count`` inputs in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder, "progress")
        progress.write_text("0")
        command = [sys.executable, "-m", "fuzz", name, "--inputs", str(count), "--progress", str(progress)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60 + count, check=False)
        if run.returncode == 0:
            return Outcome(**json.loads(run.stdout))
        reason = run.stderr.strip() or f"exit code {run.returncode}"
        return Outcome(inputs=0, refused=0, slowest=0, growth=0, failed=int(progress.read_text()), reason=reason)


def run_inputs(target: Target, name: str, count: int, progress: Path) -> Outcome:
    refused, slowest, before = 0, 0.0, 0
    with progress.open("r+") as file:
        for number in range(count):
            file.seek(0)
            file.write(str(number))
            file.flush()
            if number == min(WARM_UP, count - 1):
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            data = make_input(target, name, number)
            start = time.perf_counter()
            with limit_seconds():
                refused += is_refused(target, data)
            slowest = max(slowest, time.perf_counter() - start)
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Outcome(inputs=count, refused=refused, slowest=slowest, growth=growth << 10)


def make_input(target: Target, name: str, number: int) -> bytes:
    dice = Random(f"{name} {number}")
    return target.mutate(dice.choice(target.seeds), target.seeds, dice)


def is_refused(target: Target, data: bytes) -> bool:
    try:
        target.read(data)
    except target.refusals:
        return True
    return False


@contextmanager
def limit_seconds() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it took more than {MAX_SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    from fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="fuzz", description="Damaged inputs for all that reads strangers' bytes.")
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together, or of the one named")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run only this input")
    parser.add_argument("--progress", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.target is None:
        print_table(options.inputs, list(TARGETS))
        return
    for target in TARGETS[options.target]():
        if options.only is not None:
            data = make_input(target, options.target, options.only)
            print(data[:2_000])
            print("refused" if is_refused(target, data) else "read")
        else:
            print(json.dumps(asdict(run_inputs(target, options.target, options.inputs, options.progress))))


def print_table(inputs: int, names: list[str]) -> None:
    print("| Input | Tried | Refused | Slowest | Memory grew by | Failed |\n|---|---|---|---|---|---|")
    failed = 0
    for name in names:
        outcome = fuzz(name, math.ceil(inputs / len(names)))
        failed += outcome.failed is not None
        grown = f"{outcome.growth / 2**20:.0f} MiB"
        end = "0" if outcome.failed is None else f"input {outcome.failed}: {outcome.reason.splitlines()[-1]}"
        print(
            f"| {name} | {outcome.inputs:,} | {outcome.refused:,} | {1000 * outcome.slowest:.0f} ms | {grown} | {end} |"
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
