"""Plain NATS: at most once, and mended."""

import pytest
from anyio import to_thread

from imgtag.errors import Unavailable
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef
from integration.nats.conftest import listen, until
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio


async def test_resync_first(make_nats, make, subject, caplog):
    """Each bucket is compared at the start, and what it means is said; then notifications come."""
    server = make_nats(jetstream=False)
    source = make(server.url, buckets=("photos", "scans"), jetstream=False)
    async with source, listen(source) as ear, client(server.url) as store:
        assert {await ear.resync(), await ear.resync()} == {"photos/", "scans/"}
        await store.publish(subject, notification("photos", "a b.jpg"))
        assert await ear.key() == "a b.jpg"
        messages = [check.message async for check in source.checks()]

    assert not source.features.parks
    (warning,) = (record for record in caplog.records if record.message == "core_nats_in_use")
    assert "loses what is published" in warning.reason
    assert any("loses what is published" in message for message in messages)


async def test_resync_behind_a_gap(make_nats, make):
    """After a lost connection everything is compared again."""
    server = make_nats(jetstream=False)
    source = make(server.url, jetstream=False)
    async with source, listen(source) as ear:
        assert await ear.resync() == "photos/"
        await to_thread.run_sync(server.kill)
        await until(lambda: source.trouble)
        await to_thread.run_sync(server.start)
        assert await ear.resync() == "photos/"
        await until(lambda: not source.trouble)


async def test_publish_needs_a_listener(make_nats, make):
    """A hint reaches a sidecar that runs; where none does, publishing fails."""
    server = make_nats(jetstream=False)
    hint = Hint(ref=ObjectRef("photos", "a.jpg"), intent=Intent.RETRY)
    async with make(server.url, jetstream=False) as other:
        with pytest.raises(Unavailable, match="no sidecar listens"):
            await other.publish([hint])
        source = make(server.url, jetstream=False)
        async with source, listen(source) as ear:
            await ear.resync()
            await other.publish([hint])
            delivery = await ear.next()

    assert delivery.hints == (hint,)


async def test_two_share(make_nats, make, subject):
    """Of two sidecars each message reaches one."""
    server = make_nats(jetstream=False)
    one, two = make(server.url, jetstream=False), make(server.url, jetstream=False)
    async with one, two, listen(one) as ear, listen(two) as other, client(server.url) as store:
        await ear.resync()
        await other.resync()
        for number in range(40):
            await store.publish(subject, notification("photos", f"{number}.jpg"))
        ears = (ear, other)
        await until(lambda: sum(map(len, ears)) == 40)
        shares = [len(ear) for ear in ears]

    assert all(shares)


async def test_dead_letters(make_nats, make, subject):
    """Messages that are no notifications, and letters that are put, are kept in files; another instance sees them."""
    server = make_nats(jetstream=False)
    source = make(server.url, jetstream=False)
    letter = DeadLetter(ref=ObjectRef("photos", "a.jpg"), code="undecodable", reason="r", at=1.0)
    async with source, listen(source) as ear, client(server.url) as store:
        await ear.resync()
        await store.publish(subject, b"{")
        await store.publish(subject, notification("photos", "b.jpg"))
        assert await ear.key() == "b.jpg"
        await source.dead.put(letter)
        letters = {letter.code: letter async for letter in make(server.url, jetstream=False).dead.list()}
        assert await source.dead.drop([letters["undecodable"].id, "../state", "x"]) == 1
        assert [letter.payload async for letter in source.dead.list()] == [b"{"]

    assert letters["undecodable"].ref == letter.ref


async def test_policy_is_enough(make_nats, make, subject):
    """With no more than its policy a source hears, publishes and answers."""
    permissions = make("nats://nowhere", jetstream=False).policy()
    users = f'users: [ {{ user: "imgtag", password: "p", {permissions} }}, {{ user: "store", password: "p" }} ]'
    server = make_nats(jetstream=False, extra=f"authorization {{ {users} }}")
    source = make(server.url, jetstream=False, user="imgtag", password="p")
    async with source, listen(source) as ear, client(server.url.replace("//", "//store:p@")) as store:
        await ear.resync()
        await store.publish(subject, notification("photos", "a.jpg"))
        assert await ear.key() == "a.jpg"
        await source.publish([Hint(ref=ObjectRef("photos", "b.jpg"))])
        assert await ear.key() == "b.jpg"
