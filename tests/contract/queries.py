"""Queries for every indexer on a server, and whether they find the same as everywhere, in the same order."""

from __future__ import annotations

from random import Random

from imgtag.errors import QueryError
from imgtag.plugin.indexer import SearchRequest
from imgtag.plugin.matching import rank_documents
from imgtag.query import And, Compare, Is, Near, Not, Query, Score, StartsWith, parse
from imgtag.types.document import document_id
from imgtag.types.folding import fold, normalise
from imgtag.types.ref import ObjectRef
from unit.sqlite.test_sqlite_queries import CHOSEN

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
UNINDEXED = (
    Is("colour", ("red",)),
    StartsWith("colour", ""),
    Compare("colour", ">", 1),
    Compare("words", "=", 1),
    Is("size", ("1000",)),
    Score("never seen", "<", 1),
    Is("meta.never", ("x",)),
    Near(0, 0, 0.0),
)
"""Conditions on fields that are not searched so."""


async def differs(index, query, world) -> bool:
    """Whether an index finds, orders or counts otherwise."""
    page = await index.search(SearchRequest(query=query, limit=len(world)))
    expected = [document["id"] for document in rank_documents(query, world)]
    return expected != [hit["id"] for hit in page.hits] or page.total != len(expected)


def throw_together(random: Random, count: int) -> list[Query]:
    """What comes of pieces of the language, where it is a query at all."""
    queries = []
    pieces = [*CHOSEN, " or ", " -", "(", ")", "not ", *HOSTILE[:18]]
    while len(queries) < count:
        try:
            queries.append(parse(" ".join(random.choices(pieces, k=random.randint(1, 5)))))
        except QueryError:
            continue
    return queries


def queries_of_labels() -> list[Query]:
    """Each hostile label by itself alone, filtered, compared and ordered by."""
    return [
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


def documents_of_a_second():
    """Of keys in an order of bytes; some without a score, one of them and another without a time."""
    keys = ["b", "B", "a", "A", "é", "z", "Z", "aa", "ä"]
    world = [labelled(number, "fox", key=key) for number, key in enumerate(keys)]
    del world[3]["when"], world[0]["scores"], world[1]["scores"], world[1]["when"]
    return world


def labelled(number, *labels, key=None):
    """A document, at the same second as the others."""
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
