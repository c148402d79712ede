"""What setup makes is taken back: what others made or changed stays."""

from __future__ import annotations

import json
import time

import pytest

from imgtag.errors import ConfigError
from imgtag.plugin.indexer import Upsert
from imgtag.types.document import document_id
from imgtag.types.ref import ObjectRef
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio

THEIRS = {
    "pagination": {"maxTotalHits": 7},
    "faceting": {"maxValuesPerFacet": 9, "sortFacetValuesBy": {"*": "alpha", "genre": "count"}},
    "embedders": {"text": {"source": "userProvided", "dimensions": 4}},
    "sortableAttributes": ["genre"],
    "synonyms": {"a": ["b"]},
}
"""Settings of an index that somebody else made."""


@pytest.fixture
def ask(server):
    """One request beside the plugin; a task is done on return."""

    def ask(method, path, body=None):
        answer = server.ask(method, path, body)
        while "taskUid" in (answer or {}):
            (task,) = server.ask("GET", f"tasks?uids={answer['taskUid']}")["results"]
            if task["status"] not in {"enqueued", "processing"}:
                assert "succeeded" == task["status"], task
                break
            time.sleep(0.01)
        return answer

    return ask


@pytest.fixture
def theirs(ask, uid):
    """An index that somebody else made; its settings as the server gives them."""
    ask("POST", "indexes", {"uid": uid, "primaryKey": "id"})
    ask("PATCH", f"indexes/{uid}/settings", THEIRS)
    return ask("GET", f"indexes/{uid}/settings")


def records(changes):
    """What takes them back, newest first, as it is kept in a file."""
    return [json.loads(json.dumps(change.undo)) for change in reversed(changes) if change.undo]


async def undone(index, changes, *, apply=True):
    (record,) = records(changes)
    return await index.undo(record, apply=apply)


async def test_index_goes_with_its_documents(open_index, ask, uid):
    """How many there are is said before."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        world = [
            document | {"id": document_id("home", ObjectRef(document["bucket"], document["key"]))}
            for document in documents(3)
        ]
        await index.apply([Upsert(document | {"site": "home"}) for document in world])
        change = await undone(index, changes, apply=False)
        assert uid == ask("GET", f"indexes/{uid}")["uid"]
        done = await undone(index, changes)

    assert f"index {uid}, with 3 documents" == change.what == done.what
    assert (False, True) == (change.done, done.done)
    assert "index_not_found" == ask("GET", f"indexes/{uid}")["code"]


async def test_index_with_documents_of_other_sites_stays(open_index, ask, uid):
    """It is theirs, too: it is left, and that is said."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        here, there = documents(2)
        await index.apply([Upsert(here | {"site": "home"}), Upsert(there | {"site": "away"})])
        change = await undone(index, changes)

    assert not change.done
    assert "1 of them" in change.hint
    assert 2 == ask("POST", f"indexes/{uid}/documents/fetch", {})["total"]


async def test_settings_are_as_before(open_index, ask, uid, theirs):
    """Each that setup changed gets its former value, whether it was one or a table, and the rest was never touched."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        assert theirs != ask("GET", f"indexes/{uid}/settings")
        done = await undone(index, changes)

        assert done.done
        assert theirs == ask("GET", f"indexes/{uid}/settings")
        assert await undone(index, changes) is None


async def test_settings_that_somebody_changed_since_stay(open_index, ask, uid, theirs):
    """Beside those that get their former value; where all were changed, that is said."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        ask(
            "PATCH",
            f"indexes/{uid}/settings",
            {"pagination": {"maxTotalHits": 8}, "embedders": {"own": {"source": "userProvided", "dimensions": 2}}},
        )
        change = await undone(index, changes)
        after = ask("GET", f"indexes/{uid}/settings")
        (record,) = records(changes)
        only = record | {"before": {"pagination": record["before"]["pagination"]}}
        rest = await index.undo(only, apply=True)

    assert "pagination" not in change.what
    assert {"maxTotalHits": 8} == after["pagination"]
    assert {"text", "own"} == set(after["embedders"])
    assert theirs["faceting"] == after["faceting"]
    assert not rest.done
    assert "changed" in rest.hint


async def test_another_index_of_the_name_stays(open_index, ask, uid):
    """What was deleted and made again by somebody is theirs."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        ask("DELETE", f"indexes/{uid}")
        ask("POST", "indexes", {"uid": uid})

        assert await undone(index, changes) is None
    assert uid == ask("GET", f"indexes/{uid}")["uid"]


async def test_setup_that_was_begun(open_index, ask, uid):
    """A plan is enough to take back an index that was made, and has no settings yet."""
    async with open_index() as index:
        planned = await index.setup(apply=False)
        ask("POST", "indexes", {"uid": uid, "primaryKey": "id"})

        assert (await undone(index, planned)).done
    assert "index_not_found" == ask("GET", f"indexes/{uid}")["code"]


async def test_records_of_another_index_are_refused(open_index, uid):
    """Nothing is looked for where it was not made; the hint says what to set."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
    async with open_index(index=f"{uid}-other") as other:
        with pytest.raises(ConfigError, match=uid) as caught:
            await undone(other, changes)

    assert "url and index" in caught.value.hint
