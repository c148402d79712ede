"""Documents come back as they were written, and go when they are deleted."""

from __future__ import annotations

from random import Random

import pytest
from anyio import fail_after, sleep, to_thread

from imgtag.errors import DocumentError
from imgtag.plugin.indexer import Delete, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.testing import document
from imgtag.types.ref import Scope
from imgtag_meilisearch.index_settings import SETTINGS, differing
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio
CHANCE = Random(1)
VECTOR = [round(CHANCE.uniform(-1, 1), 5) for _ in range(128)]


async def test_settings_come_back_as_they_were_sent(index, open_index, server, uid):
    """So that settings are compared, and written only where they differ."""
    there = server.ask("GET", f"indexes/{uid}/settings")

    assert {name: there[name] for name in SETTINGS} == dict(SETTINGS)
    assert {} == differing(there)
    assert [] == list(await index.setup(apply=True))


async def test_settings_that_were_changed_are_put_right(index, server, uid):
    """What somebody changed is said and changed back; what they added is left."""
    server.ask("PATCH", f"indexes/{uid}/settings", {"pagination": {"maxTotalHits": 7}, "synonyms": {"a": ["b"]}})
    while not (changes := list(await index.setup(apply=False))):
        continue
    await index.setup(apply=True)
    there = server.ask("GET", f"indexes/{uid}/settings")

    assert ["settings pagination"] == [change.what for change in changes]
    assert (10_000, {"a": ["b"]}) == (there["pagination"]["maxTotalHits"], there["synonyms"])


async def test_index_is_made_by_the_first_write(open_index):
    """Where there is no index all is empty; the first document makes it, with settings."""
    document = documents(1)[0]
    async with open_index() as index:
        assert {} == await index.get([document["id"]])
        assert 0 == (await index.search(SearchRequest(query=parse("fox"), facets=("labels",)))).total
        assert 0 == await index.count("local", Scope("pets"))
        assert [] == [document async for document in index.scan("local", Scope("pets"))]
        assert (frozenset(), []) == (await index.known(["fox"]), list(await index.suggest("f")))
        await index.apply([Upsert(document)])
        assert {document["id"]: document} == await index.get([document["id"]])
        assert [] == list(await index.setup(apply=False))


async def test_vectors_come_back(index, fill):
    """A vector of five digits, and none, are the same when they are read; a later none takes the vector away."""
    first, second = documents(2)
    with_vector = {**first, "_vectors": {"img": VECTOR}}
    await fill(with_vector, second)
    before = await index.get([first["id"], second["id"]])
    await fill(first, {name: value for name, value in second.items() if name != "_vectors"})

    assert {first["id"]: with_vector, second["id"]: second} == before
    assert {first["id"]: first, second["id"]: second} == await index.get([first["id"], second["id"]])


async def test_vectors_are_scanned_when_asked_for(index, fill):
    """Without fields, or where they are named; else they stay on the server."""
    document = {**documents(1)[0], "_vectors": {"img": VECTOR}}
    await fill(document)
    scope = Scope(document["bucket"])

    assert [document] == [document async for document in index.scan("local", scope)]
    assert [{"key", "_vectors"}] == [
        set(document) async for document in index.scan("local", scope, fields=("_vectors",))
    ]
    assert [{"key", "size"}] == [set(document) async for document in index.scan("local", scope, fields=("size",))]


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"id": "no id!"},
        {"id": "a" * 512},
        {"key": 7},
        {"width": float("nan")},
        {"width": "wide"},
        {"scores": {"fox": "much"}},
        {"scores": ["fox"]},
        {"_geo": {"lat": 91, "lng": 0}},
        {"_geo": {"lat": None, "lng": 0}},
        {"_geo": {"lat": 1}},
        {"_geo": {"lat": 1, "lng": 2, "alt": 3}},
        {"_vectors": {"img": [1.0] * 127}},
        {"_vectors": {"img": ["x"] * 128}},
        {"key": "half a pair \ud800"},
        {"reason": object()},
    ],
)
async def test_one_bad_document_fails_alone(index, wrong):
    """The others of its batch are there, and it is dropped."""
    first, bad, last = documents(3)
    outcomes = await index.apply([Upsert(first), Upsert(bad | wrong), Upsert(last)])

    assert [None, DocumentError, None] == [outcome.error and type(outcome.error) for outcome in outcomes]
    assert {first["id"], last["id"]} == (await index.get([document["id"] for document in documents(3)])).keys()


async def test_big_batches(open_index):
    """Many requests for one batch: all documents are there, and replaced, and gone."""
    world = documents(300)
    ids = [document["id"] for document in world]
    async with open_index(batch_bytes=20_000, batch_documents=50) as index:
        await index.apply([Upsert(document) for document in world])
        await index.apply(
            [Upsert({**document, "size": 7}) for document in world[:100]] + [Delete(id_) for id_ in ids[200:]]
        )
        found = await index.get(ids)

    assert ids[:200] == [id_ for id_ in ids if id_ in found]
    assert {7} == {found[id_]["size"] for id_ in ids[:100]}


async def test_sites_are_apart(index, fill):
    """The same key on two sites makes two documents, and each is deleted alone."""
    here, there = documents(5, site="here"), documents(5, site="there")
    await fill(*here, *there)
    await index.apply([Delete(document["id"]) for document in here])
    left = [await index.count("there", Scope(bucket)) for bucket in ("pets", "wildlife")]

    assert 5 == sum(left)
    assert [0, 0] == [await index.count("here", Scope(bucket)) for bucket in ("pets", "wildlife")]


@pytest.mark.parametrize("prefix", ["", "ΟΔΟΣ", "ΟΔΟΣ/", "ΟΔΟΣ/ ", " ", "a", "e", "E\u0301", "x" * 470])
async def test_scan_whatever_the_prefix(index, fill, prefix):
    """Prefixes whose normal form depends on what follows, that are blank, or longer than what is compared."""
    keys = ["ΟΔΟΣ/ΣΑΣ.jpg", "ΟΔΟΣΑ/1", "ΟΔΟΣ/ 2", " a", "a", "e\u0301", "E\u0301x", "x" * 480, "x" * 470 + "y"]
    base = documents(1)[0]
    slashes = {key: [key[: place + 1] for place, letter in enumerate(key) if letter == "/"] for key in keys}
    world = [base | {"id": f"n{n}", "bucket": "b", "key": key, "prefixes": slashes[key]} for n, key in enumerate(keys)]
    await fill(*world)
    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)

    assert expected == [document["key"] async for document in index.scan("local", Scope("b", prefix))]
    assert len(expected) == await index.count("local", Scope("b", prefix))


async def test_a_swapped_index_has_another_id(server, uid, open_index, index):
    """What stands under the name then is another index, whose documents are found."""
    other = f"{uid}-other"
    async with open_index(index=other) as spare:
        await spare.apply([Upsert(document("new.jpg", {"owl": 0.5}))])
        expected = await spare.index_id()
        await index.apply([Upsert(document("old.jpg", {"owl": 0.5}))])
        before = await index.index_id()
        await to_thread.run_sync(server.ask, "POST", "swap-indexes", [{"indexes": [uid, other]}])
        with fail_after(10):
            while await index.index_id() == before:
                await sleep(0.02)
        page = await index.search(SearchRequest(query=parse("owl")))
        await to_thread.run_sync(server.ask, "DELETE", f"indexes/{other}")

    assert expected == await index.index_id()
    assert ["new.jpg"] == [hit["key"] for hit in page.hits]
