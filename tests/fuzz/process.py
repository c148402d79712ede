"""Runs the inputs of one target in a process of its own, so that a crash or a hang of it is seen.

An input is made of its target and its number alone, so that a number is enough to have it again.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
import traceback
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


_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["fuzz.targets"])  # imported once, for all targets


def fuzz(name: str, count: int) -> Outcome:
    """Run a target's first ``count`` inputs in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        progress, result = Path(folder, "progress"), Path(folder, "result")
        progress.write_text("0")
        process = _SERVER.Process(target=_write_outcome, args=(name, count, progress, result))
        process.start()
        process.join(60 + count)
        if process.is_alive():
            process.kill()
            process.join()
        if process.exitcode == 0:
            return Outcome(**json.loads(result.read_text()))
        reason = result.read_text() if result.exists() else f"exit code {process.exitcode}"
        return Outcome(inputs=0, refused=0, slowest=0, growth=0, failed=int(progress.read_text()), reason=reason)


def _write_outcome(name: str, count: int, progress: Path, result: Path) -> None:
    """What came of a target, as JSON, or the traceback of an input that broke a promise."""
    from fuzz.targets import TARGETS

    try:
        for target in TARGETS[name]():
            result.write_text(json.dumps(asdict(run_inputs(target, name, count, progress))))
    except Exception:  # noqa: BLE001 - whatever a reader raises that it should not
        result.write_text(traceback.format_exc())
        sys.exit(1)


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
