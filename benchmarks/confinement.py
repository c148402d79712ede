"""What the confinement of workers costs: CPU time until one is ready, and to decode and classify an image.

    python benchmarks/confinement.py [--rounds 15] [--pictures 300]

Workers with and without confinement take turns, so that a machine whose speed drifts changes both. The figures are
medians of the rounds, and of the differences between neighbours.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import anyio
import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "attack"))

from victim import write_launcher

from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.pool import WorkerPool

MODEL = ModelSpec(entry="imgtag_tflite:SPEC")
LIMITS = PictureLimits(pixels=10**8, frames=1, memory=192 << 20, seconds=30)


def make_picture() -> bytes:
    """A JPEG of 500 x 375 with the detail of a photograph."""
    noise = np.random.default_rng(1).integers(0, 256, (38, 50, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def measure(launcher: str, picture: bytes, count: int) -> tuple[float, float]:
    """CPU seconds of a worker until it is ready, and per image."""
    sys.executable = launcher
    async with WorkerPool([MODEL], 1) as pool:
        start = cpu_seconds(pool.pids[0])
        await pool.classify(picture, LIMITS)
        before = cpu_seconds(pool.pids[0])
        for _ in range(count):
            await pool.classify(picture, LIMITS)
        return start, (cpu_seconds(pool.pids[0]) - before) / count


def cpu_seconds(pid: int) -> float:
    """Of the main thread, which does all the work, with the resolution of the scheduler."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=300)
    options = parser.parse_args()
    picture = make_picture()
    with tempfile.TemporaryDirectory() as folder:
        confined = str(write_launcher(Path(folder, "confined"), ["nothing"]))
        unconfined = str(write_launcher(Path(folder, "unconfined"), ["confinement"]))
        pairs = [
            [anyio.run(measure, launcher, picture, options.pictures) for launcher in (confined, unconfined)]
            for _ in range(options.rounds)
        ]
    for place, name in enumerate(("start", "image")):
        with_it, without = ([pair[side][place] * 1000 for pair in pairs] for side in (0, 1))
        differences = [one - other for one, other in zip(with_it, without, strict=True)]
        print(
            f"{name}: {statistics.median(with_it):.2f} ms confined, {statistics.median(without):.2f} ms not; "
            f"difference {statistics.median(differences):+.2f} ms, "
            f"{statistics.median(differences) / statistics.median(without):+.1%}"
        )


if __name__ == "__main__":
    main()
