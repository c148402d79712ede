"""Bulk work on a real store that becomes slow for a while."""

from __future__ import annotations

import anyio
import pytest

from imgtag.flow.governor import Caps, Governor
from imgtag.types.ref import ObjectRef

CONCURRENCY = 8
SLOW = 60
"""Milliseconds in each direction: more than a busy machine adds."""
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def test_a_store_ten_times_as_slow_is_relieved_and_used_again(minio, toxiproxy, connect, bucket):
    """The limit falls below one object at once while requests take ten times as long, and comes back afterwards."""
    bucket.put("fox.jpg", b"picture")
    ref = ObjectRef(bucket.name, "fox.jpg")
    governor = Governor(Caps(concurrency=CONCURRENCY))

    async def work(store):
        while True:
            async with governor.admit():
                started = anyio.current_time()
                await store.stat(ref)
                governor.observe(anyio.current_time() - started)

    async def reach(condition):
        with anyio.fail_after(90):
            while not condition(governor.state):
                await anyio.sleep(0.05)

    with toxiproxy.proxy(minio.port) as proxy:
        async with connect(endpoint=f"http://127.0.0.1:{proxy.port}") as store, anyio.create_task_group() as tasks:
            tasks.start_soon(governor.run)
            for _ in range(2 * CONCURRENCY):
                tasks.start_soon(work, store)
            with proxy.slow(SLOW):
                await reach(lambda state: state.limit >= CONCURRENCY / 2)
            with proxy.slow(10 * SLOW):
                await reach(lambda state: state.held_back == "store_latency" and state.limit < 1)
            with proxy.slow(SLOW):
                await reach(lambda state: state.held_back is None and state.limit >= CONCURRENCY / 2)
            tasks.cancel_scope.cancel()
