"""An index in a folder of its own, and one that is filled."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from imgtag.plugin.indexer import Delete, Upsert
from imgtag.plugin.spec import PluginContext
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings
from unit.sqlite.documents import documents

Open = Callable[..., SqliteIndexer]


@pytest.fixture
def open_index(tmp_path: Path) -> Open:
    """Make the indexer of a file, `index.sqlite3` where none is named."""

    def make(path: Path | None = None, *, read_only: bool = False) -> SqliteIndexer:
        context = PluginContext(site="local", state_dir=tmp_path, read_only=read_only)
        return SqliteIndexer(SqliteSettings(path=path), context)

    return make


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[SqliteIndexer]:
    """An empty index."""
    async with open_index() as indexer:
        yield indexer


@pytest.fixture(scope="session")
def world() -> list[dict[str, Any]]:
    """A few hundred documents."""
    return documents(400)


@pytest.fixture(scope="session")
def filled_file(world: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an index of these documents, each of them put twice, in the first and in the third segment."""
    folder = tmp_path_factory.mktemp("filled")

    async def fill() -> None:
        async with SqliteIndexer(SqliteSettings(), PluginContext(site="local", state_dir=folder)) as indexer:
            await indexer.apply([Upsert(document) for document in world[:150]])
            others = documents(2_000, seed=2, site="other")
            await indexer.apply([Upsert(document) for document in others])
            for start in (150, 0):
                await indexer.apply([Upsert(document) for document in world[start:]])
            await indexer.apply([Delete(document["id"]) for document in others])

    anyio.run(fill)
    [file] = folder.iterdir()
    return file


@pytest.fixture
async def filled(open_index: Open, filled_file: Path, tmp_path: Path) -> AsyncIterator[SqliteIndexer]:
    """An index of these documents."""
    shutil.copy(filled_file, tmp_path)
    async with open_index() as indexer:
        yield indexer
