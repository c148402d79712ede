"""The Elasticsearch indexer passes the suite of all indexers."""

from __future__ import annotations

import pytest

from contract.elasticsearch.conftest import temporary_alias
from imgtag.plugin.indexer import Upsert
from imgtag.testing.conformance import IndexerConformance
from imgtag.testing.conformance.corpus import CORPUS, KIT

ASKING = {"test_query_finds", "test_condition_holds"}
"""Tests that change nothing. There are a hundred, and to create an index for each would take half a minute."""


@pytest.fixture(scope="module")
def shared(cluster):
    with temporary_alias(cluster) as name:
        yield name


class TestElasticsearchIndexer(IndexerConformance):
    @pytest.fixture
    def alias(self, request, cluster, shared):
        """The name of this test's index."""
        if request.function.__name__ in ASKING:
            yield shared
            return
        with temporary_alias(cluster) as name:
            yield name

    @pytest.fixture
    async def filled(self, indexer):
        """With the documents of ``CORPUS``."""
        if not await indexer.get([KIT["id"]]):
            outcomes = await indexer.apply([Upsert(document) for document in CORPUS.values()])
            assert [None] * len(CORPUS) == [outcome.error for outcome in outcomes]
        return indexer

    @pytest.fixture
    def connect(self, open_index):
        """Over the index of the test."""
        return open_index

    @pytest.fixture
    def delete_index(self, cluster, alias):
        def delete():
            for name in cluster.ask("GET", alias):
                cluster.ask("DELETE", name)

        return delete
