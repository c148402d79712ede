"""The same query finds the same objects as everywhere, in the same order."""

from __future__ import annotations

from dataclasses import replace
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
from imgtag.plugin.indexer import SearchRequest
from imgtag.query import And, Is, Not, Or, Query, StartsWith, parse
from unit.sqlite.documents import documents
from unit.sqlite.test_sqlite_queries import CHOSEN, _condition, _ranking

pytestmark = pytest.mark.anyio


@pytest.fixture
def world():
    """A few hundred documents."""
    return documents(300)


async def test_chosen_queries(index, fill, world):
    """Every kind of leaf, alone and together, as people write them."""
    await fill(*world)

    assert [] == [text for text in CHOSEN if await differs(index, parse(text), world)]


async def test_random_conditions(index, fill, world):
    """Two hundred expressions, negations of absent fields among them."""
    await fill(*world)
    random = Random(3)
    queries = [Query("", _sound(_condition(random, 3)), _ranking(random)) for _ in range(200)]

    assert [] == [query for query in queries if await differs(index, query, world)]


async def test_random_texts(index, fill, world):
    """What comes of the pieces of the language thrown together, where it is a query at all."""
    await fill(*world)
    queries = throw_together(Random(7), 80)

    assert [] == [query.text for query in queries if await differs(index, query, world)]


async def test_whatever_a_label_is(index, fill):
    """Each label is found by itself alone, filtered, compared and ordered by, whatever characters it has."""
    world = [labelled(number, label) for number, label in enumerate(HOSTILE)]
    await fill(*world)

    assert [] == [query for query in queries_of_labels() if await differs(index, query, world)]


async def test_fields_without_a_rule_find_nothing(index, fill, world):
    """A condition on a field without a filter matches nothing, without an error; its negation everything."""
    await fill(*world)
    for leaf in UNINDEXED:
        assert 0 == (await index.search(SearchRequest(query=Query("", leaf)))).total
        assert len(world) == (await index.search(SearchRequest(query=Query("", Not(leaf))))).total


async def test_single_parts_keep_their_meaning(index, fill, world):
    """Joins of one part, and of none, within each other."""
    await fill(*world)
    pair = (Is("bucket", ("pets",)), Is("status", ("failed",)))
    shapes = [Not(Or((And(pair),))), Not(And((Or(pair),))), And((Or((And(pair),)), Or(pair))), Not(Not(Or(pair)))]
    shapes += [And((Or(()), Not(Or(())))), Or((And(()), Not(And(())))), Not(And((And(()),)))]

    assert [] == [shape for shape in shapes if await differs(index, Query("", shape), world)]


async def test_too_deep_is_said(index, fill, world):
    """What the server cannot read so deep is a mistake of the query, with a hint."""
    await fill(world[0])
    condition = Is("bucket", ("pets",))
    for _ in range(60):
        condition = And((Or((condition, Is("status", ("failed",)))), Is("type", ("image/png",))))
    with pytest.raises(QueryError) as raised:
        await index.search(SearchRequest(query=Query("deep", condition)))

    assert raised.value.hint


async def test_totals_are_exact(index, fill):
    """The number of hits and the hits themselves go on beyond what a search of the server would give."""
    world = documents(1200)
    await fill(*world)
    page = await index.search(SearchRequest(query=EVERYTHING, limit=50, offset=1180, facets=("bucket",)))

    assert (1200, 20) == (page.total, len(page.hits))
    assert 1200 == sum(page.facets["bucket"].values())


async def test_facets_are_whole(index, fill):
    """More than a hundred values are counted, the most frequent first; those of one fold are one."""
    world = [labelled(number, f"label {number:03}", "common") for number in range(150)]
    await fill(*world)
    page = await index.search(SearchRequest(query=EVERYTHING, limit=0, facets=("labels", "when_day", "colour")))

    assert count_values(world, "labels") == page.facets["labels"]
    assert "common" == next(iter(page.facets["labels"]))
    assert {} == page.facets["colour"]


async def test_order_of_the_same_second(index, fill):
    """Pictures of the same second come by their keys, byte by byte; those without a score, and time, last."""
    world = documents_of_a_second()
    await fill(*world)

    assert not await differs(index, Query("", And(()), ("fox",)), world)


async def test_known_and_suggested(index, fill):
    """Words are known whole, by term or word; suggested are the terms that begin so, and no others."""
    world = [labelled(1, "kit fox", "red fox"), labelled(2, "red fox"), labelled(3, "redo foxglove", key="Zoo")]
    await fill(*world)

    assert {"kit fox", "zoo"} == await index.known(["kit fox", "zoo", "glove", "fo"])
    assert ["red fox", "redo foxglove"] == list(await index.suggest("red"))
    assert ["red fox"] == list(await index.suggest("red f"))
    assert [] == list(await index.suggest("red g"))
    assert 2 == len(await index.suggest("", 2))


def _sound(condition):
    """Prefixes as the parser gives them: without a blank at the end."""
    match condition:
        case And(parts) | Or(parts):
            return replace(condition, parts=tuple(map(_sound, parts)))
        case Not(part):
            return Not(_sound(part))
        case StartsWith(field, prefix):
            return StartsWith(field, prefix.rstrip())
    return condition
