"""Streams, consumers and what is delivered from them."""

import json
import time
from dataclasses import replace

import anyio
import pytest
from nats.js.errors import APIError

from imgtag.errors import ConfigError, Unavailable
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef
from imgtag_nats.jetstream import JetStream
from integration.nats.conftest import listen
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio


def a_hint(key, **facts):
    return Hint(ref=ObjectRef("photos", key), **facts)


async def test_minio_notification(nats, make, subject):
    """A notification of MinIO arrives as the hint that it is."""
    source = make(nats.url)
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        await store.jetstream().publish(subject, notification("photos", "dir/a b+ü.jpg"))
        (hint,) = (await ear.next()).hints

    assert hint.ref == ObjectRef("photos", "dir/a b+ü.jpg")
    assert hint.etag == "900150983cd24fb0d6963f7d28e17f72"


async def test_no_notification(nats, make, subject):
    """A message that is not a notification becomes a dead letter; one about no object is acknowledged silently."""
    source = make(nats.url)
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        await store.jetstream().publish(subject, b'{"Service": "S3", "Event": "s3:TestEvent"}')
        await store.jetstream().publish(subject, notification("photos", "a", "s3:ObjectAccessed:Get"))
        await store.jetstream().publish(subject, b"\xff\x00")
        delivery = await ear.next()
        await delivery.ack()
        await ear.silence(0.3)
        state = (await store.jetstream().stream_info(source._topology.stream)).state

    assert "not JSON" in delivery.problem.message
    assert delivery.hints == ()
    assert state.messages == 0


async def test_one_bad_record(nats, make, subject):
    """The hints of the good records of a message are delivered beside the bad one, and all are answered for at once."""
    source = make(nats.url)
    good, bad = json.loads(notification("photos", "a.jpg")), {"eventName": "s3:ObjectCreated:Put"}
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        records = [bad, *good["Records"], bad]
        await store.jetstream().publish(subject, json.dumps({"Records": records}).encode())
        delivery = await ear.next()
        await delivery.ack()
        await ear.silence(0.3)

    assert ["a.jpg"] == [hint.ref.key for hint in delivery.hints]
    assert {"Records": [bad, bad]} == json.loads(delivery.problem.payload)


async def test_two_share(nats, make, subject):
    """Of two sidecars on one consumer each message reaches one."""
    one, two = make(nats.url), make(nats.url, state="other")
    keys = [f"{number}.jpg" for number in range(40)]
    heard = []

    async def take(source):
        async for delivery in source.deliveries():
            await anyio.sleep(0.005)
            await delivery.ack()
            heard.append((source, delivery.hints[0].ref.key))

    async with one, two, client(nats.url) as store, anyio.create_task_group() as tasks:
        await one.setup(apply=True)
        for source in (one, two):
            tasks.start_soon(take, source)
        for key in keys:
            await store.jetstream().publish(subject, notification("photos", key))
        with anyio.fail_after(15):
            while len(heard) < len(keys):
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()

    assert sorted(keys) == sorted(key for _, key in heard)
    assert {source for source, _ in heard} == {one, two}


async def test_what_is_not_taken_goes_back(nats, make, subject):
    """A source that ends gives back at once what waited for the pipeline, so that another need not wait for it."""
    one = make(nats.url, ack_wait=60)
    async with one, client(nats.url) as store:
        await one.setup(apply=True)
        for number in range(5):
            await store.jetstream().publish(subject, notification("photos", f"{number}.jpg"))
        deliveries = one.deliveries()
        await (await anext(deliveries)).ack()
        await anyio.sleep(0.2)
        await deliveries.aclose()
    two = make(nats.url, ack_wait=60)
    async with two, listen(two) as ear:
        assert {await ear.key() for _ in range(4)} == {"1.jpg", "2.jpg", "3.jpg", "4.jpg"}


