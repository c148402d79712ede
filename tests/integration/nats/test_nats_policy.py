"""Taking any one subject of the policy away is named by doctor. On a real nats-server."""

import re
from functools import partial

import pytest

from imgtag.errors import Unavailable
from integration.nats.test_nats_identity import USERS, client

pytestmark = pytest.mark.anyio


def _subjects(text):
    publish, subscribe = re.findall(r"allow: \[\n(.*?)\n *\]", text, re.DOTALL)
    return re.findall(r'"(.+)"', publish), re.findall(r'"(.+)"', subscribe)


def _without(text, subject):
    """Another in its place: a list of none would permit everything."""
    return text.replace(f'"{subject}"', '"imgtag.elsewhere"')


async def _failed(source):
    try:
        async with source:
            return [check async for check in source.checks() if not check.ok]
    except Unavailable as error:
        return [error]


async def test_each_subject_is_missed(make_nats, make):
    """Doctor fails without it, and says which one it is; and it leaves nothing in any stream."""
    make = partial(make, needs_records=True)
    permissions = make("nats://nowhere").policy()
    publish, subscribe = _subjects(permissions)
    server = make_nats(extra=USERS.format(password="p", permissions=permissions))
    async with make(server.url, user="imgtag", password="p") as source:
        await source.setup(apply=True)
        assert [] == [check async for check in source.checks() if not check.ok]

    assert len(publish) > 20
    for subject in (*publish, *subscribe):
        server.extra = USERS.format(password="p", permissions=_without(permissions, subject))
        server.restart()
        messages = " ".join(str(error) for error in await _failed(make(server.url, user="imgtag", password="p")))
        # A server tells the very subject that was refused, here one of the pattern.
        stem = subject.removesuffix(".>").removesuffix(".*")
        assert stem.lower() in messages.lower(), f"{subject}: {messages}"

    server.extra = USERS.format(password="p", permissions=permissions)
    server.restart()
    async with client(server.url.replace("//", "//store:p@")) as store:
        streams = await store.jetstream().streams_info()
    assert [0, 0, 0, 0, 0] == [stream.state.messages for stream in streams]


async def test_records_without_permission_stop_nothing_else(make_nats, make):
    """A site that turns a schedule on before it extends the permissions works on, and setup says what is missing."""
    server = make_nats(extra=USERS.format(password="p", permissions=make("nats://nowhere").policy()))
    async with make(server.url, user="imgtag", password="p", needs_records=True) as source:
        changes = await source.setup(apply=True)
        with pytest.raises(Unavailable, match="records"):
            await source.write_record("schedule", b"{}", 0)
        assert 0 == await source.backlog()

    (refused,) = [change for change in changes if not change.done]
    assert "imgtag policy" in refused.hint
    assert [] != [change for change in changes if change.done]


async def test_setup_makes_and_removes_the_records(make_nats, make):
    """Only where something uses them; what was made is removed again."""
    server = make_nats()
    async with make(server.url) as source:
        assert [] == [change.what for change in await source.setup(apply=True) if "records" in change.what]
    async with make(server.url, needs_records=True) as source:
        (planned,) = await source.setup(apply=False)
        (made,) = await source.setup(apply=True)
        assert await source.write_record("schedule", b"{}", 0)
        removed = await source.undo(made.undo, apply=True)
        assert (planned.what, True, True) == (made.what, made.done, removed.done)
        assert await source.write_record("schedule", b"{}", 0), "it is created again when it is needed"
