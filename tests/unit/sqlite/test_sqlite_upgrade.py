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

import pytest

from imgtag.plugin.indexer import Delete, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.types.ref import Scope
from imgtag_sqlite import upgrade
from imgtag_sqlite.indexer import SqliteIndexer
from unit.sqlite.documents import documents
from unit.sqlite.formats import write_index
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
