"""Single changes become batches for the indexer."""

import anyio
import pytest

from imgtag.errors import DocumentError
from imgtag.ops.health import Health
from imgtag.plugin import Delete, Upsert
from imgtag.stages.index import Index
from imgtag.testing.conformance.corpus import KIT, document
from imgtag.testing.indexer import MemoryIndexer

pytestmark = pytest.mark.anyio


async def test_the_last_change_of_an_id_is_the_one_that_is_sent():
    """Whoever asked for an earlier change gets the outcome of the last one, and no batch has an id twice."""
    indexer, older, newer = MemoryIndexer(), document("a.jpg", {"owl": 0.5}), document("a.jpg", {"dog": 0.6})
    index, errors = Index(indexer, Health()), []
    indexer.refused[newer["id"]] = DocumentError("no dogs")

    async def apply(change):
        try:
            await index.apply(change)
        except DocumentError as error:
            errors.append((change.id, error.message))

    async with anyio.create_task_group() as tasks:
        for change in (Upsert(older), Upsert(KIT), Delete(older["id"]), Upsert(newer)):
            tasks.start_soon(apply, change)

    batches = [call.about for call in indexer.faults.calls if call.name == "apply"]
    assert all(len(set(batch)) == len(batch) for batch in batches)
    assert {KIT["id"]} == set(indexer.documents)
    assert (newer["id"], "no dogs") in errors
