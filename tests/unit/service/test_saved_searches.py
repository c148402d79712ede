"""Saved searches are counted as metrics."""

from __future__ import annotations

import anyio
import pytest

from imgtag.config.schema import SearchSettings
from imgtag.errors import Unavailable
from imgtag.ops.metrics import Metrics
from imgtag.service import saved_searches
from imgtag.service.saved_searches import count_saved_searches
from imgtag.testing.conformance.corpus import KIT, document
from imgtag.testing.indexer import MemoryIndexer

pytestmark = pytest.mark.anyio
SEARCHES = [SearchSettings(name="owls", query="owl"), SearchSettings(name="all", query="status:*")]


def counts(metrics: Metrics) -> dict[str, float]:
    """What the metric shows, by search."""
    (family,) = (family for family in metrics.registry.collect() if family.name == "imgtag_search_objects")
    return {sample.labels["search"]: sample.value for sample in family.samples}


async def test_each_search_has_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted again and again; where the index does not answer there is no count, and others are not held up."""
    monkeypatch.setattr(saved_searches, "PERIOD", 0.001)
    indexer, metrics = MemoryIndexer(), Metrics()
    owl = document("owl.jpg", {"owl": 0.5})
    indexer.documents = {KIT["id"]: KIT}

    async def wait_for(**expected: int) -> None:
        with anyio.fail_after(10):
            while counts(metrics) != expected:
                await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_saved_searches, SEARCHES, indexer, metrics)
        await wait_for(owls=0, all=1)
        indexer.documents[owl["id"]] = owl
        await wait_for(owls=1, all=2)
        indexer.faults.fail(Unavailable("the index does not answer"), on="search", times=None)
        await wait_for()
        tasks.cancel_scope.cancel()


async def test_without_searches_nothing_is_asked_and_nothing_shown() -> None:
    """Also after a reload that removed the last one."""
    indexer, metrics = MemoryIndexer(), Metrics()
    metrics.search_objects.labels("owls").set(1)
    await count_saved_searches([], indexer, metrics)

    assert {} == counts(metrics)
    assert [] == indexer.faults.calls
