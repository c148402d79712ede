"""The Meilisearch indexer passes the suite of all indexers."""

from __future__ import annotations

from time import sleep

import pytest

from imgtag.testing.conformance import IndexerConformance


class TestMeilisearchIndexer(IndexerConformance):
    @pytest.fixture
    def connect(self, open_index):
        """Over the index of the test."""
        return open_index

    @pytest.fixture
    def delete_index(self, server, uid):
        def delete():
            server.ask("DELETE", f"indexes/{uid}")
            for _ in range(200):
                if server.ask("GET", f"indexes/{uid}").get("code") == "index_not_found":
                    return
                sleep(0.05)
            pytest.fail("the index is still there")

        return delete
