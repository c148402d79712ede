"""What the pipeline remembers has bounds: however many images come, it holds as many objects as before."""

import gc
from collections import Counter

import anyio
import pytest

from imgtag.stages import annotate
from imgtag.stages.receive import OwnWrites, Recent
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, picture

pytestmark = pytest.mark.anyio
FEW, MANY = 100, 1_000
BOUND = 50
"""Keys that each memory may hold here; in use it is 10,000."""
SLACK = 2 * BOUND
"""Objects of one type that may come and go, as memories share keys or not; one kept per image would make a thousand."""


@pytest.fixture
def anyio_backend() -> str:
    """Without the debug mode of asyncio, which keeps objects of its own and takes most of the time."""
    return "asyncio"


def count_objects() -> Counter[str]:
    gc.collect()
    return Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in gc.get_objects())


def forget(bench) -> None:
    """What only the plugins in memory keep."""
    bench.indexer.documents.clear()
    bench.pool.asked.clear()
    for log in (bench.source.acked, bench.store.events, bench.source.broker._messages):
        log.clear()
    for part in (bench.indexer, bench.store, bench.source, bench.source.dead):
        part.faults.calls.clear()
    bench.store.take_away(BUCKET)
    bench.store._gone.clear()
    bench.store.make_bucket(BUCKET)


async def test_objects_do_not_grow_with_the_images(bench, monkeypatch):
    """Of no type are there more after a thousand images than after a hundred, of ours and of any other."""
    monkeypatch.setattr(annotate, "MAX_KEYS", BOUND)
    bench.own_writes = OwnWrites(max_keys=BOUND)
    pipeline, stop, counts = bench.pipeline(), anyio.Event(), []
    pipeline._recent = Recent(max_keys=BOUND)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, stop)
        for amount in (FEW, MANY):
            for number in range(amount):
                bench.store.put(ObjectRef(BUCKET, f"{amount}/{number}.jpg"), picture(f"red fox#{amount}-{number}"))
            with anyio.fail_after(120):
                while len(bench.indexer.documents) < amount or pipeline._serial.pending:
                    await anyio.sleep(0.05)
            forget(bench)
            await anyio.sleep(0.1)
            counts.append(count_objects())
        stop.set()

    few, many = counts
    assert {} == {name: number - few[name] for name, number in many.items() if number > few[name] + SLACK}
