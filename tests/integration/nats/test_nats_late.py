"""Two sidecars on one stream: a document that comes late does not stay, and one that is alone looks once."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest

from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from integration.nats.conftest import until
from integration.nats.publishing import client, notification
from unit.pipeline.conftest import BUCKET, Bench, picture

pytestmark = pytest.mark.anyio
KEY = "fox.jpg"


@asynccontextmanager
async def running(*benches):
    """Their pipelines, which are stopped at the end."""
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for bench in benches:
            tasks.start_soon(bench.pipeline().run, stop)
        yield
        stop.set()


async def test_a_late_document_is_replaced(nats, make, subject):
    """A sidecar is about to index what it saw when the object is overwritten and another one indexes that."""
    store, documents = MemoryStore(BUCKET), {}
    one, two = (Bench(store, make(nats.url, state=name), MemoryIndexer(documents)) for name in ("one", "two"))
    late, indexed = [], []
    async with one.source, two.source, client(nats.url) as user:
        await one.source.setup(apply=True)

        async def announce():
            await user.jetstream().publish(subject, notification(BUCKET, KEY))

        def labels():
            return (one.document(KEY) or {}).get("labels")

        async def overtake():
            """The first one that has a document waits with it until the other one has indexed the newer object."""
            if late:
                return
            late.append(True)
            store.put(f"{BUCKET}/{KEY}", picture("kit fox"))
            while labels() != ["kit fox"]:
                await announce()  # until the other one is given it
                await anyio.sleep(0.05)

        for bench in (one, two):
            bench.indexer.faults.when("apply", overtake, times=None)
            bench.indexer.faults.when("apply.applied", lambda: indexed.append(labels()), times=None)
        async with running(one, two):
            await anyio.sleep(0.5)
            store.put(f"{BUCKET}/{KEY}", picture("red fox"))
            await announce()
            await until(lambda: ["red fox"] in indexed and labels() == ["kit fox"])
            with anyio.fail_after(30):
                while (await user.jetstream().stream_info(one.source._topology.stream)).state.messages:
                    await anyio.sleep(0.05)

    # The older one came last, and did not stay.
    assert [["kit fox"], ["red fox"]] == indexed[:2]
    assert ["kit fox"] == labels()
    assert store.peek(f"{BUCKET}/{KEY}").etag == one.document(KEY)["etag"]


async def test_alone_it_looks_once(nats, make, subject):
    """No second look follows where no other sidecar is given anything; messages on their way may cause one."""
    store = MemoryStore(BUCKET)
    bench = Bench(store, make(nats.url), MemoryIndexer())
    async with bench.source, client(nats.url) as user:
        await bench.source.setup(apply=True)
        async with running(bench):
            for number in range(10):
                store.put(f"{BUCKET}/{number}.jpg", picture("red fox"))
                await user.jetstream().publish(subject, notification(BUCKET, f"{number}.jpg"))
            await until(lambda: len(bench.indexer.documents) == 10)

    assert 10 <= store.faults.count("open") < 15
