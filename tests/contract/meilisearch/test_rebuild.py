"""A rebuilt Meilisearch index: what somebody set up on it stays; what cannot be changed in place is as it should be."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest
import urllib3

from imgtag.errors import PluginError, Unavailable
from imgtag.plugin.indexer import SearchRequest, Upsert
from imgtag.query import parse
from imgtag_meilisearch.index_settings import SETTINGS
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio
SOME = documents(3)
THEIRS = {"synonyms": {"lynx": ["bobcat"]}, "stopWords": ["the"], "searchCutoffMs": 700}


@pytest.fixture
def ask(server, uid):
    """Ask something of the index; a task is waited for and returned."""

    def asked(method, path, body=None, index=uid):
        return server.do(method, f"indexes/{index}{path}" if index else path, body)

    return asked


def _add(server, uid, document) -> None:
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/x-ndjson"}
    address = f"{server.url}/indexes/{uid}/documents?primaryKey=id"
    assert 202 == urllib3.request("POST", address, body=json.dumps(document).encode(), headers=headers).status


async def _rebuild(index) -> None:
    async with index.open_spare() as spare:
        ids = [document["id"] for document in SOME]
        await spare.apply([Upsert(document) for document in (await index.get(ids)).values()])
    await index.swap()
    await index.drop_spare()


async def test_settings_of_others_stay(open_index, ask):
    """Synonyms, stop words and time limits are on the new index, beside our settings."""
    async with open_index() as index:
        await index.setup(apply=True)
        await index.apply([Upsert(document) for document in SOME])
        assert "succeeded" == ask("PATCH", "/settings", THEIRS)["status"]
        await _rebuild(index)

        there = ask("GET", "/settings")
        assert THEIRS == {name: there[name] for name in THEIRS}
        assert [] == list(await index.setup(apply=False))
        assert 3 == (await index.search(SearchRequest(query=parse("status:*")))).total


async def test_what_cannot_be_changed_in_place(server, uid, open_index, ask):
    """An index from before there were vectors cannot have them; the error names the command, and that gives them."""
    ask("POST", "indexes", {"uid": uid, "primaryKey": "id"}, index="")
    older = {name: value for name, value in deepcopy(dict(SETTINGS)).items() if name != "embedders"}
    assert "succeeded" == ask("PATCH", "/settings", older)["status"]
    async with open_index() as index:
        for document in SOME:
            plain = {name: value for name, value in document.items() if name != "_vectors"}
            _add(server, uid, plain)
        with pytest.raises(PluginError) as raised:
            await index.setup(apply=True)
        assert "imgtag reindex" in raised.value.hint

        async with index.open_spare() as spare:
            await spare.apply([Upsert(document) for document in SOME])
        await index.swap()
        await index.drop_spare()
        assert [] == list(await index.setup(apply=False))
        assert {document["id"]: document for document in SOME} == await index.get([each["id"] for each in SOME])


async def test_a_swap_that_fails(open_index, ask, uid):
    """Somebody deletes the new index: the error says that nothing was swapped, and the old one is in use."""
    async with open_index() as index:
        await index.setup(apply=True)
        await index.apply([Upsert(SOME[0])])
        first = await index.index_id()
        async with index.open_spare():
            pass
        ask("DELETE", "", index=f"{uid}-rebuild")
        with pytest.raises((PluginError, Unavailable)):
            await index.swap()
        assert first == await index.index_id()
        assert {SOME[0]["id"]: SOME[0]} == await index.get([SOME[0]["id"]])
