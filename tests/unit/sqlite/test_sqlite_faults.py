"""The index after a kill, on a full disk, in a damaged file, and beside other processes."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from imgtag.errors import Disposition, PluginError, Unavailable
from imgtag.plugin.indexer import Outcome, SearchRequest, Upsert
from imgtag.plugin.spec import PluginContext
from imgtag.query import parse
from imgtag.types.ref import Scope
from imgtag_sqlite import database
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings
from unit.sqlite.documents import documents

Open = Callable[..., SqliteIndexer]

WRITER = """
import sys
from pathlib import Path
import anyio
from unit.sqlite.documents import documents
from imgtag.plugin.indexer import Upsert
from imgtag.plugin.spec import PluginContext
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings

async def main():
    world = documents(3_000)
    async with SqliteIndexer(SqliteSettings(), PluginContext(site="local", state_dir=Path(sys.argv[1]))) as index:
        for start in range(0, len(world), 20):
            await index.apply([Upsert(document) for document in world[start:start + 20]])
            print(start + 20, flush=True)

anyio.run(main)
"""


def _writer(folder: Path) -> subprocess.Popen[str]:
    environment = {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(folder)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _killed_after(folder: Path, lines: int) -> int:
    """How many documents a writer had been told were durable when it was killed."""
    with _writer(folder) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in process.stdout.read().split()]
    return max(acknowledged, default=lines * 20)


@pytest.mark.anyio
@pytest.mark.parametrize("lines", [1, 7, 40])
async def test_kill_in_the_middle(open_index: Open, tmp_path: Path, lines: int) -> None:
    """After kill -9 all that was told durable is there, in whole batches, and the file is healthy."""
    durable = _killed_after(tmp_path, lines)
    world = documents(3_000)
    async with open_index() as index:
        stored = await index.get([document["id"] for document in world])
        checks = [check.ok async for check in index.checks()]

    assert all(checks)
    assert 0 == len(stored) % 20
    assert {document["id"] for document in world[:durable]} <= stored.keys()


@pytest.mark.anyio
async def test_two_writers_make_one_index(open_index: Open, tmp_path: Path) -> None:
    """Processes that start together make the file once, and wait for one another."""
    writers = [_writer(tmp_path) for _ in range(3)]
    for process in writers:
        with process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.kill()

    async with open_index() as index:
        assert 20 <= (await index.search(SearchRequest(query=parse("status:*")))).total


@contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.anyio
async def test_no_room(open_index: Open, tmp_path: Path) -> None:
    """Where a file cannot grow nothing is applied in part, searches go on, and it works again when there is room."""
    first, rest = documents(20), documents(2000)[20:]
    async with open_index() as index:
        await index.apply([Upsert(document) for document in first])
        with _file_size_limit(600_000), pytest.raises(Unavailable) as caught:
            await index.apply([Upsert(document) for document in rest])
        totals = [(await index.search(SearchRequest(query=parse("status:*")))).total]
        outcomes = await index.apply([Upsert(document) for document in rest])
        totals.append((await index.search(SearchRequest(query=parse("status:*")))).total)

    assert [20, 2000] == totals
    assert [Outcome(document["id"]) for document in rest] == outcomes
    assert str(tmp_path / "index.sqlite3") in caught.value.hint
    assert Disposition.RETRY is caught.value.disposition


@pytest.mark.anyio
async def test_disk_full(open_index: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite itself calls full is told the same way."""
    open_writer = database.open_writer

    def narrow(path: Path) -> sqlite3.Connection:
        connection = open_writer(path)
        connection.execute("PRAGMA max_page_count = 60")
        return connection

    async with open_index() as index:
        with monkeypatch.context() as patch:
            patch.setattr(database, "open_writer", narrow)
            with pytest.raises(Unavailable, match="full"):
                await index.apply([Upsert(document) for document in documents(500)])
        assert 0 == await index.count("local", Scope("pets"))
        await index.apply([Upsert(document) for document in documents(500)])
        assert 0 < await index.count("local", Scope("pets"))


@pytest.mark.anyio
async def test_no_database(open_index: Open, tmp_path: Path) -> None:
    """A file of something else is left alone, and the error says how to come to a new index."""
    path = tmp_path / "index.sqlite3"
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(PluginError, match="damaged") as caught:
        await open_index().__aenter__()

    assert f"move {path}* away" in caught.value.hint
    assert "indexed again" in caught.value.hint
    assert path.read_bytes().startswith(b"this is no database")
    assert [False] == [check.ok async for check in open_index().checks()]


@pytest.mark.anyio
async def test_damaged_in_the_middle(open_index: Open, tmp_path: Path) -> None:
    """Pages that were overwritten are found by searches and by `doctor`."""
    path = tmp_path / "index.sqlite3"
    async with open_index() as index:
        await index.apply([Upsert(document) for document in documents(500)])
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 8192))
    async with open_index() as index:
        with pytest.raises(PluginError, match="damaged") as caught:
            await index.search(SearchRequest(query=parse("fox")))
        checks = [check async for check in index.checks()]

    assert "indexed again" in caught.value.hint
    assert [True, False] == [check.ok for check in checks][:2]
    assert "indexed again" in checks[1].hint


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 8", "has format 8, this sidecar supports up to 7"),
        ("PRAGMA application_id = 5", "a database of another program"),
    ],
)
async def test_not_ours(open_index: Open, tmp_path: Path, statement: str, message: str) -> None:
    """An index of a newer sidecar, and a database of another program, are not touched."""
    async with open_index():
        pass
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        connection.execute(statement)
    with pytest.raises(PluginError, match=message) as caught:
        await open_index().__aenter__()

    assert caught.value.hint


