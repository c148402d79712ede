"""What happens to the server, and to the way to it, loses nothing and ends by itself."""

from contextlib import suppress

import anyio
import pytest
from anyio import to_thread

from imgtag.errors import Unavailable
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from imgtag_nats import client as link
from integration.nats.conftest import PATIENCE, listen, until
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio
A_KEY = Hint(ref=ObjectRef("photos", "a.jpg"))


async def publish(url, subject, *keys):
    """As a store with JetStream does."""
    async with client(url) as store:
        for key in keys:
            await store.jetstream().publish(subject, notification("photos", key))


async def test_entering_fails_where_nobody_is(make):
    """Where no server answers, entering says so soon; of several, one that answers is enough."""
    with pytest.raises(Unavailable, match=r"127.0.0.1:9 does not answer"):
        async with make("nats://127.0.0.1:9"):
            pass


async def test_one_of_several(nats, make):
    """Of several servers one that answers is enough."""
    source = make(f"nats://127.0.0.1:9, {nats.url}")
    async with source, listen(source) as ear:
        await source.publish([A_KEY])
        assert await ear.key() == "a.jpg"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_restart(make_nats, make, subject, how):
    """What came before the server went, and what is put when it is back, is delivered; meanwhile trouble says why."""
    server = make_nats()
    source = make(server.url, ack_wait=2)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        await publish(server.url, subject, "a.jpg")
        held = await ear.next()
        await to_thread.run_sync(getattr(server, how))
        await until(lambda: source.trouble)
        with pytest.raises(Unavailable):
            await source.publish([A_KEY])
        await held.extend()  # raises nothing
        await to_thread.run_sync(server.start)
        await publish(server.url, subject, "b.jpg")
        assert {await ear.key(), await ear.key()} == {"a.jpg", "b.jpg"}
        await until(lambda: not source.trouble)


async def all_answered(url, source):
    """Wait until the stream keeps nothing that could come again."""
    async with client(url) as store:
        with anyio.fail_after(PATIENCE):
            while (await store.jetstream().stream_info(source._topology.stream)).state.messages:
                await anyio.sleep(0.02)


async def test_answer_over_another_connection(make_nats, make, subject):
    """Work that took longer than an outage is acknowledged all the same, and does not come again."""
    server = make_nats()
    source = make(server.url, ack_wait=3)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        await publish(server.url, subject, "a.jpg")
        held = await ear.next()
        await to_thread.run_sync(server.restart)
        await until(lambda: not source.trouble)
        await held.ack()
        await all_answered(server.url, source)
        assert 0 == len(ear)


async def test_answer_during_an_outage(make_nats, make, subject):
    """What was done while the server was away is acknowledged when it is back, and does not come again."""
    server = make_nats()
    source = make(server.url, ack_wait=3)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        await publish(server.url, subject, "a.jpg")
        held = await ear.next()
        await to_thread.run_sync(server.stop)
        await until(lambda: source.trouble)
        await held.ack()
        await to_thread.run_sync(server.start)
        await until(lambda: not source.trouble)
        await all_answered(server.url, source)
        assert 0 == len(ear)


async def given(store, site, count):
    """Wait until sidecars were given so many notifications that they have not answered."""
    with anyio.fail_after(PATIENCE):
        while (await store.jetstream().consumer_info(f"imgtag-{site}", f"imgtag-{site}")).num_ack_pending < count:
            await anyio.sleep(0.02)
    await anyio.sleep(0.2)  # until they have arrived


async def test_what_waits_here_outlives_the_connection(nats, toxiproxy, make, site, subject):
    """What was fetched before the connection was lost is still given, the first time, and can be answered later."""
    with toxiproxy.proxy(nats.port) as proxy:
        source = make(f"nats://127.0.0.1:{proxy.port}")
        async with source, client(nats.url) as store:
            await source.setup(apply=True)
            await publish(nats.url, subject, "a.jpg", "b.jpg", "c.jpg")
            deliveries = source.deliveries()
            held = [await anext(deliveries)]
            await given(store, site, 3)
            with proxy.cut():
                await until(lambda: source.trouble)
                held += [await anext(deliveries), await anext(deliveries)]
            for delivery in held:
                await delivery.ack()
            await until(lambda: not source.trouble)
            await deliveries.aclose()
            state = (await store.jetstream().stream_info(source._topology.stream)).state

    assert [("a.jpg", 1), ("b.jpg", 1), ("c.jpg", 1)] == [(one.hints[0].ref.key, one.attempt) for one in held]
    assert 0 == state.messages


