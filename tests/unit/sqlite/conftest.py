"""An index in a folder of its own, and one that is filled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from imgtag.plugin.indexer import Upsert
from imgtag.plugin.spec import PluginContext
from imgtag_sqlite.indexer import SqliteIndexer
from imgtag_sqlite.settings import SqliteSettings
from unit.sqlite.documents import documents

Open = Callable[..., SqliteIndexer]


@pytest.fixture
def open_index(tmp_path: Path) -> Open:
    """Make the indexer of a file, `index.sqlite3` where none is named."""

    def make(path: Path | None = None) -> SqliteIndexer:
        return SqliteIndexer(SqliteSettings(path=path), PluginContext(site="local", state_dir=tmp_path))

    return make


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[SqliteIndexer]:
    """An empty index."""
    async with open_index() as indexer:
        yield indexer


@pytest.fixture
def world() -> list[dict[str, Any]]:
    """A few hundred documents."""
    return documents(400)


@pytest.fixture
async def filled(index: SqliteIndexer, world: list[dict[str, Any]]) -> SqliteIndexer:
    """An index of these documents, each of them put twice."""
    for start in (0, 150, 0):
        await index.apply([Upsert(document) for document in world[start:]])
    return index
