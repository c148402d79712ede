"""A fake server, and indexers over it that are quick to lose patience."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_meilisearch import FakeMeilisearch
from imgtag.plugin.spec import PluginContext
from imgtag_meilisearch.indexer import MeilisearchIndexer
from imgtag_meilisearch.settings import MeilisearchSettings

Open = Callable[..., MeilisearchIndexer]


@pytest.fixture
def fake() -> Iterator[FakeMeilisearch]:
    """A server without a master key."""
    with FakeMeilisearch() as server:
        yield server


@pytest.fixture
def open_index(fake: FakeMeilisearch, tmp_path: Path) -> Open:
    """Make an indexer."""

    def make(**settings: Any) -> MeilisearchIndexer:
        given = {"url": fake.url, "timeout": 1, "task_deadline": 3, **settings}
        return MeilisearchIndexer(MeilisearchSettings(**given), PluginContext(site="local", state_dir=tmp_path))

    return make


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[MeilisearchIndexer]:
    """An empty index."""
    async with open_index() as indexer:
        await indexer.setup(apply=True)
        yield indexer
