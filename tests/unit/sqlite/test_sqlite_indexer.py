"""What the indexer promises of documents put, deleted, counted and read again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from imgtag.errors import Disposition
from imgtag.plugin.indexer import Delete, Outcome, SearchRequest, Upsert
from imgtag.plugin.spec import PluginSpec
from imgtag.query import And, Query, parse
from imgtag.types.ref import Scope
from imgtag_sqlite import SPEC
from imgtag_sqlite.indexer import SqliteIndexer
from unit.sqlite.documents import documents
from unit.sqlite.oracle import holds

EVERYTHING = Query("", And(()))


async def _ids(index: SqliteIndexer, text: str) -> set[str]:
    page = await index.search(SearchRequest(query=parse(text), limit=10_000))
    return {hit["id"] for hit in page.hits}


@pytest.mark.anyio
async def test_a_document_comes_back_byte_for_byte(index: SqliteIndexer) -> None:
    """Fields in their order, text in any script."""
    document = documents(1)[0] | {"reason": 'NUL \0, "quotes", 🦊, ü', "extra": [1, 2.5, None, {"b": 1, "a": 2}]}
    await index.apply([Upsert(document)])

    assert json.dumps(document) == json.dumps((await index.get([document["id"]]))[document["id"]])


@pytest.mark.anyio
async def test_get_leaves_out_what_is_absent(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """Any number of ids may be asked for."""
    ids = [document["id"] for document in world]
    stored = await filled.get([*ids, *(f"absent{number}" for number in range(2000))])

    assert {document["id"]: document for document in world} == stored
    assert {} == await filled.get([])


@pytest.mark.anyio
async def test_a_newer_document_takes_the_place_of_the_older(index: SqliteIndexer) -> None:
    """Nothing of the older one is found any more."""
    old = {"id": "1", "site": "s", "bucket": "b", "key": "k", "status": "labelled", "terms": ["fox"], "labels": ["fox"]}
    new = {"id": "1", "site": "s", "bucket": "b", "key": "k", "status": "labelled", "terms": ["dog"], "words": ["z"]}
    await index.apply([Upsert(old | {"scores": {"fox": 0.5}, "camera": "A", "width": 1, "meta": {"a": "b"}})])
    await index.apply([Upsert(new)])

    for text in ("fox", "fox>0", "label:fox", "camera:*", "width>0", "meta.a:*"):
        assert set() == await _ids(index, text)
    assert {"1"} == await _ids(index, "dog z")


@pytest.mark.anyio
async def test_changes_are_made_in_order(index: SqliteIndexer) -> None:
    """A deletion after an upsert wins, and the other way round."""
    first, second = documents(2)
    changes = [Delete(first["id"]), Upsert(first), Upsert(second), Delete(second["id"]), Delete("never seen")]
    outcomes = await index.apply(changes)

    assert [Outcome(change.id) for change in changes] == outcomes
    assert {first["id"]} == (await index.get([first["id"], second["id"]])).keys()


@pytest.mark.anyio
async def test_nothing_stays_of_deleted_documents(
    filled: SqliteIndexer, world: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Not in hits, not in counts, not in suggestions, and not in any table."""
    await filled.apply([Delete(document["id"]) for document in world])
    page = await filled.search(SearchRequest(query=EVERYTHING, facets=("labels", "prefixes")))

    assert (0, [], {"labels": {}, "prefixes": {}}) == (page.total, page.hits, page.facets)
    assert [] == await filled.suggest("")
    assert frozenset() == await filled.known(["fox", "animal"])
    assert 0 == await filled.count("local", Scope("pets"))
    with closing(sqlite3.connect(tmp_path / "index.sqlite3")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled_tables = {name for name in tables if connection.execute(f'SELECT 1 FROM "{name}"').fetchone()}
    assert {"index_id"} == filled_tables


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": None}, "it has no id"),
        ({"id": ""}, "it has no id"),
        ({"key": 7}, "key is not text"),
        ({"width": float("nan")}, "not JSON compliant"),
        ({"width": "wide"}, "width is not a finite number"),
        ({"width": True}, "width is not a finite number"),
        ({"scores": {"fox": "much"}}, "scores.fox is not a finite number"),
        ({"scores": ["fox"]}, "'list' object"),
        ({"labels": [1]}, "labels holds something other than text"),
        ({"_geo": {"lat": 91, "lng": 0}}, "not a place on the globe"),
        ({"_geo": {"lat": None, "lng": 0}}, "not a place on the globe"),
        ({"key": "half a pair \ud800"}, "surrogates not allowed"),
        ({"extra": object()}, "not JSON serializable"),
    ],
)
async def test_one_bad_document_fails_alone(index: SqliteIndexer, wrong: dict[str, Any], message: str) -> None:
    """The others of its batch are applied, and it is dropped, not tried again for ever."""
    first, bad, last = documents(3)
    outcomes = await index.apply([Upsert(first), Upsert(bad | wrong), Upsert(last)])
    failed = outcomes[1].error

    assert failed is not None
    assert message in failed.message
    assert (Disposition.DROP, "document") == (failed.disposition, failed.code)
    assert [None, None] == [outcomes[0].error, outcomes[2].error]
    assert {first["id"], last["id"]} == (await index.get([document["id"] for document in documents(3)])).keys()