async def test_what_was_fetched_comes_back(nats, toxiproxy, make, site, subject):
    """What a sidecar had fetched when it was cut off goes to another one after `ack_wait`."""
    keys = {f"{number}.jpg" for number in range(5)}
    with toxiproxy.proxy(nats.port) as proxy:
        one = make(f"nats://127.0.0.1:{proxy.port}", ack_wait=2)
        two = make(nats.url, state="other", ack_wait=2)
        async with one, two, client(nats.url) as store:
            await one.setup(apply=True)
            deliveries = one.deliveries()
            await publish(nats.url, subject, *keys)
            await anext(deliveries)
            await given(store, site, len(keys))
            with proxy.cut():
                async with listen(two) as ear:
                    heard = {await ear.key() for _ in keys}
            await deliveries.aclose()

    assert keys == heard


async def test_deleted_consumer(nats, make, site, subject):
    """A consumer that somebody deletes is made again; what waits is delivered, and no resync is needed."""
    source = make(nats.url)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        async with client(nats.url) as store:
            assert await store.jetstream().delete_consumer(f"imgtag-{site}", f"imgtag-{site}")
            await store.jetstream().publish(subject, notification("photos", "a.jpg"))
        delivery = await ear.next()
        assert delivery.hints[0].ref.key == "a.jpg"
        await delivery.ack()
        await until(lambda: not source.trouble)


async def test_deleted_stream(nats, make, site, subject):
    """A stream that somebody deletes is made again, each bucket is compared, once, and notifications go on."""
    sources = [make(nats.url, buckets=("photos", "scans"), state=name) for name in ("one", "two")]
    one, two = sources
    async with one, two, listen(one) as ear, listen(two) as other:
        await one.setup(apply=True)
        await two.setup(apply=True)
        async with client(nats.url) as store:
            await store.jetstream().delete_stream(f"imgtag-{site}")
        ears = (ear, other)
        await until(lambda: sum(map(len, ears)) == 2)
        heard = [str((await ear.next()).resync) for ear in ears for _ in range(len(ear))]
        assert sorted(heard) == ["photos/", "scans/"]
        await until(lambda: not one.trouble and not two.trouble)
        await publish(nats.url, subject, "a.jpg")
        await until(lambda: sum(map(len, ears)) == 1)


async def test_stream_replaced_while_away(nats, make, site):
    """A stream that was deleted while no sidecar ran is noticed at the next start; the first start reports no loss."""
    source = make(nats.url)
    async with source, listen(source) as ear:
        await ear.silence(1)
    async with client(nats.url) as store:
        await store.jetstream().delete_stream(f"imgtag-{site}")
    again = make(nats.url)
    async with again, listen(again) as ear:
        assert await ear.resync() == "photos/"
    third = make(nats.url)
    async with third, listen(third) as ear:
        await ear.silence(1)


async def test_dead_letters_outlive_the_server(make_nats, make):
    """Letters are there after a crash of the server; their stream is made again where somebody deleted it."""
    server = make_nats()
    source = make(server.url)
    letter = DeadLetter(ref=A_KEY.ref, code="undecodable", reason="no picture", at=1.7e9)
    async with source:
        await source.dead.put(letter)
    await to_thread.run_sync(server.kill)
    await to_thread.run_sync(server.start)
    async with make(server.url) as source:
        assert [letter.ref async for letter in source.dead.list()] == [A_KEY.ref]
        async with client(server.url) as store:
            for info in await store.jetstream().streams_info():
                await store.jetstream().delete_stream(info.config.name)
        assert [letter.ref async for letter in source.dead.list()] == []
        await source.dead.put(letter)
        assert [letter.ref async for letter in source.dead.list()] == [A_KEY.ref]


