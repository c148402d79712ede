"""The indexer while its server is down, slow, full, forgetful, or fails what it is sent."""

from __future__ import annotations

import json
from itertools import pairwise

import anyio
import pytest

from fake_meilisearch.errors import Refusal
from fake_meilisearch.faults import Answer
from fake_meilisearch.tasks import Task
from imgtag.errors import Disposition, DocumentError, PluginError, Unavailable
from imgtag.plugin.indexer import Delete, Outcome, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.types.ref import Scope
from imgtag_meilisearch import scan, setup
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio
ADD = "/documents"
WORLD = documents(8)
UPSERTS = [Upsert(document) for document in WORLD]
IDS = [document["id"] for document in WORLD]


async def _there(index):
    return (await index.get(IDS)).keys()


async def test_server_that_is_down(fake, open_index):
    """Entering says that nothing answers, and where."""
    fake.down()
    with pytest.raises(Unavailable) as raised:
        await open_index().__aenter__()

    assert fake.url in raised.value.message
    assert raised.value.hint


async def test_outage_and_return(fake, index):
    """Every question says Unavailable while it lasts; afterwards the same indexer goes on."""
    await index.apply(UPSERTS[:1])
    await anyio.to_thread.run_sync(fake.down)
    for ask in (
        lambda: index.apply(UPSERTS),
        lambda: index.get(IDS),
        lambda: index.search(SearchRequest(query=parse("fox"))),
        lambda: index.count("local", Scope("pets")),
        lambda: index.known(["fox"]),
        lambda: index.setup(apply=False),
    ):
        with pytest.raises(Unavailable):
            await ask()
    assert [False] * 6 == [check.ok async for check in index.checks()]
    await anyio.to_thread.run_sync(fake.up)
    await index.apply(UPSERTS)

    assert set(IDS) == await _there(index)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_passing_refusals_are_tried_again(fake, index, status):
    """One answer of these is not noticed."""
    fake.faults.answers = [Answer("internal", status, ADD), Answer("internal", status, "/documents/fetch")]

    assert [None] * 8 == [outcome.error for outcome in await index.apply(UPSERTS)]
    assert set(IDS) == await _there(index)


@pytest.mark.parametrize(
    ("code", "status"), [("too_many_search_requests", 503), ("no_space_left_on_device", 422), ("io_error", 422)]
)
async def test_lasting_refusals_are_unavailable(fake, index, code, status):
    """What the server cannot do now is retried later, with a hint for its administrator."""
    fake.faults.answers = [Answer(code, status, ADD, times=None)]
    with pytest.raises(Unavailable) as raised:
        await index.apply(UPSERTS)

    assert Disposition.RETRY is raised.value.disposition
    assert ("disk" in raised.value.hint) == (code == "no_space_left_on_device")


async def test_slow_server(fake, index):
    """A request that is not answered in time is Unavailable."""
    fake.faults.answers = [Answer("internal", 500, "/documents/fetch", times=None, seconds=1.5)]
    with pytest.raises(Unavailable):
        await index.get(IDS)


async def test_lost_answer(fake, index):
    """A batch that was taken, but not answered, is sent again; that changes nothing."""
    fake.faults.answers = [Answer("internal", 502, ADD, after=True)]
    await index.apply(UPSERTS)

    assert 2 == fake.faults.count("POST /documents")
    assert set(IDS) == await _there(index)


async def test_something_else_answers(fake, open_index):
    """A page of another server is no Meilisearch."""
    fake.faults.answers = [Answer("", 200, "/health", body=b"<html>")]
    with pytest.raises(PluginError, match="is not Meilisearch"):
        await open_index().__aenter__()


async def test_too_large_is_halved(fake, index):
    """Requests become smaller until they are taken; one document that is too large fails alone."""
    fake.faults.payload_limit = 4000
    huge = {**WORLD[3], "reason": "x" * 5000}
    outcomes = await index.apply([*UPSERTS[:3], Upsert(huge), *UPSERTS[4:]])

    assert [IDS[3]] == [outcome.id for outcome in outcomes if outcome.error]
    assert "document_too_large" == outcomes[3].error.code
    assert set(IDS) - {IDS[3]} == await _there(index)


async def test_guilty_document_is_found(fake, index):
    """Where a task fails for one document, that one is dropped, and the others are there."""
    fake.faults.failing = _fails_for(IDS[5])
    outcomes = await index.apply([*UPSERTS, Delete("no-such-id")])

    assert [IDS[5]] == [outcome.id for outcome in outcomes if outcome.error]
    assert isinstance(outcomes[5].error, DocumentError)
    assert set(IDS) - {IDS[5]} == await _there(index)


