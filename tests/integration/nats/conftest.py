"""Sources on a real nats-server, and ears for what they deliver."""

from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import pytest

from imgtag.plugin.spec import PluginContext
from imgtag_nats import SPEC

PATIENCE = 30.0
"""Seconds within which a delivery comes, on a machine with other things to do."""


class Ear:
    """Takes what a source delivers, for as long as the context of `listen` lasts."""

    def __init__(self, receive):
        self._receive = receive

    def __len__(self):
        """How many deliveries wait to be heard."""
        return self._receive.statistics().current_buffer_used

    async def next(self, seconds=PATIENCE):
        """The next delivery. Fails when none comes."""
        with anyio.fail_after(seconds):
            return await self._receive.receive()

    async def key(self, seconds=PATIENCE):
        """The key of the next delivery, which is acknowledged."""
        delivery = await self.next(seconds)
        await delivery.ack()
        return delivery.hints[0].ref.key

    async def resync(self):
        """The scope of the next resync; what else comes is acknowledged."""
        while True:
            delivery = await self.next()
            await delivery.ack()
            if delivery.resync is not None:
                return str(delivery.resync)

    async def silence(self, seconds):
        """Fails when anything comes."""
        with anyio.move_on_after(seconds):
            delivery = await self._receive.receive()
            pytest.fail(f"{delivery.hints or delivery.resync or delivery.problem} is delivered")


@asynccontextmanager
async def listen(source):
    """An ear at the source."""
    send, receive = anyio.create_memory_object_stream(1000)

    async def take():
        async for delivery in source.deliveries():
            await send.send(delivery)

    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(take)
        yield Ear(receive)
        tasks.cancel_scope.cancel()


async def until(holds, seconds=PATIENCE):
    """Wait for something to come about."""
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.sleep(0.02)


@pytest.fixture
def site():
    """A site of the test's own: all names on the server follow from it."""
    return f"site-{uuid4().hex[:8]}"


@pytest.fixture
def subject(site):
    """Where notifications are published."""
    return f"imgtag.{site}.events"


@pytest.fixture
def make(site, tmp_path):
    """Makes sources; keyword arguments are settings."""

    def make(url, buckets=("photos",), state="state", needs_records=False, **settings):
        context = PluginContext(site=site, state_dir=tmp_path / state, buckets=buckets, needs_records=needs_records)
        return SPEC.load()(SPEC.settings(url=url, **settings), context)

    return make