async def test_cut(nats, toxiproxy, make, subject):
    """A connection that is cut comes back, and what was published meanwhile is delivered."""
    with toxiproxy.proxy(nats.port) as proxy:
        source = make(f"nats://127.0.0.1:{proxy.port}")
        async with source, listen(source) as ear:
            await source.setup(apply=True)
            with proxy.cut():
                await until(lambda: source.trouble)
                await publish(nats.url, subject, "a.jpg")
            assert await ear.key() == "a.jpg"


async def test_what_can_no_longer_be_sent(make_nats, make, subject):
    """nats-py first sends what waits when it gives up a connection; a new one follows also where that does not end."""
    server = make_nats()
    source = make(server.url)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        old = (await source._connection.link()).client
        old._transport.drain = anyio.sleep_forever
        old._pending, old._pending_data_size = [b"PING\r\n"], 6
        await to_thread.run_sync(server.kill)
        await until(lambda: source.trouble)
        await to_thread.run_sync(server.start)
        await publish(server.url, subject, "a.jpg")
        assert await ear.key() == "a.jpg"
        assert old._transport._io_writer.is_closing()


async def test_what_fails_to_be_sent_in_the_end(nats, make, subject):
    """As above, and an error ends the attempt, in whichever task of nats-py gives up the connection."""
    source = make(nats.url)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        old = (await source._connection.link()).client

        async def fail():
            raise ConnectionResetError

        old._transport.drain = fail
        old._pending, old._pending_data_size = [b"PING\r\n"], 6
        with suppress(ConnectionResetError):
            await old._process_op_err(ConnectionAbortedError())
        await publish(nats.url, subject, "a.jpg")
        assert await ear.key() == "a.jpg"
        assert old._transport._io_writer.is_closing()


@pytest.fixture
def frequent_pings(monkeypatch):
    """A lost link is noticed after three intervals: within half a minute, as they are, and here in three seconds."""
    assert 3 * link.PING_INTERVAL < 30
    monkeypatch.setattr(link, "PING_INTERVAL", 1)


async def test_silence(nats, toxiproxy, make, subject, frequent_pings):
    """A connection on which nothing arrives any more is given up, without a word from TCP."""
    with toxiproxy.proxy(nats.port) as proxy:
        source = make(f"nats://127.0.0.1:{proxy.port}")
        async with source, listen(source) as ear:
            await source.setup(apply=True)
            with proxy.silence():
                await until(lambda: source.trouble, 30)
            await publish(nats.url, subject, "a.jpg")
            assert await ear.key(30) == "a.jpg"


async def test_slow(nats, toxiproxy, make, subject):
    """On a way of 300 ms there and back everything arrives once."""
    with toxiproxy.proxy(nats.port) as proxy, proxy.slow(150, jitter=50):
        source = make(f"nats://127.0.0.1:{proxy.port}", pulls=8)
        async with source, listen(source) as ear:
            await source.setup(apply=True)
            keys = [f"{number}.jpg" for number in range(8)]
            await publish(nats.url, subject, *keys)
            assert sorted([await ear.key() for _ in keys]) == sorted(keys)
            await ear.silence(1)


async def test_truncated(nats, toxiproxy, make, subject):
    """A connection that ends in the middle of a message delivers nothing that is not whole."""
    with toxiproxy.proxy(nats.port) as proxy:
        source = make(f"nats://127.0.0.1:{proxy.port}", ack_wait=1)
        async with source, listen(source) as ear:
            await source.setup(apply=True)
            with proxy.truncate(300):
                await publish(nats.url, subject, "a.jpg")
                await until(lambda: source.trouble)
            assert await ear.key() == "a.jpg"


async def test_frozen_server(make_nats, make, subject, frequent_pings):
    """A server that lives and does nothing is given up, and taken again when it goes on."""
    server = make_nats()
    source = make(server.url)
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        server.freeze()
        await until(lambda: source.trouble, 40)
        server.thaw()
        await publish(server.url, subject, "a.jpg")
        assert await ear.key(30) == "a.jpg"
