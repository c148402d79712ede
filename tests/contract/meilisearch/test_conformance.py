"""The Meilisearch indexer passes the suite of all indexers."""

from __future__ import annotations

import pytest

from imgtag.testing.conformance import IndexerConformance


class TestMeilisearchIndexer(IndexerConformance):
    @pytest.fixture
    def connect(self, open_index):
        """Over the index of the test."""
        return open_index
