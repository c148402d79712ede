"""Damaged pictures of ten formats and all bad inputs go through two workers: each has an outcome, in little memory."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import psutil
import pytest

from imgtag.errors import Undecodable, Unreadable
from imgtag.models.spec import ModelSpec
from imgtag.workers.pool import MAX_DEATHS, WorkerPool
from picture_limits import LIMITS
from unit.workers import encodings, pictures

COUNT = int(os.environ.get("IMGTAG_DAMAGED_PICTURES", "600"))
"""How many are made; before a release, 5,000."""
MAX_SECONDS = 120 + COUNT // 5
AT_A_TIME = 4
MAX_MEMORY = 600 << 20
"""Of the sidecar, two workers, and the largest picture that one of them decodes, which has 64 megapixels."""
SAMPLE_SECONDS = 0.05
EXPECTED = {
    *("labelled", "truncated", "undecodable", "not_an_image", "empty", "unsupported_format"),
    *("too_many_pixels", "too_many_frames", "too_many_scans", "memory", "metadata_too_large"),
    *("worker_died", "worker_timeout"),
}


def damaged(count: int, seed: int = 20260731) -> list[bytes]:
    """Small pictures of every format with bytes flipped, parts cut off, taken out, swapped and repeated."""
    chance = random.Random(seed)
    photo = pictures.noise(120, 90)
    jpeg = pictures.encoded(photo, "JPEG")
    whole = [
        *(encodings.heic(photo), encodings.heic(photo, bits=10), pictures.encoded(photo, "AVIF")),
        *(encodings.camera_raw(jpeg), encodings.camera_raw(jpeg, compression=34713, sub_directories=True, order=">")),
        gzip.compress(jpeg),
    ]
    whole += [
        pictures.encoded(pictures.noise(120, 90), kind, **options)
        for kind, options in (
            *((kind, {}) for kind in pictures.FORMATS),
            ("JPEG", {"progressive": True}),
            ("PNG", {"exif": pictures.exif(Make="Canon", Orientation=6)}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("WEBP", {"lossless": True}),
            ("GIF", {"save_all": True, "append_images": [pictures.scene(120, 90)] * 3}),
        )
    ]
    return [_damaged(whole[number % len(whole)], chance) for number in range(count)]


def _damaged(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    # Headers are short beside pixels, and damage there is of more kinds.
    reach = chance.choice([64, 512, len(data)])
    match chance.randrange(5):
        case 0:
            for _ in range(chance.randint(1, 20)):
                changed[chance.randrange(min(reach, len(data)))] = chance.randrange(256)
        case 1:
            del changed[chance.randrange(len(data)) :]
        case 2:
            place = chance.randrange(min(reach, len(data)))
            del changed[place : place + chance.randint(1, 200)]
        case 3:
            first, second = sorted(chance.randrange(len(data)) for _ in range(2))
            length = chance.randint(1, 300)
            changed[first : first + length], changed[second : second + length] = (
                changed[second : second + length],
                changed[first : first + length],
            )
        case 4:
            place = chance.randrange(min(reach, len(data)))
            changed[place:place] = changed[place : place + 50] * chance.randint(1, 50)
    return bytes(changed)


WORKERS_LOST = {"worker_died": MAX_DEATHS, "worker_timeout": 1}
"""How many workers an image costs that kills one, or is not done in time: that one is not tried on another."""


async def outcomes(inputs: list[bytes]) -> tuple[Counter[str], Counter[str], int]:
    """How each input ended; how often a worker was replaced, by the reason; the peak of memory, bytes."""
    results: Counter[str] = Counter()
    restarts: list[str] = []
    peak = 0
    waiting = iter(inputs)

    async def feed(pool: WorkerPool) -> None:
        for data in waiting:
            try:
                await pool.classify(data, LIMITS)
                results["labelled"] += 1
            except (Unreadable, Undecodable) as error:
                results[error.code if error.message and " object at 0x" not in error.message else "unexplained"] += 1

    async def sample() -> None:
        nonlocal peak
        while True:
            peak = max(peak, await anyio.to_thread.run_sync(_memory))
            await anyio.sleep(SAMPLE_SECONDS)

    async with (
        WorkerPool([ModelSpec(entry="imgtag_tflite:SPEC")], 2, restarts.append) as pool,
        anyio.create_task_group() as sampling,
    ):
        sampling.start_soon(sample)
        async with anyio.create_task_group() as feeding:
            for _ in range(AT_A_TIME):
                feeding.start_soon(feed, pool)
        sampling.cancel_scope.cancel()
    return results, Counter(restarts), peak


def _memory() -> int:
    """Proportional set size of this process and all below it."""
    total = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total


@pytest.mark.slow
@pytest.mark.timeout(MAX_SECONDS)
def test_every_bad_picture_has_an_outcome_and_memory_stays_small(record_property: pytest.RecordProperty) -> None:
    folder = Path(__file__).parent
    script = (
        f"import sys; sys.path.insert(0, {str(folder.parent)!r}); import integration.test_bad_pictures as it; it.main()"
    )
    # A process of its own: pytest with all that it has loaded would be most of what is measured.
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout)
    for name, value in answer.items():
        record_property(name, value)
    assert sum(answer["outcomes"].values()) == answer["inputs"]
    assert answer["outcomes"].keys() <= EXPECTED
    assert answer["outcomes"]["labelled"] > COUNT / 20
    # A decoder may fall over a file, or take too long for it; that file is then set aside, and no other one.
    set_aside = {code: answer["outcomes"][code] for code in WORKERS_LOST.keys() & answer["outcomes"].keys()}
    assert answer["restarts"] == {code: count * WORKERS_LOST[code] for code, count in set_aside.items()}
    assert sum(set_aside.values()) <= COUNT / 1_000
    assert answer["peak"] < MAX_MEMORY


def main() -> None:
    inputs = [*pictures.bad().values(), *damaged(COUNT)]
    results, restarts, peak = anyio.run(outcomes, inputs)
    json.dump({"inputs": len(inputs), "outcomes": results, "restarts": restarts, "peak": peak}, sys.stdout)
