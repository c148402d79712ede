"""Whether a delivery was exclusive: nobody else was given anything since."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import to_thread

from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from integration.nats.conftest import PATIENCE, listen, until
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio


@pytest.fixture
def publish(subject):
    """Publishes notifications of these keys."""

    async def publish(connection, *keys):
        for key in keys:
            await connection.jetstream().publish(subject, notification("photos", key))

    return publish


async def send_forever(send):
    """Until cancelled."""
    while True:
        await send()
        await anyio.sleep(0.02)


@asynccontextmanager
async def other_client(url, durable):
    """Takes one message from a consumer while some are sent."""
    async with client(url) as connection:
        subscription = await connection.jetstream().pull_subscribe_bind(durable, durable.removesuffix("-hints"))

        async def take_one(send):
            async with anyio.create_task_group() as sending:
                sending.start_soon(send_forever, send)
                (message,) = await subscription.fetch(1, timeout=PATIENCE)
                sending.cancel_scope.cancel()
            await message.ack()

        yield take_one


async def test_alone(nats, make, publish):
    """It is where nobody else is: at rest each time, and most times while many come."""
    source = make(nats.url)
    async with source, client(nats.url) as store, anyio.create_task_group() as tasks:
        await source.setup(apply=True)
        await publish(store, *(f"{number}.jpg" for number in range(200)))
        answers = []

        async def ask(delivery):
            answers.append(await delivery.is_exclusive())
            await delivery.ack()

        deliveries = source.deliveries()
        for _ in range(199):
            tasks.start_soon(ask, await anext(deliveries))
            await anyio.sleep(0.001)
        last = await anext(deliveries)
        await until(lambda: len(answers) == 199)
        assert await last.is_exclusive()
        await publish(store, "later.jpg")
        later = await anext(deliveries)
        assert await later.is_exclusive()
        assert await last.is_exclusive()
        await deliveries.aclose()

    assert answers.count(True) > 100


@pytest.mark.parametrize("consumer", ["notifications", "hints"])
async def test_another_client(nats, make, publish, site, consumer):
    """It is not once any other client was given one message by any of the consumers; the next one is again."""
    source = make(nats.url)
    durable = f"imgtag-{site}" + ("-hints" if consumer == "hints" else "")
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        async with other_client(nats.url, durable) as take_one:
            await publish(store, "held.jpg")
            held = await ear.next()
            assert await held.is_exclusive()

            async def send():
                if consumer == "hints":
                    await source.publish([Hint(ref=ObjectRef("photos", "hint.jpg"))])
                else:
                    await publish(store, "a.jpg")

            await take_one(send)
            assert not await held.is_exclusive()
            await held.ack()
        await publish(store, "next.jpg")
        with anyio.fail_after(30):
            while True:
                delivery = await ear.next()
                if delivery.hints[0].ref.key == "next.jpg":
                    break
            # What others were given of another consumer is known exactly when its next pull begins.
            while not await delivery.is_exclusive():
                await publish(store, "next.jpg")
                delivery = await ear.next()


async def test_two_sources(nats, make, publish):
    """Of two sidecars each sees that the other was given something."""
    one, two = make(nats.url), make(nats.url, state="other")
    async with one, two, client(nats.url) as store:
        await one.setup(apply=True)
        async with listen(one) as ear:
            await publish(store, "held.jpg")
            held = await ear.next()
            assert await held.is_exclusive()
            async with listen(two) as elsewhere:
                await anyio.sleep(0.3)
                # A sidecar that was given nothing changes nothing.
                assert await held.is_exclusive()
                while not len(elsewhere):
                    await publish(store, "a.jpg", "b.jpg")
                    await anyio.sleep(0.05)
                assert not await held.is_exclusive()
                theirs = await elsewhere.next()
                here = len(ear)
                while len(ear) == here:
                    await publish(store, "a.jpg", "b.jpg")
                    await anyio.sleep(0.05)
                assert not await theirs.is_exclusive()


async def test_redelivery(nats, make, publish):
    """What comes again here leaves the others exclusive; what goes to another sidecar does not."""
    source = make(nats.url, ack_wait=1)
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        await publish(store, "a.jpg", "b.jpg")
        first, second = await ear.next(), await ear.next()
        await first.nak(0.0)
        again = await ear.next()
        assert 2 == again.attempt
        for delivery in (second, again):
            assert await delivery.is_exclusive()
        # `second` is not extended, so the next one who asks is given it.
        async with make(nats.url, state="other", ack_wait=1) as other:
            for delivery in (first, again):
                await delivery.ack()
            async with listen(other) as elsewhere:
                with anyio.fail_after(30):
                    while not len(elsewhere):
                        await anyio.sleep(0.02)
                        if len(ear):
                            second = await ear.next()
                assert not await second.is_exclusive()


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_lost_connection(make_nats, make, publish, how):
    """What was given before is not exclusive any more, what is given after is."""
    server = make_nats()
    source = make(server.url, ack_wait=60)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        async with client(server.url) as store:
            await publish(store, "a.jpg")
        held = await ear.next()
        assert await held.is_exclusive()
        await to_thread.run_sync(getattr(server, how))
        await until(lambda: source.trouble)
        assert not await held.is_exclusive()
        await to_thread.run_sync(server.start)
        await until(lambda: not source.trouble)
        async with client(server.url) as store:
            await publish(store, "b.jpg")
        later = await ear.next()
        await until_exclusive(later, ear, publish, server.url)
        assert not await held.is_exclusive()


async def until_exclusive(delivery, ear, publish, url):
    """Further deliveries, until all consumers are counted again."""
    with anyio.fail_after(30):
        async with client(url) as store:
            while not await delivery.is_exclusive():
                await delivery.ack()
                await publish(store, "more.jpg")
                delivery = await ear.next()


async def test_consumer_created_again(nats, make, publish, site):
    """Its numbers begin anew, so nothing from before is exclusive."""
    source = make(nats.url)
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        await publish(store, "a.jpg", "b.jpg")
        held = [await ear.next(), await ear.next()]
        assert await held[0].is_exclusive()
        await store.jetstream().delete_consumer(f"imgtag-{site}", f"imgtag-{site}")
        again = [await ear.next(), await ear.next()]
        assert {"a.jpg", "b.jpg"} == {delivery.hints[0].ref.key for delivery in again}
        assert not any([await delivery.is_exclusive() for delivery in held])
        await until_exclusive(again[1], ear, publish, nats.url)


async def test_where_no_answer_comes(nats, toxiproxy, make, publish):
    """It is not where the server cannot be asked, and asking raises nothing."""
    with toxiproxy.proxy(nats.port) as proxy:
        source = make(f"nats://127.0.0.1:{proxy.port}")
        async with source, listen(source) as ear, client(nats.url) as store:
            await source.setup(apply=True)
            await publish(store, "a.jpg")
            held = await ear.next()
            with proxy.cut():
                assert not await held.is_exclusive()
