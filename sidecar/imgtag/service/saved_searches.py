"""Shows as metrics how many objects the saved searches find."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import anyio

from imgtag.config.schema import SearchSettings
from imgtag.errors import ImgtagError
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.query import parse

PERIOD = 60.0
"""Seconds between two counts."""


async def count_saved_searches(searches: Iterable[SearchSettings], indexer: Indexer, metrics: Metrics) -> None:
    """Ask the index again and again, one search after the other, until cancelled.

    Where it does not answer there is no count, instead of one that may be wrong by now.
    """
    queries = {search.name: parse(search.query) for search in searches}
    metrics.search_objects.clear()  # a reload may have removed some
    while queries:
        for name, query in queries.items():
            try:
                page = await indexer.search(SearchRequest(query=query, limit=0))
                metrics.search_objects.labels(name).set(page.total)
            except ImgtagError:  # others say that the index does not answer
                with suppress(KeyError):
                    metrics.search_objects.remove(name)
        await anyio.sleep(PERIOD)
