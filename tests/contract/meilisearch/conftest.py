"""The server of these tests: the fake one or, where MEILISEARCH_URL and MEILISEARCH_KEY are set, a real one.

On a real one the key must be allowed to delete indexes: each test has an index of its own, removed afterwards.
MEILISEARCH_MASTER_KEY is needed to try keys.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import urllib3

from fake_meilisearch import FakeMeilisearch
from imgtag.plugin.indexer import Upsert
from imgtag.plugin.spec import PluginContext
from imgtag_meilisearch.indexer import MeilisearchIndexer
from imgtag_meilisearch.settings import MeilisearchSettings

MASTER = "a master key of the fake"
Open = Callable[..., MeilisearchIndexer]


@dataclass(frozen=True)
class Server:
    """Where the tests run."""

    url: str
    key: str
    master: str | None

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None) -> Any:
        """One request beside the plugin."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        answer = urllib3.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=10)
        return answer.json() if answer.data else None

    def do(self, method: str, path: str, body: Any = None) -> Any:
        """As `ask`; where that makes a task, it is waited for and returned."""
        answer = self.ask(method, path, body)
        while isinstance(answer, dict) and "taskUid" in answer:
            (task,) = self.ask("GET", f"tasks?uids={answer['taskUid']}")["results"]
            if task["status"] in {"succeeded", "failed"}:
                return task
            time.sleep(0.01)
        return answer


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    if url := os.environ.get("MEILISEARCH_URL"):
        yield Server(url, os.environ["MEILISEARCH_KEY"], os.environ.get("MEILISEARCH_MASTER_KEY"))
        return
    with FakeMeilisearch(MASTER) as fake:
        yield Server(fake.url, MASTER, MASTER)


@pytest.fixture
def uid(server: Server) -> Iterator[str]:
    """An index of this test."""
    name = f"imgtag-test-{token_hex(6)}"
    yield name
    for uid in (name, f"{name}-rebuild"):
        server.ask("DELETE", f"indexes/{uid}")


@pytest.fixture
def open_index(server: Server, uid: str, tmp_path: Path) -> Open:
    """Make an indexer over the index of the test; with another key or other settings where they are given."""

    def make(**settings: Any) -> MeilisearchIndexer:
        given = {"url": server.url, "api_key": server.key, "index": uid, **settings}
        return MeilisearchIndexer(MeilisearchSettings(**given), PluginContext(site="home", state_dir=tmp_path))

    return make


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[MeilisearchIndexer]:
    """An empty index."""
    async with open_index() as indexer:
        await indexer.setup(apply=True)
        yield indexer


@pytest.fixture
def fill(index: MeilisearchIndexer) -> Callable[..., Any]:
    """Put documents."""

    async def put(*documents: Any) -> None:
        outcomes = await index.apply([Upsert(document) for document in documents])
        assert [None] * len(documents) == [outcome.error for outcome in outcomes]

    return put