async def test_what_waits_here_is_extended(nats, make, subject):
    """What waits for a busy pipeline is still ours after `ack_wait`, and its attempt is the first."""
    source = make(nats.url, ack_wait=1)
    async with source, client(nats.url) as store:
        await source.setup(apply=True)
        deliveries = source.deliveries()
        for key in ("a.jpg", "b.jpg"):
            await store.jetstream().publish(subject, notification("photos", key))
        await (await anext(deliveries)).ack()
        await anyio.sleep(2.5)
        assert (await anext(deliveries)).attempt == 1
        await deliveries.aclose()


async def test_parked_hints_come_later(nats, make):
    """A parked hint waits its time, and comes with all that it said."""
    source = make(nats.url, park=1)
    hint = a_hint("a.jpg", parked=True, intent=Intent.STALE, etag="e", metadata={"note": "ü"}, at=1.5, version="v")
    async with source, listen(source) as ear:
        since = time.monotonic()
        await source.publish([hint])
        delivery = await ear.next()
        await delivery.ack()

    assert time.monotonic() - since > 0.9
    assert delivery.hints[0] == hint


async def test_parked_hints_are_no_hot_loop(nats, make):
    """Parked hints that fail come one by one, as far apart as they are put off; what is asked for does not wait."""
    source = make(nats.url, park=0)
    seen = []
    async with source, listen(source) as ear:
        await source.publish([a_hint(f"{number}.jpg", parked=True) for number in range(50)])
        began = time.monotonic()
        while len(seen) < 3 or time.monotonic() < began + 2:
            delivery = await ear.next()
            seen.append(delivery)
            await delivery.nak(1.0)
        took = time.monotonic() - began
        await source.publish([a_hint("asked.jpg")])
        before = 0
        while (delivery := await ear.next()).hints[0].parked:
            before += 1
            await delivery.nak(1.0)

    # One more than its turn may be on its way when a hint is put off.
    assert len(seen) <= 2 * (took + 1)
    assert before <= 4


async def test_live_work_goes_first(nats, make, subject):
    """While notifications wait, hints come now and then only; afterwards they all come."""
    source = make(nats.url, park=0)
    async with source, client(nats.url) as store:
        await source.setup(apply=True)
        for number in range(60):
            await store.jetstream().publish(subject, notification("photos", f"live-{number}"))
        await source.publish([a_hint(f"asked-{number}") for number in range(5)])
        await source.publish([a_hint(f"parked-{number}", parked=True) for number in range(5)])
        order = []
        deliveries = source.deliveries()
        with anyio.fail_after(30):
            while len(order) < 70:
                delivery = await anext(deliveries)
                order.append(delivery.hints[0].ref.key)
                await delivery.ack()
        await deliveries.aclose()

    assert [key for key in order[:50] if not key.startswith("live")] == []


async def test_a_newer_letter_is_not_dropped(nats, make):
    """A letter is dropped by what was seen of it: one that was put for the same key since stays."""
    source = make(nats.url)
    letter = DeadLetter(ref=ObjectRef("photos", "a.jpg"), code="old", reason="r", at=1.0)
    async with source:
        await source.dead.put(letter)
        (seen,) = [letter async for letter in source.dead.list()]
        await source.dead.put(DeadLetter(ref=letter.ref, code="new", reason="r", at=2.0))

        assert await source.dead.drop([seen.id]) == 0
        assert [letter.code async for letter in source.dead.list()] == ["new"]


async def test_a_letter_that_is_replaced_while_it_is_dropped(nats, make, monkeypatch):
    """A sidecar that fails again between the look for a letter and its removal is no error, and its letter stays."""
    source = make(nats.url)
    letter = DeadLetter(ref=ObjectRef("photos", "a.jpg"), code="old", reason="r", at=1.0)
    call = JetStream.call

    async def fail_again(jetstream, api, *arguments, **options):
        if api.startswith("STREAM.MSG.DELETE."):
            await source.dead.put(replace(letter, code="new"))
        return await call(jetstream, api, *arguments, **options)

    async with source:
        await source.dead.put(letter)
        (seen,) = [letter async for letter in source.dead.list()]
        monkeypatch.setattr(JetStream, "call", fail_again)

        assert await source.dead.drop([seen.id]) == 0
        assert [letter.code async for letter in source.dead.list()] == ["new"]


