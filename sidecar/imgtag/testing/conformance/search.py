"""What a search must find."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest

from imgtag.errors import Disposition, Incomparable
from imgtag.plugin.indexer import Indexer, Page, SearchRequest, Similar, SimilarRequest, Upsert
from imgtag.plugin.matching import rank_documents
from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith, parse
from imgtag.testing.conformance.conditions import queries
from imgtag.testing.conformance.corpus import ATTIC, BERNARD, CORPUS, DOG, KIT, LOCKED, direction, document
from imgtag.testing.conformance.service import ServiceConformance
from imgtag.types.document import Document
from imgtag.types.folding import normalise

Connect: TypeAlias = Callable[[], Indexer]

NAMES = {document["id"]: name for name, document in CORPUS.items()}
LABELLED = "attic bernard dessert dog kit locked percent plain"
EVERY = " ".join(sorted(CORPUS))
TEXTS = {
    # Words and terms.
    "fox": "attic kit",
    "foxes": "attic kit",
    "FOX": "attic kit",
    "fox*": "attic kit plain",
    "kit fox": "attic kit",
    '"kit fox"': "attic kit",
    '"kit fox 01"': "kit",
    '"fox 01"': "",
    '"kit"*': "attic kit",
    "creme": "dessert",
    "cr\u00e8me": "dessert",
    "animal": "attic dog kit",
    "zoo": "kit",
    "nosuchword": "",
    "\U0001f98a": "percent",
    # Confidence.
    "kit_fox>0.6": "kit",
    "kit_fox>0.61": "",
    "kit_fox>=0.61": "kit",
    "kit_fox@0.12": "attic kit",
    "kit_fox<0.5": "attic",
    "kit_fox<=0.12": "attic",
    "animal>0.92": "attic dog",
    '"st. bernard">0.39': "bernard",
    '"a \\"b\\" \\\\c">0.1': "bernard",
    '"it\'s; drop table"@0.1': "bernard",
    '"\U0001f98a">0.2': "percent",
    "confidence>0.6": "attic dog kit plain",
    # Fields.
    "label:kit_fox": "attic kit",
    "label:kit*": "attic kit",
    'label:"CR\u00c8ME BR\u00dbL\u00c9E"': "dessert",
    "label:creme*": "",
    "label:*": LABELLED,
    "bucket:attic": "attic",
    "bucket:ATTIC": "attic",
    "bucket:att": "",
    "prefix:2024/": "dog kit",
    "prefix:2024/zoo/": "kit",
    "prefix:2024/d": "dog",
    "prefix:100%_d": "percent",
    "prefix:100": "percent plain",
    "title:dog": "dog",
    "title:DO*": "dog",
    'title:"100%_done*"': "percent",
    "type:png": "dog",
    "type:image*": LABELLED,
    'camera:"canon eos r5"': "kit",
    "camera:caf\u00e9*": "dessert",
    'camera:"cafe cam"': "",
    "camera:*": "dessert kit",
    "category:animal": "attic dog kit",
    "model:lite0*": LABELLED,
    "meta.license:2": "kit",
    'meta.license:"cc-by 4.0"': "dessert",
    "meta.license:*": "dessert kit",
    "meta.nosuch:2": "",
    "status:failed": "bad",
    "status:unlabelled": "nothing",
    "status:*": EVERY,
    "fox status:*": "attic bad kit",
    "code:too_large status:*": "huge",
    "code:retention": "locked",
    # Numbers and dates.
    "size>1MB": "kit",
    "size>=1MB": "attic kit",
    "size=1MB": "attic",
    "size>8GB status:refused": "huge",
    "width>4000": "kit",
    "width>=4000": "dessert kit",
    "width<4000": "dog",
    "height=480": "dog",
    "after:2024": "attic dessert kit locked percent plain",
    "before:2024": "bernard dog",
    "on:2024-01-01": "dessert locked percent plain",
    "on:2024-07": "kit",
    "on:2023": "bernard dog",
    # Places.
    "near:46.5,7.9,10km": "kit",
    "near:46.5,7.9,6km": "",
    "near:-17,-179.95,20km": "attic",
    "near:0,0,21000km": "attic kit",
    # Together.
    "fox -dog": "attic kit",
    "animal -fox": "dog",
    "-animal": "bernard dessert locked percent plain",
    "-kit_fox>0.5": "attic bernard dessert dog locked percent plain",
    "-camera:*": "attic bernard dog locked percent plain",
    "-width>1000": "attic bernard dog locked percent plain",
    "-near:46.5,7.9,10km": "attic bernard dessert dog locked percent plain",
    "dog OR owl": "dog locked",
    "dog OR owl bucket:attic": "dog",
    "(dog OR fox) bucket:attic": "attic",
    "-(dog OR fox)": "bernard dessert locked percent plain",
    "not not dog": "dog",
    "": LABELLED,
}
"""Query -> names of the documents that it finds."""
CONDITIONS: dict[str, tuple[Condition, str]] = {
    "every document": (And(()), EVERY),
    "no document": (Or(()), ""),
    "not every document": (Not(And(())), ""),
    "not no document": (Not(Or(())), EVERY),
    "one of several values": (Is("bucket", ("attic", "nosuch", "wildlife")), EVERY),
    "no values": (Is("bucket", ()), ""),
    "a value of a list": (Is("prefixes", ("2024/zoo/", "empty/")), "kit nothing"),
    "an absent field": (Is("camera", ("",)), ""),
    "the field is there": (StartsWith("code", ""), "bad huge locked"),
    "a list with something": (StartsWith("labels", ""), LABELLED),
    "a number": (Compare("size", "=", 9e9), "huge"),
    "an absent number below": (Compare("width", "<", 1e9), "dessert dog kit"),
    "an absent label below": (Score("owl", "<", 1.0), "locked"),
    "an absent place": (Near(0, 0, 3e7), "attic kit"),
    "deep": (Not(And((Or((Is("status", ("failed",)), Not(Is("status", ("refused",))))),))), "huge"),
    "wide": (Or(tuple(Is("words", (f"no{number}", "owl")) for number in range(300))), "locked"),
}
RANDOM = 400


class SearchConformance(ServiceConformance):
    """A query finds the same documents, in the same order, in every indexer."""

    @pytest.fixture
    async def indexer(self, connect: Connect) -> AsyncIterator[Indexer]:
        """The indexer, entered and empty."""
        async with connect() as indexer:
            await indexer.setup(apply=True)
            yield indexer

    @pytest.fixture
    async def filled(self, indexer: Indexer) -> Indexer:
        """The indexer with the documents of ``CORPUS``."""
        outcomes = await indexer.apply([Upsert(document) for document in CORPUS.values()])
        assert [outcome.error for outcome in outcomes] == [None] * len(CORPUS)
        return indexer

    @pytest.mark.parametrize("text", TEXTS)
    async def test_query_finds(self, filled: Indexer, text: str) -> None:
        """Each form of the query language finds what it says, and nothing else."""
        assert await _found(filled, parse(text)) == TEXTS[text].split()

    @pytest.mark.parametrize("name", CONDITIONS)
    async def test_condition_holds(self, filled: Indexer, name: str) -> None:
        """A condition is true or false of each document, also where it lacks the field."""
        condition, found = CONDITIONS[name]

        assert await _found(filled, Query(name, condition)) == sorted(found.split())

    async def test_random_queries(self, filled: Indexer) -> None:
        """Whatever is combined, hits and order are those of the reference in ``imgtag.plugin.matching``."""
        for query in queries(seed=1, count=RANDOM):
            page = await filled.search(SearchRequest(query=query, limit=100))
            assert _names(page.hits) == _names(rank_documents(query, CORPUS.values())), query
            assert page.total == len(page.hits)

    async def test_long_values(self, indexer: Indexer) -> None:
        """Values are compared whole, also where they agree in their first thousand bytes."""
        folder = "/".join("\u00e4" * 60 for _ in range(7))
        keys = [f"{folder}/{name}/{name * 120}.jpg" for name in "ab"]
        user = [{"license": "x" * 1_000 + name} for name in "ab"]
        await indexer.apply(
            [Upsert(document(key, {"owl": 0.5}, user=meta)) for key, meta in zip(keys, user, strict=True)]
        )
        for number, condition in (
            (1, Is("prefixes", (f"{normalise(folder)}/a/",))),
            (2, Is("prefixes", (f"{normalise(folder)}/",))),
            (1, StartsWith("prefixes", f"{normalise(folder)}/a")),
            (0, Is("prefixes", (f"{normalise(folder)}/a",))),
            (1, StartsWith("key", normalise(keys[0]))),
            (1, StartsWith("key", normalise(keys[0])[:-5])),
            (2, StartsWith("key", normalise(folder))),
            (1, Is("meta.license", ("x" * 1_000 + "a",))),
            (0, Is("meta.license", ("x" * 1_000,))),
            (2, StartsWith("meta.license", "x" * 1_000)),
            (2, Is("meta.license", ("x" * 1_000 + "a", "no", "x" * 1_000 + "b"))),
            (1, Not(StartsWith("meta.license", "x" * 1_000 + "b"))),
        ):
            page = await indexer.search(SearchRequest(query=Query("", condition), facets=("words", "prefixes")))
            assert page.total == len(page.hits) == number, condition
            assert set(page.facets["prefixes"]) <= {prefix for hit in page.hits for prefix in hit["prefixes"]}
            assert set(page.facets["words"]) <= {word for hit in page.hits for word in hit["words"]}

    async def test_times_before_1970(self, indexer: Indexer) -> None:
        """Old photographs are found by their dates, and ordered by them."""
        taken = {"1955": -460_296_000, "1969": -1, "1970": 0, "1066": -28_501_070_400}
        for name, moment in taken.items():
            await indexer.apply([Upsert(document(f"{name}.jpg", {"owl": 0.5}, facts={"taken": moment}))])
        for text, names in {
            "": "1970 1969 1955 1066",
            "before:1960": "1955 1066",
            "before:1970": "1969 1955 1066",
            "after:1955-06 before:1956": "1955",
            "after:1960": "1970 1969",
            "on:1955-06-01": "1955",
            "on:1955-05-31": "",
            "on:1066": "1066",
            "-before:1970": "1970",
        }.items():
            page = await indexer.search(SearchRequest(query=parse(text)))
            assert [hit["title"] for hit in page.hits] == names.split(), text

    async def test_order_by_confidence(self, filled: Indexer) -> None:
        """The surest of the first label come first, then of the second; who lacks a label comes last."""
        query = Query("", Is("category", ("animal", "plant")), ("dalmatian", "red fox"))
        page = await filled.search(SearchRequest(query=query))

        assert _names(page.hits) == ["dog", "attic", "kit", "plain"]

    async def test_order_by_time(self, filled: Indexer) -> None:
        """Without labels the newest come first."""
        page = await filled.search(SearchRequest(query=parse("")))

        assert _names(page.hits) == ["kit", "attic", "locked", "plain", "percent", "dessert", "dog", "bernard"]

    async def test_order_of_equals(self, indexer: Indexer) -> None:
        """What is equal otherwise comes by the bytes of its key, then of its bucket."""
        names = [("b", "b"), ("b", "a"), ("\u00e9", "a"), ("a", "b"), ("a", "a"), ("c", "a")]
        await indexer.apply([Upsert(document(key, {"owl": 0.5}, bucket=bucket)) for key, bucket in names])
        for query in (parse(""), parse("owl")):
            hits = (await indexer.search(SearchRequest(query=query))).hits
            assert [(hit["key"], hit["bucket"]) for hit in hits] == sorted(names), query.text

    async def test_pages(self, filled: Indexer) -> None:
        """Pages follow on each other without gap or overlap, and each knows the number of all."""
        whole = await filled.search(SearchRequest(query=parse("")))
        pages = [await filled.search(SearchRequest(query=parse(""), limit=3, offset=start)) for start in (0, 3, 6, 9)]

        assert [name for page in pages for name in _names(page.hits)] == _names(whole.hits)
        assert [len(page.hits) for page in pages] == [3, 3, 2, 0]
        assert {page.total for page in pages} == {8}

    async def test_no_hits_wanted(self, filled: Indexer) -> None:
        """A limit of 0 gives the number and the facets alone."""
        page = await filled.search(SearchRequest(query=parse("fox"), limit=0, facets=("bucket",)))

        assert list(page.hits) == []
        assert page.total == 2
        assert _counts(page, "bucket") == {"attic": 1, "wildlife": 1}

    async def test_hits_are_documents(self, filled: Indexer) -> None:
        """A hit has all fields of its document."""
        (hit,) = (await filled.search(SearchRequest(query=parse("bucket:attic")))).hits

        assert _shown(hit) == _shown(CORPUS["attic"])

    async def test_facets(self, filled: Indexer) -> None:
        """Values are counted over all hits, whatever the page; what is absent counts nowhere."""
        fields = ("labels", "category", "status", "bucket", "when_month", "camera", "type")
        page = await filled.search(SearchRequest(query=parse("animal"), limit=1, facets=fields))

        assert _counts(page, "labels") == {"kit fox": 2, "red fox": 2, "dalmatian": 1}
        assert _counts(page, "category") == {"animal": 3}
        assert _counts(page, "status") == {"labelled": 3}
        assert _counts(page, "bucket") == {"attic": 1, "wildlife": 2}
        assert _counts(page, "when_month") == {"2024-07": 1, "2024-01": 1, "2023-12": 1}
        assert _counts(page, "camera") == {"Canon EOS R5": 1}
        assert _counts(page, "type") == {"image/jpeg": 2, "image/png": 1}

    async def test_facets_of_nothing(self, filled: Indexer) -> None:
        """Where nothing is found nothing is counted."""
        page = await filled.search(SearchRequest(query=parse("nosuchword"), facets=("labels",)))

        assert page.total == 0
        assert _counts(page, "labels") == {}

    async def test_similar_nearest_first(self, filled: Indexer) -> None:
        """What points most nearly the same way comes first, each with its cosine; never the document itself."""
        found = await _similar(filled, KIT["id"])

        assert [NAMES[each.document["id"]] for each in found] == ["attic", "dog", "dessert", "plain"]
        assert [each.similarity for each in found] == pytest.approx([0.966, 0.766, 0, -1], abs=0.01)

    async def test_similar_are_documents(self, filled: Indexer) -> None:
        """What is found has all fields of its document."""
        (found, *_) = await _similar(filled, KIT["id"])

        assert _shown(found.document) == _shown(ATTIC)

    async def test_similar_in_one_space(self, filled: Indexer) -> None:
        """Vectors of another model or projection are never compared, though they be equal."""
        assert await _similar(filled, BERNARD["id"]) == []
        assert BERNARD["id"] not in [each.document["id"] for each in await _similar(filled, KIT["id"], "status:*")]

    async def test_similar_in_a_query(self, filled: Indexer) -> None:
        """Only what the query finds is compared, as far as there is any; what it orders by does not count."""
        for text, names in {
            "bucket:wildlife": "dog dessert plain",
            "dalmatian OR foxglove OR kit_fox": "attic dog plain",
            "status:*": "nothing attic dog dessert plain",
            "nosuchword": "",
        }.items():
            found = await _similar(filled, KIT["id"], text)
            assert [NAMES[each.document["id"]] for each in found] == names.split(), text

    async def test_similar_limit(self, filled: Indexer) -> None:
        """The nearest are given, and no more of them than are wanted."""
        two = await filled.similar(SimilarRequest(id=DOG["id"], query=parse(""), limit=2))
        none = await filled.similar(SimilarRequest(id=DOG["id"], query=parse(""), limit=0))

        assert [NAMES[each.document["id"]] for each in two] == ["kit", "dessert"]
        assert list(none) == []

    async def test_similar_of_what_has_no_vector(self, filled: Indexer) -> None:
        """A document without a vector, and one that is not there, are errors that say so; nothing is tried again."""
        for id_, code in ((LOCKED["id"], "no_vector"), ("no-such-id", "absent")):
            with pytest.raises(Incomparable) as caught:
                await _similar(filled, id_)
            assert caught.value.code == code
            assert caught.value.disposition is Disposition.DROP

    async def test_similar_follows_changes(self, filled: Indexer) -> None:
        """A newer document is compared by its own vector, or not at all where it has none."""
        turned = document(ATTIC["key"], {"owl": 0.5}, bucket=ATTIC["bucket"], vec=direction(170))
        await filled.apply([Upsert(turned), Upsert(document(DOG["key"], {"dalmatian": 0.9}))])
        found = await _similar(filled, KIT["id"])

        assert [NAMES[each.document["id"]] for each in found] == ["dessert", "attic", "plain"]

    async def test_empty_index(self, indexer: Indexer) -> None:
        """An index without documents is searched like any other."""
        page = await indexer.search(SearchRequest(query=parse("fox"), facets=("labels",)))

        assert (list(page.hits), page.total) == ([], 0)


async def _found(indexer: Indexer, query: Query) -> list[str]:
    page = await indexer.search(SearchRequest(query=query, limit=100))
    assert page.total == len(page.hits)
    return sorted(_names(page.hits))


async def _similar(indexer: Indexer, id_: str, text: str = "") -> list[Similar]:
    return list(await indexer.similar(SimilarRequest(id=id_, query=parse(text))))


def _names(hits: object) -> list[str]:
    assert isinstance(hits, list | tuple)
    return [NAMES[hit["id"]] for hit in hits]


def _counts(page: Page, field: str) -> dict[str, int]:
    return {value: count for value, count in page.facets.get(field, {}).items() if count}


def _shown(document: Document) -> dict[str, object]:
    """Without the vector, which engines give out only when asked for it."""
    return {name: value for name, value in document.items() if name != "_vectors"}
