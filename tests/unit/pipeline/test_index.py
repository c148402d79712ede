"""Single changes become batches for the indexer."""

import anyio
import pytest

from imgtag.errors import ConfigError, DocumentError, ImgtagError, Unavailable
from imgtag.ops.health import Health
from imgtag.plugin import Delete, Upsert
from imgtag.stages.index import Index, IndexUnavailable
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


async def test_no_batch_is_larger_than_an_indexer_takes():
    """A hundred reads or changes, unless another number is set.

    The first one goes alone, because nothing waits yet; those that do not fit with the others go after them.
    """
    indexer = MemoryIndexer()
    index, smaller = Index(indexer, Health()), Index(indexer, Health(), batch=7)
    async with anyio.create_task_group() as tasks:
        for number in range(102):
            tasks.start_soon(index.apply, Upsert(document(f"{number}.jpg", {"owl": 0.5})))
            tasks.start_soon(index.read, f"{number}")
        for number in range(9):
            tasks.start_soon(smaller.apply, Delete(f"{number}"))
            tasks.start_soon(smaller.read, f"{number}")

    sizes = [(call.name, len(call.about)) for call in indexer.faults.calls]
    assert sorted(sizes) == [(name, size) for name in ("apply", "get") for size in (1, 1, 1, 1, 7, 100)]


async def test_changes_are_collected_for_a_while_and_reads_are_not(monkeypatch):
    """A change waits for its neighbours; an object waits for its read before anything is done for it."""
    pauses = []

    def note(seconds):
        pauses.append(seconds)
        return anyio.CancelScope(deadline=anyio.current_time())

    monkeypatch.setattr("imgtag.flow.batcher.anyio.move_on_after", note)
    await Index(MemoryIndexer(), Health()).apply(Upsert(KIT))
    assert pauses == []
    index = Index(MemoryIndexer(), Health(), wait=0.3)
    await index.apply(Upsert(KIT))
    await index.read("id")

    assert pauses == [0.3]


@pytest.mark.parametrize("due", [1, 3, 5])
async def test_batch_leaves_when_it_shall_wait_no_longer(due):
    """They are sent together, and nothing waits for the time to pass; what comes later makes a batch of its own."""
    indexer, last = MemoryIndexer(), False
    index = Index(indexer, Health(), wait=3600, is_due=lambda: last)
    with anyio.fail_after(10):
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                for number in range(due):
                    await anyio.wait_all_tasks_blocked()
                    last = number == due - 1
                    tasks.start_soon(index.apply, Delete(f"{number}"))

    assert [due, due] == [len(call.about) for call in indexer.faults.calls]


@pytest.mark.parametrize(("seconds", "sizes"), [(3600, [8, 2]), (0.01, [8, 1, 1])], ids=["at once", "later"])
async def test_after_many_changes_few_wait_a_moment_for_others(monkeypatch, seconds, sizes):
    """Those whose places the many took have only just begun: a quarter as many leave together. Later, one leaves."""
    monkeypatch.setattr("imgtag.flow.batcher.AFTER_MANY", seconds)
    indexer, due = MemoryIndexer(), False
    index = Index(indexer, Health(), wait=7200, is_due=lambda: due)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                await anyio.wait_all_tasks_blocked()
                due = number == 7
                tasks.start_soon(index.apply, Delete(f"{number}"))
        async with anyio.create_task_group() as tasks:
            for number in (8, 9):
                tasks.start_soon(index.apply, Delete(f"{number}"))
                await (anyio.wait_all_tasks_blocked() if seconds > 1 else wait_for(indexer, number - 6))

    assert sizes == [len(call.about) for call in indexer.faults.calls]


async def wait_for(indexer, calls):
    """Until so many batches were sent."""
    while len(indexer.faults.calls) < calls:
        await anyio.sleep(0.005)


async def test_a_document_is_read_by_its_id():
    """None where there is none."""
    index = Index(MemoryIndexer(), Health())
    await index.apply(Upsert(KIT))

    assert await index.read(KIT["id"]) == KIT
    assert await index.read("another") is None


@pytest.mark.parametrize("call", ["apply", "get"])
@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (Unavailable("no route", hint="Start it."), "no route", "Start it."),
        (ConfigError("the key is refused", hint="Mend it."), "the key is refused", "Mend it."),
        (RuntimeError("a bug"), "the indexer MemoryIndexer failed: RuntimeError: a bug", ""),
    ],
)
async def test_what_keeps_the_index_from_answering_is_no_pictures_fault(call, error, message, hint):
    """Its key, its server, or a bug: the picture waits, and the index counts as down until it answers again."""
    indexer, health = MemoryIndexer(), Health()
    index = Index(indexer, health)
    indexer.faults.fail(error, on=call)
    with pytest.raises(IndexUnavailable) as raised:
        await (index.apply(Upsert(KIT)) if call == "apply" else index.read("id"))

    assert (raised.value.message, raised.value.hint, raised.value.code) == (message, hint, "index_down")
    assert raised.value.__cause__ is error
    assert not health.ready().ok
    await index.read("id")
    assert health.ready().ok


@pytest.mark.parametrize("call", ["apply", "get"])
async def test_what_an_indexer_says_of_the_documents_themselves_is_passed_on(call):
    """It would say the same again."""
    indexer = MemoryIndexer()
    error = DocumentError("too long", code="too_long")
    indexer.faults.fail(error, on=call)
    index = Index(indexer, Health())
    with pytest.raises(ImgtagError) as raised:
        await (index.apply(Upsert(KIT)) if call == "apply" else index.read("id"))

    assert raised.value is error


async def test_an_indexer_that_forgets_a_change_does_not_answer():
    """Nothing is durable without an answer."""
    indexer = MemoryIndexer()

    async def forget(changes):
        return []

    indexer.apply = forget
    with pytest.raises(IndexUnavailable, match="the indexer answered 0 of 1 changes"):
        await Index(indexer, Health()).apply(Upsert(KIT))
