"""An index of an older format, as it is opened by this release."""

from __future__ import annotations

import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from imgtag.errors import Incomparable, PluginError
from imgtag.plugin.indexer import Delete, SearchRequest, SimilarRequest, Upsert
from imgtag.query import parse
from imgtag.types.ref import Scope
from imgtag_sqlite import upgrade
from imgtag_sqlite.filters import condition, metres
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.schema import VERSION
from unit.sqlite.documents import documents
from unit.sqlite.formats import write_format_5, write_index
from unit.sqlite.oracle import answer

Open = Callable[..., SqliteIndexer]

UPGRADER = """
import sys
from pathlib import Path
from imgtag_sqlite import upgrade
from imgtag_sqlite.database import Database

upgrade.PART = 100
database = Database(Path(sys.argv[1]))
while not database.prepare():
    print(flush=True)
"""


def _upgrade(path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UPGRADER, str(path)]
    return subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, text=True)


def _kill_upgrade(path: Path) -> None:
    with _upgrade(path) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)


async def _ids(index: SqliteIndexer, text: str) -> list[str]:
    return [hit["id"] for hit in (await index.search(SearchRequest(query=parse(text), limit=10_000))).hits]


@pytest.mark.anyio
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_an_older_index_is_upgraded(
    open_index: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """All that is in it is found as before, is changed and counted; the log says that it was upgraded."""
    monkeypatch.setattr(upgrade, "PART", 90)
    world = documents(400)
    write_index(tmp_path / "index.sqlite3", world, version)
    with caplog.at_level(logging.INFO, "imgtag_sqlite"):
        async with open_index() as index:
            texts = ("fox", "kit_fox@0.4", "camera:canon*", "fo* -dog", "", "img_12*")
            assert [answer(parse(text), world) for text in texts] == [await _ids(index, text) for text in texts]
            first = await index.index_id()
            await index.apply([*(Delete(document["id"]) for document in world[:200]), Upsert(world[0])])
            assert answer(parse("fox"), [world[0], *world[200:]]) == await _ids(index, "fox")
    async with open_index() as index:
        assert first == await index.index_id() != ""
        assert all([check.ok async for check in index.checks()])

    assert {"index_upgrading"} == {record.message for record in caplog.records if record.name.startswith("imgtag_sq")}


@pytest.mark.anyio
async def test_places_are_found_by_segment(open_index: Open, tmp_path: Path) -> None:
    """Also in an index of format 5, whose documents need not be indexed again; the index of latitudes alone is gone."""
    world, file = documents(2_500), tmp_path / "index.sqlite3"
    places = ["near:46.5,7.9,50km", "near:0,0,20000km", "-near:46.5,7.9,3000km", "fox near:46.5,7.9,4000km"]
    async with open_index() as index:
        await index.apply([Upsert(document) for document in world])
    write_format_5(file)
    async with open_index() as index:
        for text in places:
            assert answer(parse(text), world) == await _ids(index, text)
    where = condition(parse(places[0]).condition)
    with closing(sqlite3.connect(file)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
        connection.create_function("metres", 4, metres)
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT row FROM documents WHERE {where.text}", where.parameters)
        steps = " ".join(step for *_, step in plan)
    assert VERSION == version
    assert "documents_by_latitude" not in names
    assert "INDEX documents_by_place (<expr>=? AND latitude>? AND latitude<?)" in steps


@pytest.mark.anyio
async def test_an_upgrade_that_was_killed_goes_on(open_index: Open, tmp_path: Path) -> None:
    """After kill -9 in the middle what is done stays done, and the rest is done at the next start."""
    world = documents(3_000)
    write_index(tmp_path / "index.sqlite3", world)
    _kill_upgrade(tmp_path / "index.sqlite3")
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        (done,) = connection.execute("SELECT max(row) FROM document_facets").fetchone()
    async with open_index() as index:
        found = await _ids(index, "fox")

    assert 300 <= done < 3_000
    assert answer(parse("fox"), world) == found


@pytest.mark.anyio
async def test_processes_share_an_upgrade(open_index: Open, tmp_path: Path) -> None:
    """Several that start together do each document once, and all wait for the end."""
    world = documents(600)
    write_index(tmp_path / "index.sqlite3", world)
    first, second = (_upgrade(tmp_path / "index.sqlite3") for _ in range(2))
    with first, second:
        assert first.stdout is not None
        assert second.stdout is not None
        parts = [first.stdout.read().count("\n"), second.stdout.read().count("\n")]

    assert [0, 0] == [first.returncode, second.returncode]
    assert sum(parts) <= 6
    async with open_index() as index:
        assert answer(parse("animal"), world) == await _ids(index, "animal")


@pytest.mark.anyio
async def test_a_document_that_cannot_be_indexed_again(open_index: Open, tmp_path: Path) -> None:
    """It does not stop the upgrade: it stays, and is found by its key until it is put again."""
    first, second = documents(2)
    write_index(tmp_path / "index.sqlite3", [first, second])
    with closing(sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE bodies SET body = '{}' WHERE row = 2")
    async with open_index() as index:
        counts = [await index.count("local", Scope(bucket)) for bucket in ("pets", "wildlife")]
        await index.apply([Upsert(second)])
        assert sorted(answer(parse(""), [first, second])) == sorted(await _ids(index, "status:*"))

    assert 2 == sum(counts)


@pytest.mark.anyio
@pytest.mark.parametrize("version", [1, 2, 3])
async def test_who_only_looks_upgrades_nothing(
    open_index: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """Documents are read from the file as it is; a search says what upgrades it, and so does the check."""
    world, file = documents(50), tmp_path / "index.sqlite3"
    write_index(file, world, version)
    before = file.read_bytes()
    async with open_index(read_only=True) as index:
        assert {world[7]["id"]: world[7]} == await index.get([world[7]["id"], "other"])
        scanned = [document["id"] async for document in index.scan("local", Scope("pets"))]
        assert await index.count("local", Scope("pets")) == len(scanned) > 0
        with pytest.raises(PluginError, match=f"older format {version}") as failure:
            await index.search(SearchRequest(query=parse("fox")))
        checks = [check async for check in index.checks()]

    assert "imgtag run" in failure.value.hint
    assert [(True, f"{file} has format {version}; `imgtag run` upgrades it to format {VERSION}")] == [
        (check.ok, check.message) for check in checks
    ]
    assert ["index_outdated"] == [line.message for line in caplog.records if line.name == "imgtag_sqlite.database"]
    assert before == file.read_bytes()


@pytest.mark.anyio
async def test_who_only_looks_creates_nothing(open_index: Open, tmp_path: Path) -> None:
    """Where there is no file, everything is as in an empty index."""
    async with open_index(read_only=True) as index:
        page = await index.search(SearchRequest(query=parse("fox"), facets=("labels",)))
        assert ({}, "", [], 0, {"labels": {}}) == (
            await index.get(["id"]),
            await index.index_id(),
            await index.suggest("f"),
            page.total,
            page.facets,
        )
        with pytest.raises(Incomparable):
            await index.similar(SimilarRequest(id="id", query=parse("")))

    assert [] == [path async for path in anyio.Path(tmp_path).iterdir()]