async def test_adopts_a_stream(nats, make, site, subject):
    """A stream that has the subject already is used: our subjects are added, and everything else stays."""
    config = {
        "retention": "limits",
        "max_age": 3600,
        "max_msgs": 1000,
        "description": "of the admin",
        "metadata": {"a": "b"},
    }
    async with client(nats.url) as store:
        subjects = [subject, f"others.{site}"]
        before = (await store.jetstream().add_stream(name=f"admin-{site}", subjects=subjects, **config)).config
        source = make(nats.url)
        async with source, listen(source) as ear:
            planned = await source.setup(apply=False)
            await source.setup(apply=True)
            assert await source.setup(apply=False) == []
            await store.jetstream().publish(subject, notification("photos", "a.jpg"))
            assert await ear.key() == "a.jpg"
            await source.publish([a_hint("b.jpg")])
            assert await ear.key() == "b.jpg"
        after = (await store.jetstream().stream_info(f"admin-{site}")).config

    assert planned[0].what == f"subjects imgtag.{site}.hints, imgtag.{site}.parked on stream admin-{site}"
    assert after.subjects == [*subjects, f"imgtag.{site}.hints", f"imgtag.{site}.parked"]
    assert after.evolve(subjects=None) == before.evolve(subjects=None)


async def test_wildcard_subject(nats, make, site):
    """One source hears all that a wildcard names; a wildcard that takes in our own subjects is refused."""
    source = make(nats.url, subject=f"stores.{site}.>")
    async with source, listen(source) as ear, client(nats.url) as store:
        await source.setup(apply=True)
        assert await source.setup(apply=False) == []
        await store.jetstream().publish(f"stores.{site}.node1.fast", notification("photos", "a.jpg"))
        assert await ear.key() == "a.jpg"
    with pytest.raises(ConfigError, match="uses itself"):
        make(nats.url, subject="imgtag.>")


async def test_changed_settings(nats, make, site):
    """A consumer of other settings is brought to ours; what an admin set besides stays."""
    async with make(nats.url) as source:
        await source.setup(apply=True)
    async with make(nats.url, ack_wait=77, max_ack_pending=55) as source, client(nats.url) as store:
        assert len(await source.setup(apply=False)) == 3
        await source.setup(apply=True)
        config = (await store.jetstream().consumer_info(f"imgtag-{site}", f"imgtag-{site}")).config

    assert (config.ack_wait, config.max_ack_pending) == (77, 55)


async def test_full_stream_refuses(nats, make, site, subject):
    """A full stream loses nothing that it has: publishers are refused, and doctor says so."""
    source = make(nats.url, max_bytes=4000)
    async with source, client(nats.url) as store:
        await source.setup(apply=True)
        with pytest.raises(Unavailable, match="maximum bytes"):
            await source.publish([a_hint(f"{number}.jpg") for number in range(100)])
        failed = [check async for check in source.checks() if not check.ok]
        with pytest.raises(APIError, match="maximum bytes"):
            await store.jetstream().publish(subject, notification("photos", "k" * 900))

    assert [check.check for check in failed] == ["stream"]
    assert "refused" in failed[0].hint


async def test_without_jetstream(make_nats, make):
    """A server without JetStream is told apart from one that does not answer."""
    server = make_nats(jetstream=False)
    source = make(server.url)
    async with source, listen(source) as ear:
        with pytest.raises(Unavailable, match="JetStream") as caught:
            await source.setup(apply=True)
        checks = {check.check: check.ok async for check in source.checks()}
        await ear.silence(1.5)
        assert "JetStream" in source.trouble

    assert "jetstream = false" in caught.value.hint
    assert checks == {"server": True, "nats": False}
