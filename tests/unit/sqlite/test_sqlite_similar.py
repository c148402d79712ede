"""What the indexer promises of vectors beside what every indexer does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from imgtag.errors import DocumentError
from imgtag.plugin.indexer import Delete, SimilarRequest, Upsert
from imgtag.query import parse
from imgtag_sqlite import search
from imgtag_sqlite.indexer import SqliteIndexer
from unit.sqlite.documents import documents
from unit.sqlite.formats import write_index

Open = Callable[..., SqliteIndexer]
EVERY = parse("status:*")


def album(count: int) -> list[dict[str, Any]]:
    """Documents whose vectors turn by a little from one to the next."""
    made = documents(count)
    turned = ([100, number % 128, *[0] * 126] for number in range(count))
    return [
        {**document, "space": "m@1-svd1", "_vectors": {"img": vector}}
        for document, vector in zip(made, turned, strict=True)
    ]


async def nearest(index: SqliteIndexer, document: dict[str, Any], limit: int = 20) -> list[str]:
    hits = await index.similar(SimilarRequest(id=document["id"], query=EVERY, limit=limit))
    return [hit.document["id"] for hit in hits]


@pytest.mark.anyio
async def test_any_number_is_compared(index: SqliteIndexer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, so that memory does not grow with their number."""
    monkeypatch.setattr(search, "VECTOR_BATCH", 7)
    world = album(60)
    await index.apply([Upsert(document) for document in world])

    assert [world[1]["id"], world[2]["id"]] == await nearest(index, world[0], limit=2)
    assert world[59]["id"] == (await nearest(index, world[0], limit=100))[-1]
    assert 59 == len(await nearest(index, world[0], limit=100))


@pytest.mark.anyio
async def test_a_deleted_document_leaves_no_vector(index: SqliteIndexer, tmp_path: Path) -> None:
    """Neither does one that is put again without."""
    world = album(3)
    await index.apply([Upsert(document) for document in world])
    await index.apply([Delete(world[1]["id"]), Upsert({**world[2], "_vectors": {"img": None}})])
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        (left,) = connection.execute("SELECT count(*) FROM vectors").fetchone()

    assert 1 == left
    assert [] == await nearest(index, world[0])


@pytest.mark.anyio
@pytest.mark.parametrize("vector", [[1] * 127, [128] * 128, [0.5] * 128, ["1"] * 128, 5])
async def test_a_vector_that_is_none_is_one_documents_fault(index: SqliteIndexer, vector: Any) -> None:
    """Another length, or numbers that are not int8."""
    world = album(2)
    bad, good = await index.apply([Upsert({**world[0], "_vectors": {"img": vector}}), Upsert(world[1])])

    assert isinstance(bad.error, DocumentError)
    assert good.error is None


@pytest.mark.anyio
async def test_vectors_of_nothing_but_zero(index: SqliteIndexer) -> None:
    """They are like nothing, and no error."""
    world = album(3)
    world[1]["_vectors"] = {"img": [0] * 128}
    await index.apply([Upsert(document) for document in world])
    hits = await index.similar(SimilarRequest(id=world[0]["id"], query=EVERY))

    assert {world[1]["id"]: 0.0}.items() <= {hit.document["id"]: hit.similarity for hit in hits}.items()


@pytest.mark.anyio
async def test_an_older_index_is_brought_up_to_date(open_index: Open, tmp_path: Path) -> None:
    """What is in it stays; vectors come with what is written from then on."""
    old, *new = album(3)
    write_index(tmp_path / "index.sqlite3", [{**old, "_vectors": {"img": None}}], version=1)
    async with open_index() as index:
        await index.apply([Upsert(document) for document in new])

        assert old["id"] in await index.get([old["id"]])
        assert [new[1]["id"]] == await nearest(index, new[0])
