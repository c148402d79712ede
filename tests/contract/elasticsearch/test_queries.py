"""The same query finds the same objects as everywhere, in the same order."""

from __future__ import annotations

from random import Random

import pytest

from contract.queries import (
    EVERYTHING,
    HOSTILE,
    UNINDEXED,
    differs,
    documents_of_a_second,
    labelled,
    queries_of_labels,
    throw_together,
)
from imgtag.errors import QueryError
from imgtag.plugin import count_values
from imgtag.plugin.indexer import SearchRequest, SimilarRequest
from imgtag.plugin.matching import rank_documents
from imgtag.query import And, Is, Not, Or, Query, StartsWith, parse
from imgtag.testing import document
from imgtag.types.folding import fold
from imgtag.types.vector import LENGTH, cosine
from imgtag_elasticsearch import search
from unit.sqlite.documents import documents
from unit.sqlite.test_sqlite_queries import CHOSEN, _condition, _ranking

pytestmark = pytest.mark.anyio


@pytest.fixture
def world():
    """A hundred documents."""
    return documents(100)


async def test_queries(index, fill, world):
    """As people write them, five hundred random conditions, and pieces of the language thrown together."""
    await fill(*world)
    random = Random(3)
    queries = [parse(text) for text in CHOSEN]
    queries += [Query("", _condition(random, 3), _ranking(random)) for _ in range(500)]
    queries += throw_together(random, 100)

    assert [] == [query for query in queries if await differs(index, query, world)]


async def test_whatever_a_label_is(index, fill):
    """Each label is found by itself alone, filtered, compared and ordered by, whatever characters it has."""
    world = [labelled(number, label) for number, label in enumerate(HOSTILE)]
    await fill(*world)

    assert [] == [query for query in queries_of_labels() if await differs(index, query, world)]
    for text in (fold(label) for label in HOSTILE):
        assert text in await index.suggest(text, 50)


async def test_beginnings_of_any_length(index, fill):
    """Also of words and labels that are longer than what a server compares at once."""
    word, label = "w" * 390, "l" * 390
    world = [document(f"{word}.jpg", {"fox": 0.9}), document("b.jpg", {label: 0.9}), document("c.jpg", {"fox": 0.9})]
    await fill(*world)
    lengths = (1, 199, 200, 201, 389, 390, 391)
    queries = [
        parse(f"{field}{text[:length]}*")
        for length in lengths
        for field, text in (("", word), ("", label), ("title:", word))
    ]

    assert [] == [query for query in queries if await differs(index, query, world)]
    assert 1 == (await index.search(SearchRequest(query=parse(f"{word[:201]}*")))).total


async def test_fields_without_a_mapping_find_nothing(index, fill, world):
    """A condition on a field that is not indexed matches nothing, without an error; its negation everything."""
    await fill(*world)
    for leaf in UNINDEXED:
        assert 0 == (await index.search(SearchRequest(query=Query("", leaf)))).total
        assert len(world) == (await index.search(SearchRequest(query=Query("", Not(leaf))))).total


async def test_too_complex_is_said(index, fill, world):
    """What the cluster does not evaluate is a mistake of the query, with a hint."""
    await fill(world[0])
    wide = Or(tuple(StartsWith("key", f"no{number}") for number in range(5_000)))
    with pytest.raises(QueryError) as raised:
        await index.search(SearchRequest(query=Query("wide", wide)))

    assert raised.value.hint


async def test_pages_beyond_the_window(index, fill, monkeypatch):
    """Hits go on where a search of the cluster ends, in one page or in many, also if a page is asked for again."""
    monkeypatch.setattr(search, "MAX_WINDOW", 50)
    monkeypatch.setattr(search, "PAGE_SIZE", 20)
    world = documents(230)
    await fill(*world)
    for query in (Query("", And(()), ("fox", "animal")), parse("fox OR status:failed")):
        expected = [document["id"] for document in rank_documents(query, world)]
        for limit in (len(world), 7, 45):
            for offset in [*range(0, len(expected), limit), 150, 20, 300]:
                page = await index.search(SearchRequest(query=query, limit=limit, offset=offset, facets=("bucket",)))
                assert expected[offset : offset + limit] == [hit["id"] for hit in page.hits], (limit, offset)
                assert len(expected) == page.total == sum(page.facets["bucket"].values())


async def test_facets_are_whole(index, fill):
    """Many values are counted, the most frequent first; those that differ in case only are one."""
    world = [labelled(number, f"label {number:03}", "common") for number in range(150)]
    for number, written in enumerate(("CC-BY", "cc-by", "CC-by", "other")):
        world[number]["meta"] = {"licence=type": written, "licence": "3"}
    await fill(*world)
    fields = ("labels", "when_day", "colour", "meta.licence=type", "meta.licence")
    page = await index.search(SearchRequest(query=EVERYTHING, limit=0, facets=fields))

    assert count_values(world, "labels") == page.facets["labels"]
    assert "common" == next(iter(page.facets["labels"]))
    assert {} == page.facets["colour"]
    assert [3, 1] == list(page.facets["meta.licence=type"].values())
    assert {"3": 4} == page.facets["meta.licence"]
    assert 3 == (await index.search(SearchRequest(query=Query("", Is("meta.licence=type", ("cc-by",)))))).total


async def test_order_of_the_same_second(index, fill):
    """Pictures of the same second come by their keys, byte by byte; those without a score, and time, last."""
    world = documents_of_a_second()
    await fill(*world)

    assert not await differs(index, Query("", And(()), ("fox",)), world)


async def test_similar_among_many(index, fill, monkeypatch):
    """The nearest of more images than one answer holds, with the cosine of their vectors as they were written."""
    monkeypatch.setattr(search, "PAGE_SIZE", 50)
    random = Random(5)
    world = [
        {**document(f"{number:03}.jpg", {"fox": 0.5}), "space": "s", "_vectors": {"img": vector}}
        for number in range(170)
        for vector in [[random.randint(-128, 127) for _ in range(LENGTH)]]
    ]
    await fill(*world)
    asked = world[0]["_vectors"]["img"]
    best = sorted(world[1:], key=lambda each: -cosine(asked, each["_vectors"]["img"]))[:5]
    found = await index.similar(SimilarRequest(id=world[0]["id"], query=parse(""), limit=5))

    assert [each["id"] for each in best] == [each.document["id"] for each in found]
    assert [cosine(asked, each["_vectors"]["img"]) for each in best] == [each.similarity for each in found]