async def test_innocent_batch_of_somebody_elses_fault(fake, index):
    """A task that failed together with somebody's bad one is done when it is alone."""
    fake.queue.held.set()
    bad = {**WORLD[0], "id": "bad", "_vectors": {}}
    fake.queue.add(
        "documentAdditionOrUpdate",
        "images",
        {"body": json.dumps(bad).encode(), "primaryKey": "id", "create": True},
        None,
    )
    outcomes, theirs = [], len(fake.queue.tasks)
    async with anyio.create_task_group() as group:
        group.start_soon(_collect, index, UPSERTS, outcomes)
        while len(fake.queue.tasks) == theirs:  # until ours stands beside it
            await anyio.sleep(0.01)
        fake.queue.release()

    assert 2 == fake.faults.count("POST /documents")
    assert [Outcome(id_) for id_ in IDS] == outcomes
    assert set(IDS) == await _there(index)


async def test_single_document_is_blamed_only_when_alone(fake, index):
    """One document that fails again and again, but never alone, is not dropped."""
    original = fake.queue._take

    def accompanied():
        batch = original()
        for task in batch[:1]:
            fake.queue.add("documentDeletion", task.index, [], None)
            fake.queue.tasks[max(fake.queue.tasks)].batch = task.batch
            fake.queue.tasks[max(fake.queue.tasks)].status = "failed"
        return batch

    fake.queue._take = accompanied
    fake.faults.failing = _fails_for(IDS[0])
    with pytest.raises(Unavailable):
        await index.apply(UPSERTS[:1])


async def test_failure_of_the_server_is_no_documents_fault(fake, index):
    """A task that fails for want of room is to be tried later; nothing is dropped."""
    fake.faults.failing = lambda _: Refusal("no_space_left_on_device", "no room")
    with pytest.raises(Unavailable):
        await index.apply(UPSERTS)


async def test_cancelled_tasks(fake, index):
    """Somebody cancelled the queue: to be tried again."""
    fake.queue.held.set()
    async with anyio.create_task_group() as group:
        group.start_soon(_cancel, fake)
        with pytest.raises(Unavailable, match="cancelled"):
            await index.apply(UPSERTS)


async def test_lost_task_is_verified(fake, index):
    """A task that the server forgot is looked up by what it did; what it did not do is sent again."""
    await index.apply(UPSERTS[:4])
    fake.queue.held.set()
    changes = [*UPSERTS, Delete("no-such-id")]
    outcomes = []
    async with anyio.create_task_group() as group:
        group.start_soon(_collect, index, changes, outcomes)
        while fake.faults.count("POST /documents") < 2:
            await anyio.sleep(0.01)
        await anyio.sleep(0.1)
        fake.forget_tasks()
        fake.queue.release()

    assert [Outcome(change.id) for change in changes] == outcomes
    assert set(IDS) == await _there(index)


async def test_task_of_somebody_else_under_the_same_uid(fake, index):
    """After a restore a uid may be another's: the note tells."""
    fake.queue.held.set()
    outcomes = []
    async with anyio.create_task_group() as group:
        group.start_soon(_collect, index, UPSERTS, outcomes)
        while fake.faults.count("POST /documents") == 0:
            await anyio.sleep(0.01)
        await anyio.sleep(0.1)
        task = max(fake.queue.tasks.values(), key=lambda task: task.uid)
        task.note, task.status = "somebody's", "succeeded"
        fake.queue.release()

    assert set(IDS) == await _there(index)


@pytest.fixture
def check_each(monkeypatch):
    """Writes follow each other slowly."""
    monkeypatch.setattr(setup, "CHECK_PERIOD", 0.0)


@pytest.mark.usefixtures("check_each")
async def test_index_that_is_deleted_meanwhile(fake, index):
    """The next write makes it again, with its settings."""
    await index.apply(UPSERTS)
    del fake.indexes["images"]
    await index.apply(UPSERTS[:2])

    assert set(IDS[:2]) == await _there(index)
    assert [] == list(await index.setup(apply=False))


async def test_index_that_is_deleted_between_fast_writes(fake, index, monkeypatch):
    """The server makes it again without settings; the first write after the period, or after a failure, adds them."""
    await index.apply(UPSERTS)
    del fake.indexes["images"]
    await index.apply(UPSERTS[:2])
    assert [] != list(await index.setup(apply=False))
    monkeypatch.setattr(setup, "CHECK_PERIOD", 0.0)
    await index.apply(UPSERTS[2:4])

    assert set(IDS[:4]) == await _there(index)
    assert [] == list(await index.setup(apply=False))


async def test_failed_write_has_the_index_checked_before_the_next(fake, index):
    """However soon that comes: the write may have failed because the index is not what it was."""
    await index.apply(UPSERTS)
    fake.faults.answers = [Answer("no_space_left_on_device", 422, ADD)]
    with pytest.raises(Unavailable):
        await index.apply(UPSERTS)
    checks = fake.faults.count("GET /indexes/images")
    await index.apply(UPSERTS)

    assert checks + 1 == fake.faults.count("GET /indexes/images")


