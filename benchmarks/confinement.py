"""What the confinement of workers costs: CPU time to confine one, and then to decode and classify an image.

    python benchmarks/confinement.py [--rounds 15] [--pictures 200]

Confinement can slow down system calls only. So the first figure is what it adds to one (Linux 5.11 and later decide
most of them without running the filter), the second how many an image makes, which needs strace.

The comparison that follows would show anything else. Two processes that do the same work differ by several percent,
because their memory lies elsewhere, so each round compares a worker with itself: it classifies half of the images,
confines itself, and classifies the rest. A second worker that never confines itself takes turns with it, image by
image, and shows by how much the machine became slower or faster meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path

import anyio
import numpy as np
from PIL import Image

from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.pool import WorkerPool

MODEL = ModelSpec(entry="imgtag_tflite:SPEC")
LIMITS = PictureLimits(pixels=10**8, frames=1, memory=192 << 20, seconds=30)
COUNTED = 50
"""Images whose system calls are counted."""
LAUNCHER = """\
#!{python} -I
import runpy, sys
sys.path = {path!r}
from imgtag.workers.child import channel, confinement
confine, receive, orders, requests = confinement.confine, channel.Channel.receive, [], []
confinement.confine = lambda *arguments: orders.append(arguments) or []
def receive_then_confine(self):
    requests.append(receive(self))
    if len(requests) == {number}:
        granted = confine(*orders[0])
        assert {{"landlock", "seccomp"}} <= {{*granted}}, granted
    return requests[-1]
channel.Channel.receive = receive_then_confine
sys.argv = sys.argv[3:]
runpy.run_module("imgtag.workers.child", run_name="__main__", alter_sys=True)
"""
"""An interpreter for a worker that confines itself only when it has received the request of this number."""
SYSTEM_CALLS = """\
import os, time
from imgtag.workers.child.confinement import confine

def nanoseconds(count=20_000):
    start = time.process_time_ns()
    for _ in range(count):
        os.getppid()
    return (time.process_time_ns() - start) / count

before = min(nanoseconds() for _ in range(100))
assert {"landlock", "seccomp"} <= {*confine(os.getppid(), [])}
print(before, min(nanoseconds() for _ in range(100)))
"""


def make_picture() -> bytes:
    """A JPEG of 500 x 375 with the detail of a photograph."""
    noise = np.random.default_rng(1).integers(0, 256, (38, 50, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def count_system_calls(picture: bytes) -> float:
    """System calls of a confined worker for an image, from its request to its answer."""
    async with WorkerPool([MODEL], 1) as pool:
        await pool.classify(picture, LIMITS)
        with tempfile.NamedTemporaryFile() as log:
            command = ["strace", "--follow-forks", "--output", log.name, "--attach", str(pool.pids[0])]
            async with await anyio.open_process(command) as tracer:
                assert tracer.stderr
                await tracer.stderr.receive()  # `attached`
                for _ in range(COUNTED):
                    await pool.classify(picture, LIMITS)
                tracer.terminate()
            return sum(b"(" in line for line in log) / COUNTED


def cpu_milliseconds(pid: int) -> float:
    """Of the main thread, which does all the work, with the resolution of the scheduler."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def fast(times: list[float]) -> float:
    """The time that a tenth of the images stay below: other work on the machine can only add to it."""
    return statistics.quantiles(times, n=10)[0]


async def compare(late: str, never: str, half: int) -> tuple[float, float, float]:
    """Milliseconds of an image before confinement, those that it adds, and those to confine, for two interpreters."""
    picture = make_picture()
    spent: tuple[list[float], list[float]] = ([], [])
    async with AsyncExitStack() as stack:
        pids, pools = [], []
        for launcher in (late, never):
            sys.executable = launcher
            pools.append(await stack.enter_async_context(WorkerPool([MODEL], 1)))
            pids += pools[-1].pids
        for _ in range(2 * half + 1):
            for pool, pid, times in zip(pools, pids, spent, strict=True):
                start = cpu_milliseconds(pid)
                await pool.classify(picture, LIMITS)
                times.append(cpu_milliseconds(pid) - start)
    halves = [(fast(times[:half]), fast(times[half + 1 :])) for times in spent]
    (before, after), (early, later) = halves
    return before, after - before * later / early, spent[0][half] - before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    interpreter, half = sys.executable, options.pictures // 2
    # Through a pipe: a confined process cannot write files.
    output = subprocess.run([interpreter, "-c", SYSTEM_CALLS], check=True, stdout=subprocess.PIPE).stdout
    before, after = map(float, output.split())
    print(f"a system call: {before:.0f} ns, {after:.0f} ns when confined")
    if shutil.which("strace"):
        print(f"an image makes {anyio.run(count_system_calls, make_picture()):.0f} system calls")
    with tempfile.TemporaryDirectory() as folder:
        launchers = []
        # The first request says what the worker may read, the second loads the model.
        for name, number in {"late": half + 3, "never": 0}.items():
            launchers.append(Path(folder, name))
            launchers[-1].write_text(LAUNCHER.format(python=interpreter, path=sys.path, number=number))
            launchers[-1].chmod(0o755)
        rounds = [anyio.run(compare, *map(str, launchers), half) for _ in range(options.rounds)]
    image, added, confining = (statistics.median(column) for column in zip(*rounds, strict=True))
    lower, median, upper = statistics.quantiles([more / alone for alone, more, _ in rounds], n=4)
    print(f"to confine a worker, once: {confining:.1f} ms")
    print(
        f"an image: {image:.2f} ms, {added:+.2f} ms when confined, {median:+.1%} (quartiles {lower:+.1%}, {upper:+.1%})"
    )


if __name__ == "__main__":
    main()