@pytest.mark.anyio
async def test_numbers_without_bounds(index: SqliteIndexer) -> None:
    """An integer beyond what SQLite holds is compared all the same."""
    document = documents(1)[0] | {"size": 10**30, "status": "labelled"}
    await index.apply([Upsert(document)])

    assert {document["id"]} == await _ids(index, "size>999999GB")


@pytest.mark.anyio
async def test_pages_and_total(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """The total is exact on every page, the pages together are everything once, in order."""
    request = SearchRequest(query=EVERYTHING, limit=10_000)
    everything = [hit["id"] for hit in (await filled.search(request)).hits]
    pages = [
        await filled.search(SearchRequest(query=EVERYTHING, limit=70, offset=offset)) for offset in range(0, 420, 70)
    ]

    assert everything == [hit["id"] for page in pages for hit in page.hits]
    assert {len(world)} == {page.total for page in pages}
    beyond = await filled.search(SearchRequest(query=EVERYTHING, offset=9999))
    nothing = await filled.search(SearchRequest(query=EVERYTHING, limit=0))
    assert (len(world), [], len(world), []) == (beyond.total, beyond.hits, nothing.total, nothing.hits)


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", "status:*", "fox", "kit_fox@0.9", "zebra"])
async def test_facets(filled: SqliteIndexer, world: list[dict[str, Any]], text: str) -> None:
    """Counts are of all hits, with values as they are shown, the most frequent first."""
    fields = ("labels", "ancestors", "category", "bucket", "status", "when_month", "when_day", "model", "type")
    page = await filled.search(SearchRequest(query=parse(text), limit=1, facets=(*fields, "top_label", "colour")))
    hits = [document for document in world if holds(parse(text).condition, document)]

    assert {} == page.facets["colour"]
    for field in (*fields, "top_label"):
        values = [document.get(field, ()) for document in hits]
        expected = Counter(one for value in values for one in ([value] if isinstance(value, str) else value))
        assert expected == page.facets[field]
        assert sorted(page.facets[field].values(), reverse=True) == list(page.facets[field].values())


@pytest.mark.anyio
async def test_facets_count_without_case_and_show_one_spelling(filled: SqliteIndexer, world: list[Any]) -> None:
    """Two spellings of a camera are one value."""
    page = await filled.search(SearchRequest(query=EVERYTHING, facets=("camera",)))
    expected = Counter(document["camera"].lower() for document in world if "camera" in document)

    assert expected == {shown.lower(): count for shown, count in page.facets["camera"].items()}
    assert 2 == len(page.facets["camera"])


@pytest.mark.anyio
@pytest.mark.parametrize("prefix", ["", "2024/", "2024/Zoo/", "Zoo/a*b/", "nowhere/", "2023/alps ü"])
async def test_scan_and_count(index: SqliteIndexer, prefix: str) -> None:
    """The keys of one site and scope, in the order of their bytes, over many pages."""
    world = [*documents(1300), *documents(50, seed=2, site="other")]
    await index.apply([Upsert(document) for document in world])
    scope = Scope("wildlife", prefix)
    expected = sorted(
        (d for d in world if d["site"] == "local" and d["bucket"] == "wildlife" and d["key"].startswith(prefix)),
        key=lambda document: document["key"].encode(),
    )

    assert expected == [document async for document in index.scan("local", scope)]
    assert len(expected) == await index.count("local", scope)


@pytest.mark.anyio
async def test_scan_orders_by_bytes(index: SqliteIndexer) -> None:
    """Not by UTF-16, not by case."""
    keys = ["a", "B", "Z", "é", "\uffff", "🦊", "a/b", "a b", "a\0"]
    document = {"site": "s", "bucket": "b"}
    await index.apply([Upsert(document | {"id": key, "key": key}) for key in keys])

    assert sorted(keys, key=str.encode) == [d["key"] async for d in index.scan("s", Scope("b"))]


@pytest.mark.anyio
async def test_scan_gives_the_fields_that_are_wanted(filled: SqliteIndexer) -> None:
    """And the key always."""
    stored = [document async for document in filled.scan("local", Scope("pets"), fields=("size", "code"))]

    assert {frozenset({"key", "size"}), frozenset({"key", "size", "code"})} == {frozenset(d) for d in stored}


@pytest.mark.anyio
async def test_scan_holds_nothing_while_it_waits(filled: SqliteIndexer, world: list[dict[str, Any]]) -> None:
    """What is changed between two of its pages does not disturb it."""
    seen = []
    async for document in filled.scan("local", Scope("pets")):
        await filled.apply([Delete(document["id"]), Upsert(document)])
        seen.append(document["key"])

    assert sorted((d["key"] for d in world if d["bucket"] == "pets"), key=str.encode) == seen


@pytest.mark.anyio
async def test_readers_and_writer_at_once(index: SqliteIndexer) -> None:
    """Searches see whole batches only, while others are written."""
    batches = [documents(300)[start : start + 50] for start in range(0, 300, 50)]
    totals: list[int] = []

    async def look() -> None:
        for _ in range(30):
            totals.append((await index.search(SearchRequest(query=EVERYTHING, facets=("labels",)))).total)

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(look)
        for batch in batches:
            await index.apply([Upsert(document) for document in batch])

    assert {total % 50 for total in totals} == {0}
    assert 300 == (await index.search(SearchRequest(query=EVERYTHING))).total


@pytest.mark.anyio
async def test_an_index_can_be_entered_again(index: SqliteIndexer, open_index: Any) -> None:
    """What was applied is there for the next who opens it, also while the first has it open."""
    document = documents(1)[0]
    await index.apply([Upsert(document)])
    async with open_index() as other:
        assert document["id"] in await other.get([document["id"]])
        await other.apply([Delete(document["id"])])

    assert {} == await index.get([document["id"]])


@pytest.mark.anyio
async def test_suggest_and_known(filled: SqliteIndexer) -> None:
    """Terms with a prefix are suggested; words of keys and terms are known."""
    assert "kit fox" in await filled.suggest("kit")
    assert ["cafe"] == await filled.suggest("cafe")
    assert 3 == len(await filled.suggest("", limit=3))
    assert frozenset({"fox", "kit fox", "cafe", "img"}) == await filled.known(["fox", "kit fox", "cafe", "img", "zz"])


@pytest.mark.anyio
async def test_checks_setup_and_policy(open_index: Any) -> None:
    """An index that is well passes every check, without having been entered."""
    index = open_index()

    assert [True, True, True] == [check.ok async for check in index.checks()]
    assert () == await index.setup(apply=True)
    assert index.policy() is None


def test_the_plugin_is_cheap_to_name() -> None:
    """Its spec is read without the database."""
    code = "import sys, imgtag_sqlite; sys.exit('sqlite3' in sys.modules or 'anyio' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})

    assert isinstance(SPEC, PluginSpec)
    assert SqliteIndexer is SPEC.load()