async def test_task_is_asked_for_when_it_is_likely_done(fake, index):
    """As the tasks before it were; so nearly all are done at the first question."""
    fake.queue.delay = 0.05
    for _ in range(10):
        await index.apply(UPSERTS[:1])
    fake.faults.asked.clear()
    for _ in range(20):
        await index.apply(UPSERTS[:1])

    assert 20 == fake.faults.count("POST /documents")
    assert fake.faults.count("GET /tasks") < 40  # it would be some 70 if the questions began at once


@pytest.mark.usefixtures("check_each")
async def test_index_that_was_made_anew_by_others(fake, index):
    """An index of the same name, but another one, is given its settings before the next document."""
    await index.apply(UPSERTS)
    del fake.indexes["images"]
    fake.queue._administered(_task("indexCreation"))
    await index.apply(UPSERTS[:2])

    assert [] == list(await index.setup(apply=False))


async def test_slow_queue(fake, open_index):
    """A task that is not worked off in time counts as not done."""
    async with open_index(task_deadline=0.2) as index:
        await index.setup(apply=True)
        fake.queue.held.set()
        with pytest.raises(Unavailable, match="in time"):
            await index.apply(UPSERTS)


@pytest.mark.parametrize("kind", ["indexCreation", "settingsUpdate"])
async def test_setup_that_fails_on_the_server(fake, open_index, kind):
    """A task about the index has no note, and is still known to have failed: nothing is said to be made."""
    fake.faults.failing = lambda task: Refusal("invalid_settings_embedders", "no") if task.kind == kind else None
    async with open_index() as index:
        with pytest.raises(PluginError, match="no"):
            await index.setup(apply=True)


async def test_index_that_cannot_be_deleted(fake, open_index):
    """It is not said to be gone."""
    async with open_index() as index:
        made, _ = await index.setup(apply=True)
        fake.faults.failing = lambda _: Refusal("index_not_accessible", "in use")
        with pytest.raises(PluginError, match="in use"):
            await index.undo(made.undo, apply=True)


async def test_settings_are_written_once(fake, open_index):
    """Starts of the sidecar do not make the server work through the index."""
    for _ in range(3):
        async with open_index() as index:
            await index.apply(UPSERTS)

    assert 1 == fake.faults.count("PATCH /settings")


async def test_batches_are_not_waited_for(fake, open_index):
    """All of a batch is sent before the first task is asked for, and many tasks are asked for at once."""
    async with open_index(batch_documents=1) as index:
        await index.setup(apply=True)
        fake.faults.asked.clear()
        await index.apply(UPSERTS)
        asked = [request for request in fake.faults.asked if request.endswith(("/documents", "/tasks"))]

    assert ["POST /indexes/images/documents"] * 8 == asked[:8]
    assert len(asked) < 16


async def test_scan_loses_nothing_that_stays(fake, index, monkeypatch):
    """Documents that are deleted between two pages move the rest up; none is passed over."""
    monkeypatch.setattr(scan, "PAGE_SIZE", 10)
    world = [{**WORLD[0], "id": f"d{number:03}", "bucket": "b", "key": f"{number:03}"} for number in range(100)]
    await index.apply([Upsert(document) for document in world])
    stored, pages = fake.indexes["images"], []
    original = stored.fetch

    def shrinking(query):
        pages.append(query["offset"])
        answer = original(query)
        for number in range(3 * len(pages)):
            stored.delete(f"d{number:03}")
        return answer

    stored.fetch = shrinking
    keys = [document["key"] async for document in index.scan("local", Scope("b"))]
    left = [document["key"] for document in stored.documents.values()]

    assert set(left) <= set(keys)
    assert sorted(keys) == keys
    assert any(later < earlier for earlier, later in pairwise(pages))


async def test_many_at_once(fake, index):
    """Writers and readers at the same time do not disturb one another."""
    world = documents(60)
    async with anyio.create_task_group() as group:
        for start in range(0, 60, 10):
            group.start_soon(index.apply, [Upsert(document) for document in world[start : start + 10]])
            group.start_soon(index.search, SearchRequest(query=parse("fox"), facets=("labels",)))

    assert 60 == len(await index.get([document["id"] for document in world]))


def _fails_for(id_):
    def failing(task):
        data = task.data["body"] if isinstance(task.data, dict) and "body" in task.data else b""
        return Refusal("invalid_document_geo_field", "one of them") if id_.encode() in data else None

    return failing


def _task(kind):
    return Task(0, kind, "images", "id", None)


async def _cancel(fake):
    while fake.faults.count("POST /documents") == 0:
        await anyio.sleep(0.01)
    await anyio.sleep(0.05)
    for task in fake.queue.tasks.values():
        task.status = "canceled" if task.status == "enqueued" else task.status
    fake.queue.release()


async def _collect(index, changes, outcomes):
    outcomes += await index.apply(changes)
