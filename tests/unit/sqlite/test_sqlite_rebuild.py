"""A swap that ends anywhere leaves one whole index in use, and can be done again or cleared away."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from imgtag.errors import Unavailable
from imgtag.plugin.indexer import SearchRequest, Upsert
from imgtag.plugin.spec import PluginContext
from imgtag.query import parse
from imgtag_sqlite import indexer, rebuild
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio
OLD, NEW = documents(9), documents(16)[9:]
EVERYTHING = SearchRequest(query=parse("status:*"), limit=100)


class Killed(Exception):
    """Stands for kill -9 between two transactions."""


def open_index(folder, steps=10_000) -> SqliteIndexer:
    """The index; after so many transactions it is killed."""
    made = SqliteIndexer(SqliteSettings(), PluginContext(site="local", state_dir=folder))
    work = made._work

    async def count(step):
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise Killed
        return await work(step)

    made._work = count
    return made


async def ids(index) -> set[str]:
    return {hit["id"] for hit in (await index.search(EVERYTHING)).hits}


async def test_killed_anywhere(tmp_path, monkeypatch):
    """At any moment the old or the new index is in use, healthy and whole; the next swap, or its end, puts it right."""
    monkeypatch.setattr(rebuild, "PART", 0.0)
    monkeypatch.setattr(indexer, "PAUSE", 0.0)
    old, new = ({document["id"] for document in some} for some in (OLD, NEW))
    seen, steps, is_over = [], 0, False
    while not is_over:
        folder = tmp_path / str(steps)
        async with open_index(folder) as index:
            await index.apply([Upsert(document) for document in OLD])
            async with index.open_spare() as spare:
                await spare.apply([Upsert(document) for document in NEW])
        try:
            async with open_index(folder, steps) as index:
                await index.swap()
                await index.drop_spare()
                is_over = True
        except Killed:
            steps += 3
        async with open_index(folder) as index:
            seen.append("new" if await ids(index) == new else "old" if await ids(index) == old else "neither")
            with closing(sqlite3.connect(folder / "index.sqlite3")) as connection:
                assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
            if seen[-1] == "old":
                await index.swap()
            elif await index.has_spare():
                async with index.open_spare() as spare:
                    assert await spare.get(list(old)) == {document["id"]: document for document in OLD}
            await index.drop_spare()
            assert new == await ids(index)
            assert not await index.has_spare()
            # What was left, if anything, is not in the way of another rebuild.
            async with index.open_spare() as spare:
                await spare.apply([Upsert(OLD[0])])
            await index.swap()
            await index.drop_spare()
            assert {OLD[0]["id"]} == await ids(index)
            await index.apply([Upsert(OLD[1])])
            assert {OLD[0]["id"], OLD[1]["id"]} == await ids(index)
    assert seen == ["old"] * seen.count("old") + ["new"] * seen.count("new")
    assert seen.count("old") > 3
    assert seen.count("new") > 3


async def test_no_room(tmp_path, monkeypatch):
    """It is said before anything is made."""
    async with open_index(tmp_path) as index:
        await index.apply([Upsert(document) for document in OLD])
        monkeypatch.setattr(rebuild, "ROOM", 1e9)
        with pytest.raises(Unavailable, match="there is no room for another index"):
            await index.check_rebuild()
        assert not await index.has_spare()