@pytest.mark.anyio
async def test_missing_directories_are_made(open_index: Open, tmp_path: Path) -> None:
    """The state directory need not be there."""
    async with open_index(tmp_path / "a" / "b ü" / "i?#%20.sqlite3") as index:
        await index.apply([Upsert(documents(1)[0])])

    assert (tmp_path / "a" / "b ü" / "i?#%20.sqlite3").is_file()


@pytest.mark.anyio
async def test_where_no_file_can_be(open_index: Open, tmp_path: Path) -> None:
    """A path below a file, one that is a directory, one where nothing can be made: each is named."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "index", tmp_path, Path("/proc/imgtag/index"), Path("/proc/index")):
        with pytest.raises(Unavailable, match="cannot be opened") as caught:
            await open_index(path).__aenter__()
        assert str(path) in caught.value.message
        assert str(path.parent) in caught.value.hint


@contextmanager
def _without_privileges() -> Iterator[None]:
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(0)


@pytest.mark.anyio
async def test_read_only_directory(open_index: Open) -> None:
    """Where nothing may be written the error names the file; what is there can be searched while it is in use."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.sqlite3"
        path.parent.chmod(0o555)
        with _without_privileges(), pytest.raises(Unavailable, match="cannot be opened"):
            await open_index(path).__aenter__()
        path.parent.chmod(0o755)
        async with open_index(path) as owner:
            await owner.apply([Upsert(document) for document in documents(20)])
            with _readable(path), _without_privileges():
                async with open_index(path) as guest:
                    assert 20 == (await guest.search(SearchRequest(query=parse("status:*")))).total
                    with pytest.raises(Unavailable, match="cannot be opened"):
                        await guest.apply([Upsert(documents(1)[0])])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    files = list(path.parent.iterdir())
    for file in (*files, path.parent):
        file.chmod(0o555)
    yield
    for file in (*files, path.parent):
        file.chmod(0o755)


@pytest.mark.anyio
async def test_another_process_holds_it(open_index: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is waited for in vain is a reason to try again; searches do not wait."""
    monkeypatch.setattr(database, "MAX_BUSY", 0.05)
    async with open_index() as index:
        with closing(sqlite3.connect(tmp_path / "index.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="busy"):
                await index.apply([Upsert(documents(1)[0])])
            assert 0 == (await index.search(SearchRequest(query=parse("")))).total
        assert [Outcome(documents(1)[0]["id"])] == await index.apply([Upsert(documents(1)[0])])


@pytest.mark.anyio
async def test_a_search_that_takes_too_long(open_index: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends at its deadline, and the next one is answered."""
    async with open_index() as index:
        await index.apply([Upsert(document) for document in documents(200)])
        with monkeypatch.context() as patch:
            patch.setattr(database, "MAX_SECONDS", -1.0)
            patch.setattr(database, "CLOCK_STEPS", 10)
            with pytest.raises(Unavailable, match="too long"):
                await index.search(SearchRequest(query=parse("-fox")))
        assert 0 < (await index.search(SearchRequest(query=parse("-fox")))).total


@pytest.mark.anyio
@pytest.mark.parametrize("files", [("",), ("", "-wal", "-shm")], ids=["file alone", "with its log"])
async def test_file_deleted_while_it_is_open(open_index: Open, tmp_path: Path, files: tuple[str, ...]) -> None:
    """A new index takes its place, with another id; what is written from then on is kept."""
    first, second = documents(2)
    async with open_index() as index:
        await index.apply([Upsert(first)])
        before = await index.index_id()
        for suffix in files:
            (tmp_path / f"index.sqlite3{suffix}").unlink(missing_ok=True)
        assert {} == await index.get([first["id"]])
        await index.apply([Upsert(second)])
        after = await index.index_id()
    async with open_index() as again:
        assert {second["id"]: second} == await again.get([first["id"], second["id"]])
        assert after == await again.index_id()

    assert before != after


@pytest.mark.anyio
async def test_file_replaced_while_it_is_open(open_index: Open, tmp_path: Path) -> None:
    """The file that is there now is searched and written, and its id is the one that is told."""
    first, second, third = documents(3)
    async with open_index(tmp_path / "new.sqlite3") as new:
        await new.apply([Upsert(second)])
        expected = await new.index_id()
    async with open_index() as index:
        await index.apply([Upsert(first)])
        for suffix in ("", "-wal", "-shm"):  # with its log, as the hint for a damaged index says
            (tmp_path / f"index.sqlite3{suffix}").unlink(missing_ok=True)
        (tmp_path / "new.sqlite3").rename(tmp_path / "index.sqlite3")
        await index.apply([Upsert(third)])
        assert expected == await index.index_id()
    async with open_index() as again:
        assert {second["id"], third["id"]} == set(
            await again.get([document["id"] for document in (first, second, third)])
        )


@pytest.mark.anyio
async def test_looking_creates_no_file(tmp_path: Path) -> None:
    """Who may only look finds an index without documents where there is none."""
    path = tmp_path / "none" / "index.sqlite3"
    context = PluginContext(site="here", state_dir=tmp_path, read_only=True)
    async with SqliteIndexer(SqliteSettings(path=path), context) as indexer:
        assert {} == await indexer.get(["a"])
        assert [] == [document async for document in indexer.scan("here", Scope("photos"))]
        assert 0 == await indexer.count("here", Scope("photos"))
    assert [] == os.listdir(tmp_path)  # noqa: PTH208 - the event loop must not be blocked by more
