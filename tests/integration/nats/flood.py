"""An uploader who floods a site with the slowest images that are admitted, and another one beside it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

import anyio
from PIL import Image

from imgtag.flow.budget import ByteBudget
from imgtag.models.spec import ModelSpec
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.ref import ObjectRef
from imgtag.workers.child.jpeg import MAX_SCANS
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from integration.nats.publishing import client, notification
from unit.pipeline.conftest import BUCKET, SITE, Bench
from unit.workers.pictures import encoded, noise

BYTES_IN_FLIGHT = 128 << 20


def slow_pictures() -> list[bytes]:
    """For both lanes: much memory, many scans, many frames."""
    flat = Image.new("L", (10_000, 10_000))
    large, modest = (encoded(Image.new("RGB", (side, side)), "JPEG", progressive=True) for side in (6_000, 2_800))
    frames = [Image.new("P", (1_400, 1_400), colour) for colour in range(33)]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=1)
    return [encoded(flat, "PNG"), with_scans(large), with_scans(modest), animation]


def with_scans(data: bytes) -> bytes:
    """A progressive JPEG whose last scan is repeated until it has as many as are admitted."""
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[start:end] * (MAX_SCANS - data.count(b"\xff\xda")) + data[end:]


@dataclass
class Flood:
    """A pipeline on two real workers and a real source; ``put`` uploads to its store, which notifies."""

    bench: Bench
    connection: object
    subject: str
    uploaded: dict[str, float] = field(default_factory=dict)
    """When each key was uploaded."""

    async def put(self, key: str, data: bytes) -> None:
        self.uploaded[key] = anyio.current_time()
        self.bench.store.put(f"{BUCKET}/{key}", data)
        await self.connection.jetstream().publish(self.subject, notification(BUCKET, key))

    def is_done(self, key: str) -> bool:
        return document_id(SITE, ObjectRef(BUCKET, key)) in self.bench.indexer.documents


@asynccontextmanager
async def flooded(source, url, subject):
    """A `Flood`, whose pipeline runs meanwhile."""
    bench = Bench(MemoryStore(BUCKET), source, MemoryIndexer(), max_bytes=100 << 20, concurrency=32)
    model = ModelSpec(entry="imgtag.testing.classifier:SPEC")
    async with source, client(url) as connection, ModelGenerations(lambda models, _: WorkerPool(models, 2)) as models:
        await source.setup(apply=True)
        await models.replace({"": model})
        bench.pool = models.models[""]
        pipeline = bench.pipeline()
        pipeline.reconcile = replace(pipeline.reconcile, budget=ByteBudget(BYTES_IN_FLIGHT))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run, anyio.Event())
            yield Flood(bench, connection, subject)
            tasks.cancel_scope.cancel()


@dataclass(frozen=True)
class Wait:
    """How long an image of somebody else waited: seconds, and slow images that were done meanwhile."""

    seconds: float
    slow: int


async def measure(flood: Flood, slow: int, others: int, *, pause: float = 0.05) -> list[Wait]:
    """Upload ``slow`` slow images, then the others one after another; how long each of these waited."""
    # Made before anything runs: they take seconds.
    small = [encoded(noise(300, 200, number), "JPEG") for number in range(others)]
    for number, data in enumerate(islice(cycle(slow_pictures()), slow)):
        await flood.put(f"slow/{number}", data)

    def slow_done() -> int:
        return sum(flood.is_done(f"slow/{number}") for number in range(slow))

    waits: dict[str, Wait] = {}
    before: dict[str, int] = {}

    def look() -> None:
        for key in before.keys() - waits.keys():
            if flood.is_done(key):
                waits[key] = Wait(anyio.current_time() - flood.uploaded[key], slow_done() - before[key])

    for number, data in enumerate(small):
        key = f"other/{number}"
        before[key] = slow_done()
        await flood.put(key, data)
        await anyio.sleep(pause)
        look()
    while len(waits) < others:
        await anyio.sleep(0.02)
        look()
    return list(waits.values())
