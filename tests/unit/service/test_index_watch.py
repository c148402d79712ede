"""An index that was replaced is noticed, and everything is compared with it."""

from __future__ import annotations

import anyio
import pytest

from imgtag.errors import ConfigError, Unavailable
from imgtag.service.index_watch import IndexWatch
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from imgtag.types.ref import Scope

pytestmark = pytest.mark.anyio


class Comparisons:
    """In the place of the pipeline: which scopes were compared."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.error: Unavailable | None = None

    async def compare(self, scope: Scope) -> None:
        if self.error:
            raise self.error
        self.scopes.append(scope)


@pytest.fixture
def pipeline() -> Comparisons:
    return Comparisons()


@pytest.fixture
def watch_of(tmp_path, pipeline):
    """A watch on an index, as each start makes one."""
    store = MemoryStore("pictures")
    return lambda indexer: IndexWatch(
        indexer=indexer, store=store, pipeline=pipeline, buckets=(), file=tmp_path / "state" / "index_id"
    )


async def test_another_index_has_everything_compared(watch_of, pipeline, caplog):
    """Also when it was replaced while no sidecar ran; the first one of all is simply remembered."""
    first, second = MemoryIndexer(), MemoryIndexer()
    await watch_of(first).look()
    await watch_of(first).look()
    assert [] == pipeline.scopes

    await watch_of(second).look()
    assert [Scope("pictures")] == pipeline.scopes
    assert "index_replaced" in caplog.messages
    await watch_of(second).look()
    assert [Scope("pictures")] == pipeline.scopes


async def test_a_comparison_that_was_cut_short_begins_again(watch_of, pipeline):
    """Only a finished one lets the new index be remembered."""
    await watch_of(MemoryIndexer()).look()
    other, pipeline.error = MemoryIndexer(), Unavailable("the store is away")
    with pytest.raises(Unavailable):
        await watch_of(other).look()

    pipeline.error = None
    await watch_of(other).look()
    assert [Scope("pictures")] == pipeline.scopes


async def test_an_index_that_rejects_us_ends_nothing(watch_of, pipeline):
    """The look is repeated; what it means is for health to say."""
    indexer = MemoryIndexer()
    indexer.faults.fail(ConfigError("the key is refused"), times=1)
    with anyio.move_on_after(0.2):
        await watch_of(indexer).run()
    assert [] == pipeline.scopes
