"""What setup makes is taken back: what others made or changed stays."""

import json
from dataclasses import replace

import pytest

from imgtag.errors import ConfigError, Unavailable
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio


def records(changes):
    """What takes them back, newest first, as it is kept in a file."""
    return [json.loads(json.dumps(change.undo)) for change in reversed(changes) if change.undo]


async def undone(source, changes, *, apply=True):
    """What undo says of each."""
    return [await source.undo(record, apply=apply) for record in records(changes)]


async def names(store):
    """All streams that there are."""
    return {info.config.name for info in await store.jetstream().streams_info()}


async def consumers(store, stream):
    return {info.name for info in await store.jetstream().consumers_info(stream)}


@pytest.mark.parametrize("before", [["{subject}", "others.{site}"], ["stores.{site}.a", "others.{site}"]])
async def test_adopted_stream_is_as_before(nats, make, site, subject, before):
    """Our subjects go with the messages on them, those that ours took in come back in their place; the rest stays."""
    subjects = [pattern.format(site=site, subject=subject) for pattern in before]
    source = make(nats.url, subject=f"stores.{site}.*" if "stores" in subjects[0] else subject, stream=f"admin-{site}")
    async with client(nats.url) as store, source:
        await store.jetstream().add_stream(name=f"admin-{site}", subjects=subjects, max_msgs=1000)
        for existing in subjects:
            await store.jetstream().publish(existing, notification("photos", "a.jpg"))
        config, there = (await store.jetstream().stream_info(f"admin-{site}")).config, await names(store)
        changes = await source.setup(apply=True)
        await source.publish([Hint(ref=ObjectRef("photos", "b.jpg"))])
        results = await undone(source, changes)
        after = await store.jetstream().stream_info(f"admin-{site}")

        assert config == after.config
        assert 2 == after.state.messages
        assert there == await names(store)
        assert set() == await consumers(store, f"admin-{site}")
    assert [True] * 7 == [change.done for change in results]
    assert f"on stream admin-{site}, with 1 message" in results[-1].what


async def test_subjects_that_others_added_since_stay(nats, make, site, subject):
    """Ours are taken out beside them."""
    source = make(nats.url)
    async with client(nats.url) as store, source:
        await store.jetstream().add_stream(name=f"admin-{site}", subjects=[subject])
        changes = await source.setup(apply=True)
        config = (await store.jetstream().stream_info(f"admin-{site}")).config
        await store.jetstream().update_stream(config.evolve(subjects=[*config.subjects, f"late.{site}"]))
        await undone(source, changes)

        assert [subject, f"late.{site}"] == (await store.jetstream().stream_info(f"admin-{site}")).config.subjects


async def test_stream_of_ours_goes_with_its_consumers(nats, make, site, subject):
    """How many messages go with it is said before."""
    source = make(nats.url)
    async with client(nats.url) as store, source:
        changes = await source.setup(apply=True)
        await store.jetstream().publish(subject, notification("photos", "a.jpg"))
        planned = await undone(source, changes, apply=False)
        before = await names(store)
        await undone(source, changes)

        assert [
            f"stream imgtag-{site}-progress, with 0 messages",
            f"stream imgtag-{site}-backfill, with 0 messages",
            f"stream imgtag-{site}-dead, with 0 messages",
            f"stream imgtag-{site}, with 1 message",
        ] == [change.what for change in planned]
        ours = {f"imgtag-{site}{suffix}" for suffix in ("", "-dead", "-backfill", "-progress")}
        assert ours == before - await names(store)


async def test_stream_that_others_use_stays(nats, make, site):
    """Where somebody keeps other subjects in the stream that setup made, it is left, and that is said."""
    source = make(nats.url)
    async with client(nats.url) as store, source:
        changes = await source.setup(apply=True)
        config = (await store.jetstream().stream_info(f"imgtag-{site}")).config
        await store.jetstream().update_stream(config.evolve(subjects=[*config.subjects, f"orders.{site}"]))
        results = await undone(source, changes)

        assert f"imgtag-{site}" in await names(store)
    assert not results[-1].done
    assert f"orders.{site}" in results[-1].hint


async def test_another_stream_of_the_name_stays(nats, make, site, subject):
    """What was deleted and made again by somebody is theirs."""
    source = make(nats.url)
    async with client(nats.url) as store, source:
        changes = await source.setup(apply=True)
        for suffix in ("", "-dead", "-backfill", "-progress"):
            await store.jetstream().delete_stream(f"imgtag-{site}{suffix}")
        await store.jetstream().add_stream(name=f"imgtag-{site}", subjects=[subject])

        assert [None] * 4 == await undone(source, changes)
        assert f"imgtag-{site}" in await names(store)


async def test_setup_that_was_begun(nats, make, site, subject):
    """A plan is enough to undo what it created; a stream that somebody else created instead stays."""
    source, other = make(nats.url), make(nats.url, stream=f"theirs-{site}")
    async with client(nats.url) as store, source:
        planned = await source.setup(apply=False)
        await source.setup(apply=True)
        assert [True] * 4 == [change.done for change in await undone(source, planned)]
        async with other:
            planned = await other.setup(apply=False)
            await store.jetstream().add_stream(name=f"theirs-{site}", subjects=[subject])
            assert [None] * 4 == await undone(other, planned)


