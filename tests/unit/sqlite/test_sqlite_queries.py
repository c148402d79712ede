"""The index finds what the condition says, and nothing else, in the right order."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from imgtag.errors import QueryError
from imgtag.plugin.indexer import SearchRequest
from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith, parse
from imgtag.types.folding import fold, normalise, words
from imgtag_sqlite.indexer import SqliteIndexer
from unit.sqlite.documents import ANCESTORS, CAMERAS, FOLDERS, NAMES, START
from unit.sqlite.oracle import answer

CHOSEN = [
    "",
    "fox",
    "foxes",
    "kit fox",
    '"kit fox"',
    "kit_fox@0.4",
    '"kit fox">0.61',
    "fox<0.5",
    "-fox>0.4",
    "fox* -dog",
    "fo*",
    '"kit f"*',
    "cafe",
    "café>0.3",
    "CAFÉ",
    r'"a \"quoted\" one"@0.2',
    r'"back\slash"',
    "🦊",
    "mother's",
    "label:x:y OR label:to",
    'label:"100% wool"',
    "bucket:PETS fox OR wolf",
    "not (bucket:pets or fox)",
    "prefix:2024/zoo/",
    "prefix:2024/Z",
    "prefix:zoo/",
    'prefix:"2023/alps ü/"',
    'title:"DSC 0042 edit*"',
    "title:img*",
    "img_12*",
    "zoe dog",
    "type:jpeg camera:canon*",
    "-camera:* type:image/*",
    "after:2022-07 before:2024-01-15",
    "on:2023 width>4000 size<=5MB",
    "near:46.5,7.9,10km OR near:0,180,20km",
    "near:-90,0,20000km -near:46.5,7.9,1km",
    "status:failed",
    "fox OR status:refused code:too_large",
    "status:* -status:labelled",
    "meta.license:2 confidence>0.5",
    "model:EfficientNet-lite0@5f2c9a1b category:animal",
    "2024 -foxes -wolf or straße",
]


@pytest.mark.anyio
async def test_chosen_queries(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """Every kind of leaf, alone and together, as people write them."""
    wrong = [text for text in CHOSEN if not await _agrees(filled, parse(text), world)]

    assert [] == wrong
    assert 37 <= len(CHOSEN)


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(4))
async def test_random_conditions(filled: SqliteIndexer, world: list[dict[str, Any]], seed: int) -> None:
    """Two hundred algebraic expressions each, negations of absent fields among them."""
    random = Random(seed)
    queries = [Query("", _condition(random, 3), _ranking(random)) for _ in range(200)]

    assert [] == [query for query in queries if not await _agrees(filled, query, world)]


@pytest.mark.anyio
async def test_random_texts(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """What comes of the pieces of the language thrown together, where it is a query at all."""
    random, queries = Random(7), []
    pieces = [*CHOSEN, " or ", " -", "(", ")", "not ", *ANCESTORS, *NAMES]
    while len(queries) < 300:
        try:
            queries.append(parse(" ".join(random.choices(pieces, k=random.randint(1, 5)))))
        except QueryError:
            continue

    assert [] == [query.text for query in queries if not await _agrees(filled, query, world)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE documents; --",
        '" OR 1=1 --',
        'terms : "fox"',
        "fox NEAR/2 dog",
        "{terms words}",
        '"fox\0"',
        "fox\0dog*",
        "% _ ?",
        "?1",
        '"] [x',
        "title:'%'",
        'label:"%"*',
        "meta.a'b:c",
        'meta.a"]:*',
        '"\U0010ffff"*',
        "title:\ud7ff*",
        "title:\U0010ffff*",
        "\ud800",
        "^fox + fox",
        "a b " * 100,
        "a or " * 199 + "b",
        "-(" * 25 + "fox" + ")" * 25,
    ],
)
async def test_hostile_texts(filled: SqliteIndexer, world: list[dict[str, Any]], text: str) -> None:
    """Nothing that is typed is ever SQL or FTS5 syntax."""
    try:
        query = parse(text)
    except QueryError:
        return

    assert await _agrees(filled, query, world)


@pytest.mark.anyio
async def test_unknown_fields_find_nothing(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """A field that no document has is no error; its negation is everything."""
    for leaf in (Is("colour", ("red",)), StartsWith("colour", ""), Compare("colour", ">", 1), Is("bucket", ())):
        assert 0 == (await filled.search(SearchRequest(query=Query("", leaf)))).total
        assert len(world) == (await filled.search(SearchRequest(query=Query("", Not(leaf))))).total


async def _agrees(index: SqliteIndexer, query: Query, world: list[dict[str, Any]]) -> bool:
    expected = answer(query, world)
    page = await index.search(SearchRequest(query=query, limit=len(world)))
    return page.total == len(expected) and expected == [hit["id"] for hit in page.hits]


def _condition(random: Random, depth: int) -> Condition:
    kind = random.random() if depth else 1
    if kind < 0.2:
        return Not(_condition(random, depth - 1))
    if kind < 0.6:
        join = random.choice((And, Or))
        return join(tuple(_condition(random, depth - 1) for _ in range(random.randint(0, 3))))
    return random.choice((_is, _starts_with, _compare, _score, _near))(random)


def _is(random: Random) -> Condition:
    field, values = random.choice(_vocabulary())
    return Is(field, tuple(random.choices(values, k=random.randint(1, 3))))


def _starts_with(random: Random) -> Condition:
    field, values = random.choice(_vocabulary())
    return StartsWith(field, random.choice(values)[: random.randint(0, 5)])


def _compare(random: Random) -> Condition:
    field, numbers = random.choice(
        [
            ("when", [START + 86400 * day for day in (0, 400, 800)]),
            ("size", [1000, 5e6]),
            ("width", [1000, 4000, 4000.5]),
            ("height", [800]),
            ("top_confidence", [0.1, 0.5]),
        ]
    )
    return Compare(field, random.choice((">", ">=", "<", "<=", "=")), random.choice(numbers))


def _score(random: Random) -> Condition:
    label = random.choice([*ANCESTORS, "fox", "animal", "Fox", "zebra"])
    return Score(label, random.choice((">", ">=", "<", "<=")), random.randint(0, 100) / 100)


def _near(random: Random) -> Condition:
    place = random.choice([(46.5, 7.9), (90.0, 0.0), (0.0, 180.0), (0.0, -180.0), (-33.0, 151.0)])
    return Near(*place, random.choice([1.0, 5e3, 1e5, 2e6, 2.1e7]))


def _ranking(random: Random) -> tuple[str, ...]:
    return tuple(random.sample([*ANCESTORS, "fox", "animal", "zebra"], random.randint(0, 3)))


def _vocabulary() -> list[tuple[str, list[str]]]:
    terms = [fold(label) for label in ANCESTORS] + ["fox", "animal", "kit", "zebra"]
    return [
        ("terms", terms),
        ("words", [word for name in NAMES for word in words(name)] + ["2024", "zoo", "000001"]),
        ("title", [normalise(name) for name in NAMES]),
        ("key", [normalise(folder + "img") for folder in FOLDERS]),
        ("labels", [normalise(label) for label in ANCESTORS]),
        ("ancestors", ["fox", "animal", "event"]),
        ("prefixes", [normalise(folder) for folder in FOLDERS if folder]),
        ("camera", [normalise(camera) for camera in CAMERAS if camera]),
        ("bucket", ["wildlife", "pets"]),
        ("status", ["labelled", "failed"]),
        ("meta.license", ["1", "2", "4"]),
        ("meta.By", [normalise("zoë"), "zoe"]),
    ]
