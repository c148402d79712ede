"""The same query finds the same objects as everywhere, in the same order."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from imgtag.errors import QueryError
from imgtag.plugin import count_values
from imgtag.plugin.indexer import SearchRequest
from imgtag.plugin.matching import rank_documents
from imgtag.query import And, Compare, Is, Near, Not, Or, Query, Score, StartsWith, parse
from imgtag.types.document import document_id
from imgtag.types.folding import fold, normalise
from imgtag.types.ref import ObjectRef
from unit.sqlite.documents import documents
from unit.sqlite.test_sqlite_queries import CHOSEN, _condition, _ranking

pytestmark = pytest.mark.anyio

EVERYTHING = Query("", And(()))
HOSTILE = [
    "Mother's day",
    'a "quoted" one',
    "dot.ted",
    "back\\slash",
    "\\",
    '\\"',
    '"',
    "'",
    "''",
    "\\n",
    "\\x20",
    "\\u{41}",
    "ends in \\",
    "café",
    "100% wool",
    "x:y",
    "a:desc",
    "comma, label",
    "🦊",
    "to",
    "not",
    "_georadius(1,2,3)",
    "in [a]",
    ") or (bucket exists",
    '" or bucket exists or "',
    "a\tb",
    "new\nline",
    "a|b",
    "nul\0",
    "ﬁne",
    "ΟΔΟΣ",
    "straße",
    "日本語",
    "a" * 400,
]


@pytest.fixture
def world():
    """A few hundred documents."""
    return documents(300)


async def _differs(index, query, world):
    page = await index.search(SearchRequest(query=query, limit=len(world)))
    expected = [document["id"] for document in rank_documents(query, world)]
    return expected != [hit["id"] for hit in page.hits] or page.total != len(expected)


async def test_chosen_queries(index, fill, world):
    """Every kind of leaf, alone and together, as people write them."""
    await fill(*world)

    assert [] == [text for text in CHOSEN if await _differs(index, parse(text), world)]


async def test_random_conditions(index, fill, world):
    """Two hundred expressions, negations of absent fields among them."""
    await fill(*world)
    random = Random(3)
    queries = [Query("", _sound(_condition(random, 3)), _ranking(random)) for _ in range(200)]

    assert [] == [query for query in queries if await _differs(index, query, world)]


async def test_random_texts(index, fill, world):
    """What comes of the pieces of the language thrown together, where it is a query at all."""
    await fill(*world)
    random, queries = Random(7), []
    pieces = [*CHOSEN, " or ", " -", "(", ")", "not ", *HOSTILE[:18]]
    while len(queries) < 80:
        try:
            queries.append(parse(" ".join(random.choices(pieces, k=random.randint(1, 5)))))
        except QueryError:
            continue

    assert [] == [query.text for query in queries if await _differs(index, query, world)]


async def test_whatever_a_label_is(index, fill):
    """Each label is found by itself alone, filtered, compared and ordered by, whatever characters it has."""
    world = [_labelled(number, label) for number, label in enumerate(HOSTILE)]
    await fill(*world)
    queries = [
        query
        for label in HOSTILE
        for query in (
            Query(label, Is("labels", (normalise(label),))),
            Query(label, Is("terms", (fold(label),))),
            Query(label, StartsWith("labels", normalise(label))),
            Query(label, Score(label, ">=", 0.5)),
            Query(label, Not(Score(label, ">", 0)), (label,)),
            Query(label, And(()), (label, "to")),
        )
    ]

    assert [] == [query for query in queries if await _differs(index, query, world)]


async def test_fields_without_a_rule_find_nothing(index, fill, world):
    """A condition on a field without a filter matches nothing, without an error; its negation everything."""
    await fill(*world)
    leaves = [Is("colour", ("red",)), StartsWith("colour", ""), Compare("colour", ">", 1), Compare("words", "=", 1)]
    leaves += [Is("size", ("1000",)), Score("never seen", "<", 1), Is("meta.never", ("x",)), Near(0, 0, 0.0)]
    for leaf in leaves:
        assert 0 == (await index.search(SearchRequest(query=Query("", leaf)))).total
        assert len(world) == (await index.search(SearchRequest(query=Query("", Not(leaf))))).total


async def test_single_parts_keep_their_meaning(index, fill, world):
    """Joins of one part, and of none, within each other."""
    await fill(*world)
    pair = (Is("bucket", ("pets",)), Is("status", ("failed",)))
    shapes = [Not(Or((And(pair),))), Not(And((Or(pair),))), And((Or((And(pair),)), Or(pair))), Not(Not(Or(pair)))]
    shapes += [And((Or(()), Not(Or(())))), Or((And(()), Not(And(())))), Not(And((And(()),)))]

    assert [] == [shape for shape in shapes if await _differs(index, Query("", shape), world)]


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
    world = [_labelled(number, f"label {number:03}", "common") for number in range(150)]
    await fill(*world)
    page = await index.search(SearchRequest(query=EVERYTHING, limit=0, facets=("labels", "when_day", "colour")))

    assert count_values(world, "labels") == page.facets["labels"]
    assert "common" == next(iter(page.facets["labels"]))
    assert {} == page.facets["colour"]


async def test_order_of_the_same_second(index, fill):
    """Pictures of the same second come by their keys, byte by byte; those without a score, and time, last."""
    keys = ["b", "B", "a", "A", "é", "z", "Z", "aa", "ä"]
    world = [_labelled(number, "fox", key=key) for number, key in enumerate(keys)]
    del world[3]["when"], world[0]["scores"], world[1]["scores"], world[1]["when"]
    await fill(*world)

    assert not await _differs(index, Query("", And(()), ("fox",)), world)


async def test_known_and_suggested(index, fill):
    """Words are known whole, by term or word; suggested are the terms that begin so, and no others."""
    world = [_labelled(1, "kit fox", "red fox"), _labelled(2, "red fox"), _labelled(3, "redo foxglove", key="Zoo")]
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


def _labelled(number, *labels, key=None):
    key = key or f"{number:04}.jpg"
    return {
        "id": document_id("home", ObjectRef("pets", key)),
        "site": "home",
        "bucket": "pets",
        "key": key,
        "status": "labelled",
        "when": 1_700_000_000,
        "when_day": "2023-11-14",
        "words": [fold(key)],
        "labels": list(labels),
        "terms": sorted({fold(label) for label in labels}),
        "scores": {label: round(0.5 + number / 1000, 2) for label in labels},
        "_vectors": {"img": None},
    }
