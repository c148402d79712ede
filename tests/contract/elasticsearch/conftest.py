"""The cluster of these tests: an OpenSearch node that is started here or, with ELASTICSEARCH_URL, any other.

With a login: ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USER and ELASTICSEARCH_PASSWORD; ELASTICSEARCH_CA names a file.
Each test has an index and a template of its own, removed afterwards.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import urllib3

from imgtag.plugin.indexer import Upsert
from imgtag.plugin.spec import PluginContext
from imgtag_elasticsearch.client import configure_node
from imgtag_elasticsearch.indexer import ElasticsearchIndexer
from imgtag_elasticsearch.settings import ElasticsearchSettings
from integration.conftest import binary
from servers.opensearch import OpenSearchServer

Open = Callable[..., ElasticsearchIndexer]
LOGIN = {"api_key": "API_KEY", "user": "USER", "password": "PASSWORD", "tls_ca": "CA"}


@dataclass(frozen=True)
class Cluster:
    """Where the tests run: the settings, and requests beside the plugin."""

    settings: dict[str, Any]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; None where what it names does not exist."""
        headers = dict(configure_node(self.settings["url"], ElasticsearchSettings(**self.settings)).headers)
        with urllib3.PoolManager(ca_certs=self.settings.get("tls_ca"), timeout=30) as pool:
            answer = pool.request(method, f"{self.settings['url']}/{path}", json=body, headers=headers)
        if answer.status == 404:
            return None
        assert answer.status < 300, answer.data
        return answer.json()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if url := os.environ.get("ELASTICSEARCH_URL"):
        login = {name: os.environ.get(f"ELASTICSEARCH_{variable}") for name, variable in LOGIN.items()}
        yield Cluster({"url": url, **{name: value for name, value in login.items() if value}})
        return
    with OpenSearchServer(binary("opensearch"), tmp_path_factory.mktemp("opensearch")) as server:
        yield Cluster({"url": server.url})


@contextmanager
def temporary_alias(cluster: Cluster) -> Iterator[str]:
    """A name for an index; what is created under it is removed afterwards."""
    name = f"imgtag-test-{token_hex(6)}"
    yield name
    for each in cluster.ask("GET", f"{name}-imgtag-*") or {}:
        cluster.ask("DELETE", each)
    cluster.ask("DELETE", f"_index_template/imgtag-{name}")


@pytest.fixture
def alias(cluster: Cluster) -> Iterator[str]:
    """The name of this test's index."""
    with temporary_alias(cluster) as name:
        yield name


@pytest.fixture
def open_index(cluster: Cluster, alias: str, tmp_path: Path) -> Open:
    """Make an indexer over the index of the test; with other settings where they are given."""

    def make(**settings: Any) -> ElasticsearchIndexer:
        given = {**cluster.settings, "index": alias, "refresh": "now", "shards": 1, "replicas": 0, **settings}
        return ElasticsearchIndexer(ElasticsearchSettings(**given), PluginContext(site="home", state_dir=tmp_path))

    return make


@pytest.fixture
async def index(open_index: Open) -> AsyncIterator[ElasticsearchIndexer]:
    """An empty index."""
    async with open_index() as indexer:
        await indexer.setup(apply=True)
        yield indexer


@pytest.fixture
def fill(index: ElasticsearchIndexer) -> Callable[..., Any]:
    """Put documents."""

    async def put(*documents: Any) -> None:
        outcomes = await index.apply([Upsert(document) for document in documents])
        assert [None] * len(documents) == [outcome.error for outcome in outcomes]

    return put