async def test_changed_consumer_gets_its_settings_back(nats, make, site):
    """Each setting that is still ours; what somebody has changed since stays, and the consumers with it."""
    durable = f"imgtag-{site}"
    async with make(nats.url) as source:
        await source.setup(apply=True)
    async with make(nats.url, ack_wait=77, max_ack_pending=55) as source, client(nats.url) as store:
        before = (await store.jetstream().consumer_info(durable, f"{durable}-hints")).config.evolve(ack_wait=30)
        changes = await source.setup(apply=True)
        config = (await store.jetstream().consumer_info(durable, f"{durable}-hints")).config
        await store.jetstream().add_consumer(durable, config.evolve(max_ack_pending=11))
        config = (await store.jetstream().consumer_info(durable, f"{durable}-parked")).config
        await store.jetstream().add_consumer(durable, config.evolve(ack_wait=9, max_ack_pending=11))
        parked, hints, live = await undone(source, changes)
        after = (await store.jetstream().consumer_info(durable, f"{durable}-hints")).config
        live_config = (await store.jetstream().consumer_info(durable, durable)).config

    assert "changed" in parked.hint
    assert ("ack_wait" in hints.what, "max_ack_pending" in hints.what) == (True, False)
    assert before.evolve(max_ack_pending=11) == after
    assert live.done
    assert (30, 1000) == (live_config.ack_wait, live_config.max_ack_pending)


async def test_least_privilege_is_not_enough(make_nats, make):
    """Who may not delete is told so, and nothing is gone."""
    permissions = make("nats://nowhere").policy()
    server = make_nats(extra=f'authorization {{ users: [ {{ user: "a", password: "p", {permissions} }} ] }}')
    async with make(server.url, user="a", password="p") as source:
        changes = await source.setup(apply=True)
        with pytest.raises(Unavailable, match=r"does not permit this: .*delete"):
            await undone(source, changes)
        assert [] == await source.setup(apply=False)
    assert "STREAM.DELETE" in permissions


async def test_records_of_another_server_are_refused(nats, make, make_nats):
    """Nothing is looked for where it was not made; the hint says what to set."""
    async with make(nats.url) as source:
        changes = await source.setup(apply=True)
    server = make_nats()
    for settings in ({"url": server.url}, {"url": nats.url, "domain": "hub"}, {"url": nats.url, "jetstream": False}):
        async with make(**settings) as source:
            with pytest.raises(ConfigError, match="created") as caught:
                await undone(source, changes)
        assert "--remove" in caught.value.hint
    async with make(f"{nats.url},{server.url}") as source:  # a cluster may be told with more of its servers
        assert [True] * 4 == [change.done for change in await undone(source, changes)]


ACCOUNT = """
accounts {{ site: {{
  jetstream: {{ max_streams: {streams}, max_consumers: {consumers} }}
  users: [ {{ user: "imgtag", password: "p" }} ]
}} }}
"""


async def test_an_account_with_one_stream(make_nats, make, subject):
    """Notifications have the stream, and dead letters are files: listed, dropped and discarded as from a stream."""
    server = make_nats(extra=ACCOUNT.format(streams=1, consumers=3))
    identity = {"user": "imgtag", "password": "p"}
    source = make(server.url, **identity)
    letter = DeadLetter(ref=ObjectRef("photos", "a.jpg"), code="undecodable", reason="r", at=1.0)
    async with source:
        planned = await source.setup(apply=False)
        made = await source.setup(apply=True)
        assert [] == await source.setup(apply=True)
        await source.dead.put(letter)
        await source.dead.put(replace(letter, reason="newer"))
        async with make(server.url, **identity) as other:
            (seen,) = [letter async for letter in other.dead.list()]
        checks = {check.check: check async for check in source.checks()}
        dropped = await source.dead.drop([seen.id])
        await source.dead.put(letter)
        discarded = await source.dead.discard([letter.ref])
        left = [letter async for letter in source.dead.list()]

    assert [change.what for change in planned] == [change.what for change in made]
    assert 1 == sum("stream" in change.what.split()[0] for change in made)
    assert ("newer", letter.ref) == (seen.reason, seen.ref)
    assert checks["dead letters"].ok
    assert checks["distributed backfill"].ok
    assert "not available" in checks["distributed backfill"].message
    assert "its limit of streams (1)" in checks["dead letters"].message
    assert (1, 1, []) == (dropped, discarded, left)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"streams": 2, "consumers": 2}, "max_consumers"), ({"streams": 1, "consumers": 3}, "max_streams")],
    ids=["consumers", "streams"],
)
async def test_account_limits_are_named(make_nats, make, limits, setting):
    """Where the account has no room for what is needed, the hint names the limit that must be raised."""
    server = make_nats(extra=ACCOUNT.format(**limits))
    identity = {"user": "imgtag", "password": "p"}
    if setting == "max_streams":
        async with client(server.url.replace("//", "//imgtag:p@")) as store:
            await store.jetstream().add_stream(name="theirs", subjects=["theirs"])
    async with make(server.url, **identity) as source:
        with pytest.raises(Unavailable) as caught:
            await source.setup(apply=True)

    assert "maximum" in caught.value.message
    assert setting in caught.value.hint
