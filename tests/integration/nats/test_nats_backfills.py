"""Distributed backfills count each object once, whoever is killed and when. On a real nats-server."""

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag.plugin import Hint, ObjectRef
from integration.nats.publishing import client

pytestmark = pytest.mark.anyio
HINTS = [Hint(ref=ObjectRef("photos", f"{number}.jpg")) for number in range(20)]


async def take_all(source, count):
    """So many deliveries, however often it takes."""
    taken = []
    with anyio.fail_after(30):
        while len(taken) < count:
            taken += await source.backfills.take("b", count - len(taken))
    return taken


async def finish_all(source, deliveries):
    async with anyio.create_task_group() as tasks:
        for delivery in deliveries:
            tasks.start_soon(delivery.finish, {"labelled": 1})


async def when_done(source):
    with anyio.fail_after(30):
        while not (backfill := (await source.backfills.list())[0]).is_done:
            await anyio.sleep(0.05)
    return backfill


async def test_a_sidecar_is_killed_between_count_and_acknowledgement(nats, make):
    """Another one gets the message again, and does not count it; what the killed one had not counted, it counts."""
    async with make(nats.url, ack_wait=1) as source, make(nats.url, ack_wait=1, state="other") as other:
        publication = await source.backfills.begin("b", {})
        await publication.publish(HINTS[:2], "end", {"listed": 2})
        await publication.complete()
        counted, _ = await take_all(other, 2)
        # All that `finish` does before it acknowledges.
        await counted.ledger.count(counted.number, {"labelled": 1}, is_doubtful=False)
        again = await take_all(source, 2)
        await finish_all(source, again)
        backfill = await when_done(source)

    assert [2, 2] == [delivery.attempt for delivery in again]
    assert {"listed": 2, "labelled": 2} == backfill.counts


async def test_what_was_published_twice_counts_once(nats, make, site):
    """A publisher that takes over when NATS has forgotten the message ids publishes copies; each object counts once."""
    async with make(nats.url) as source, make(nats.url, state="other") as other, client(nats.url) as store:
        first = await source.backfills.begin("b", {})
        config = (await store.jetstream().stream_info(f"imgtag-{site}-backfill")).config
        await store.jetstream().update_stream(config.evolve(duplicate_window=0.1))
        await first.publish(HINTS, "end", {"listed": len(HINTS)})
        await finish_all(source, await take_all(source, len(HINTS) // 2))
        await anyio.sleep(0.3)  # until the window is over
        second = await other.backfills.begin("b", {})
        assert not await first.publish(HINTS[:1], "more", {"listed": 1})
        await second.complete()
        copies = (await store.jetstream().stream_info(f"imgtag-{site}-backfill")).state.messages
        await finish_all(other, await take_all(other, copies))
        backfill = await when_done(other)

    assert copies > len(HINTS)
    assert {"listed": len(HINTS), "labelled": len(HINTS)} == backfill.counts


async def test_without_room_for_its_streams_the_limit_is_named(make_nats, make):
    """Everything else works in such an account, and the hint says what to raise."""
    account = 'accounts {{ a: {{ jetstream: {{ max_streams: {} }}, users: [ {{ user: "a", password: "p" }} ] }} }}'
    server = make_nats(extra=account.format(3))
    async with make(server.url, user="a", password="p") as source:
        await source.setup(apply=True)
        assert [] == list(await source.backfills.list())
        with pytest.raises(Unavailable, match="maximum number of streams") as caught:
            await source.backfills.begin("b", {})

    assert "two streams more" in caught.value.hint


async def test_permissions_of_an_older_release(make_nats, make):
    """A sidecar starts as before; what it lacks is said by doctor, and where a backfill is to begin."""
    policy = make("nats://nowhere").policy()
    older = "\n".join(line for line in policy.splitlines() if "-backfill" not in line and "-progress" not in line)
    server = make_nats(extra=f'authorization {{ users: [ {{ user: "a", password: "p", {older} }} ] }}')
    async with make(server.url, user="a", password="p") as source:
        changes = await source.setup(apply=True)
        await source.publish(HINTS[:1])
        assert 1 == await source.backlog()
        failed = [check async for check in source.checks() if not check.ok]
        with pytest.raises(Unavailable, match="does not permit") as caught:
            await source.backfills.begin("b", {})

    assert [] != changes
    assert any("-backfill" in check.message for check in failed)
    assert "imgtag policy" in caught.value.hint
