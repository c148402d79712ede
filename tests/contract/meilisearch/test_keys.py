"""The key that `policy` describes is enough, and each action in it is needed."""

from __future__ import annotations

import hmac
import json
from uuid import uuid4

import pytest

from imgtag.errors import ConfigError
from imgtag.plugin.indexer import Delete, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.types.ref import Scope
from imgtag_meilisearch.errors import ACTIONS_NEEDED, ACTIONS_OF_REINDEX
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio


@pytest.fixture
def new_key(server, open_index):
    """Make a key of the policy without some actions; it is removed afterwards."""
    if server.master is None:
        pytest.skip("MEILISEARCH_MASTER_KEY is not set")
    made = []

    def make(*without, commands=()):
        body = json.loads(open_index().policy_with(commands))
        body["actions"] = [action for action in body["actions"] if action not in without]
        made.append(server.ask("POST", "keys", body, key=server.master))
        return made[-1]["key"]

    yield make
    for key in made:
        server.ask("DELETE", f"keys/{key['uid']}", key=server.master)


async def _everything(index):
    document = documents(1)[0]
    await index.setup(apply=True)
    await index.apply([Upsert(document), Delete("no-such-id")])
    await index.search(SearchRequest(query=parse("fox"), facets=("labels",)))
    await index.suggest("f")
    await index.get([document["id"]])
    return [each async for each in index.scan("local", Scope(document["bucket"]))]


async def test_least_privilege_is_enough(open_index, new_key):
    """A key of the policy does all that an indexer does, and doctor finds nothing."""
    async with open_index(api_key=new_key()) as index:
        stored = await _everything(index)
        checks = [check async for check in index.checks()]

    assert 1 == len(stored)
    assert [] == [check for check in checks if not check.ok]


async def test_a_key_follows_from_its_uid(server, open_index):
    """compose.yaml makes the sidecar's key before the server runs, and creates it again at each start."""
    if server.master is None:
        pytest.skip("MEILISEARCH_MASTER_KEY is not set")
    body = {"uid": str(uuid4()), **json.loads(open_index().policy())}
    try:
        made = server.ask("POST", "keys", body, key=server.master)
        again = server.ask("POST", "keys", body, key=server.master)
    finally:
        server.ask("DELETE", f"keys/{body['uid']}", key=server.master)

    assert hmac.digest(server.master.encode(), body["uid"].encode(), "sha256").hex() == made["key"]
    assert "api_key_already_exists" == again["code"]


@pytest.mark.parametrize("action", sorted(ACTIONS_NEEDED))
async def test_missing_action_is_named(open_index, new_key, action):
    """Without one of the actions the work stops with a hint that names it."""
    async with open_index(api_key=new_key(action)) as index:
        with pytest.raises(ConfigError) as raised:
            await _everything(index)

    assert f"the action {action} on this index" in raised.value.hint


async def test_steady_state_needs_less(index, open_index, new_key):
    """Once the index is made, neither the right to make it nor the one to change its settings is needed."""
    async with open_index(api_key=new_key("indexes.create", "settings.update")) as steady:
        assert 1 == len(await _everything(steady))


async def test_deleting_the_index_needs_more(open_index, new_key):
    """The key of the policy cannot take back what setup made; the hint names the action."""
    async with open_index(api_key=new_key()) as index:
        (made, _) = await index.setup(apply=True)
        with pytest.raises(ConfigError) as raised:
            await index.undo(made.undo, apply=True)

    assert "the action indexes.delete on this index" in raised.value.hint


async def test_doctor_names_what_is_missing(index, open_index, new_key):
    """A failed check says which action, and how to come by it."""
    async with open_index(api_key=new_key("search", "documents.add")) as poor:
        checks = {check.check: check async for check in poor.checks()}

    assert {"index key search", "index key documents.add"} == {name for name, check in checks.items() if not check.ok}
    assert "the action search" in checks["index key search"].hint


async def test_wrong_key(open_index, new_key):
    """A key that the server does not know stops the work; the key itself is never shown."""
    async with open_index(api_key="s3cret") as index:
        with pytest.raises(ConfigError) as raised:
            await index.get(["a"])

    assert "s3cret" not in f"{raised.value} {raised.value.hint}"


async def _rebuild(index):
    """Put a new index with two documents in the place of that with one; returns how many are found."""
    await index.setup(apply=True)
    await index.apply([Upsert(document) for document in documents(1)])
    await index.check_rebuild()
    async with index.open_spare() as spare:
        await spare.apply([Upsert(document) for document in documents(2)])
    await index.swap()
    await index.drop_spare()
    return (await index.search(SearchRequest(query=parse("status:*")))).total


async def test_least_privilege_of_a_rebuild_is_enough(open_index, new_key):
    """A key of the policy with `reindex` builds another index and swaps, though it never sees the task of the swap."""
    async with open_index(api_key=new_key(commands=["reindex"])) as index:
        assert 2 == await _rebuild(index)
        assert not await index.has_spare()


@pytest.mark.parametrize("action", [*sorted(ACTIONS_OF_REINDEX), "indexes.get"])
async def test_rebuild_without_the_rights_changes_nothing(server, uid, open_index, new_key, action):
    """The check names the action and the command that prints a key, before there is anything beside the index."""
    async with open_index() as index:
        await index.setup(apply=True)
    async with open_index(api_key=new_key(action, commands=["reindex"])) as index:
        with pytest.raises(ConfigError) as raised:
            await index.check_rebuild()

    assert "--with reindex" in raised.value.hint
    assert "index_not_found" == server.ask("GET", f"indexes/{uid}-rebuild")["code"]


async def test_the_key_of_the_sidecar_does_not_rebuild(open_index, new_key):
    """It has no rights on another index, and may not swap."""
    async with open_index(api_key=new_key()) as index:
        with pytest.raises(ConfigError) as raised:
            await index.check_rebuild()

    assert f"the key may not build {index._settings.index}-rebuild" in raised.value.message
