"""What an indexer must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
import pytest

from imgtag.errors import Disposition, ImgtagError
from imgtag.plugin.indexer import Delete, Indexer, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.testing.conformance.corpus import ATTIC, BUCKET, CORPUS, DOG, KIT, LOCKED, SITE, document
from imgtag.testing.conformance.processes import SecondProcess
from imgtag.testing.conformance.pulse import MAX_STILL, Pulse
from imgtag.testing.conformance.rebuild import RebuildConformance
from imgtag.testing.conformance.search import SearchConformance
from imgtag.types.document import Document
from imgtag.types.ref import Scope

Connect: TypeAlias = Callable[[], Indexer]

KEYS = ("A.jpg", "a%b.jpg", "a*.jpg", "a-b.jpg", "a.jpg", "a/b.jpg", "a/b/c.jpg", "a0.jpg", "aXb.jpg", "a_b.jpg")
ALIEN = ("\u00e9.jpg", "\uff5a.jpg", "\U0001f98a.jpg")
ORDERED = (*KEYS, *ALIEN)
"""In the order of their UTF-8 bytes, with what SQL and globs take for wildcards."""
MANY = 1_200
CALLS = 20
"""Calls at once, and documents that a second process puts."""


class IndexerConformance(RebuildConformance, SearchConformance):
    """Keeps documents durably as they are, one per id, and finds them again.

    Fixtures: ``connect`` makes an `Indexer` over the same index, empty at the beginning of a test. ``delete_index``
    (optional) returns a function that deletes the index behind the indexer's back, as a server's administrator could.
    ``shares_processes``: False for an index in the memory of one process; other processes then do not use it.
    """

    shares_processes = True
    """False for an index that lives in the memory of one process, which no real index does."""

    @pytest.fixture
    def delete_index(self) -> Callable[[], None]:
        """To be defined where an index can be deleted from outside."""
        return pytest.skip("define the fixture `delete_index`")

    @pytest.fixture
    def second(self, connect: Connect) -> SecondProcess:
        """Another process that opens the index, looks at it, and changes it."""
        if not self.shares_processes:
            pytest.skip("an index in memory")

        async def use() -> dict[str, Any]:
            async with connect() as indexer:
                found = await indexer.get([KIT["id"], ATTIC["id"]])
                total = (await indexer.search(SearchRequest(query=parse("fox")))).total
                for number in range(CALLS):
                    await indexer.apply([Upsert(document(f"second/{number}.jpg", {"owl": 0.5}))])
                await indexer.apply([Delete(ATTIC["id"])])
                return {"ids": sorted(found), "total": total, "index": await indexer.index_id()}

        return SecondProcess(use)

    # Changing.

    async def test_get_gives_whole_documents(self, filled: Indexer) -> None:
        """A document comes back with every field, equal to what was put in."""
        ids = [document["id"] for document in CORPUS.values()]
        found = await filled.get(ids)

        assert found == {document["id"]: document for document in CORPUS.values()}

    async def test_get_leaves_out_the_absent(self, filled: Indexer) -> None:
        """Ids that no document has are left out; a repeated one does no harm."""
        found = await filled.get(["no-such-id", KIT["id"], KIT["id"]])

        assert found == {KIT["id"]: KIT}
        assert await filled.get([]) == {}

    async def test_get_fields(self, filled: Indexer) -> None:
        """Named fields come alone; what a document lacks is left out."""
        names = ("etag", "code", "labels", "scores", "width")
        found = await filled.get([document["id"] for document in CORPUS.values()], fields=names)

        assert found == {
            document["id"]: {name: value for name, value in document.items() if name in names}
            for document in CORPUS.values()
        }
        assert await filled.get(["no-such-id"], fields=names) == {}

    async def test_outcomes_are_those_of_the_changes(self, indexer: Indexer) -> None:
        """There is one outcome for each change, in their order; without changes there is none."""
        changes: list[Upsert | Delete] = [Upsert(KIT), Delete("no-such-id"), Upsert(ATTIC), Delete(DOG["id"])]
        outcomes = await indexer.apply(changes)

        assert [outcome.id for outcome in outcomes] == [change.id for change in changes]
        assert all(outcome.error is None for outcome in outcomes)
        assert list(await indexer.apply([])) == []

    async def test_delete(self, filled: Indexer) -> None:
        """What is deleted is gone from every way of asking; the others stay."""
        await filled.apply([Delete(KIT["id"])])

        assert await filled.get([KIT["id"], ATTIC["id"]]) == {ATTIC["id"]: ATTIC}
        assert await _found(filled, "fox") == [ATTIC["id"]]
        assert KIT["key"] not in await _scanned(filled, SITE, Scope(BUCKET))
        assert await filled.count(SITE, Scope(BUCKET)) == len(CORPUS) - 2

    async def test_delete_of_the_unknown(self, filled: Indexer) -> None:
        """Deleting what is not there succeeds, also a second time."""
        outcomes = [
            *await filled.apply([Delete("no-such-id"), Delete(KIT["id"])]),
            *await filled.apply([Delete(KIT["id"])]),
        ]

        assert [outcome.error for outcome in outcomes] == [None] * 3

    async def test_replace_leaves_nothing_old(self, filled: Indexer) -> None:
        """A newer document of an id takes the whole place of the older one."""
        newer = document(KIT["key"], {"owl": 0.5})
        await filled.apply([Upsert(newer)])

        assert await filled.get([KIT["id"]]) == {KIT["id"]: newer}
        for text in ("label:kit_fox", "kit_fox>0.5", "animal", "camera:canon*", "width>4000", "near:46.5,7.9,10km"):
            assert KIT["id"] not in await _found(filled, text), text
        assert await filled.count(SITE, Scope(BUCKET)) == len(CORPUS) - 1

    async def test_replace_leaves_no_old_counts(self, filled: Indexer) -> None:
        """What a replaced or deleted document had is not counted any more."""
        await filled.apply([Upsert(document(KIT["key"], {"owl": 0.5})), Delete(ATTIC["id"])])
        page = await filled.search(SearchRequest(query=parse(""), facets=("labels", "camera")))

        assert not {"kit fox", "red fox"} & {label for label, count in page.facets["labels"].items() if count}
        assert page.facets["labels"]["owl"] == 2
        assert not page.facets["camera"].get("Canon EOS R5")

    async def test_bad_document_fails_alone(self, indexer: Indexer) -> None:
        """One document that cannot be indexed has an error that drops it; the rest of its batch is done."""
        bad = {**document("bad.jpg", {"dog": 0.5}), "camera": object()}
        outcomes = await indexer.apply([Upsert(KIT), Upsert(bad), Upsert(ATTIC)])
        errors = [outcome.error for outcome in outcomes]

        assert [outcome.id for outcome in outcomes] == [KIT["id"], bad["id"], ATTIC["id"]]
        assert isinstance(errors[1], ImgtagError)
        assert errors[1].disposition is Disposition.DROP
        assert (errors[0], errors[2]) == (None, None)
        assert await indexer.get([KIT["id"], bad["id"], ATTIC["id"]]) == {KIT["id"]: KIT, ATTIC["id"]: ATTIC}

    async def test_durable(self, filled: Indexer, connect: Connect) -> None:
        """What was confirmed is there for another instance at once, before the first one closes."""
        await filled.apply([Delete(KIT["id"])])
        async with connect() as other:
            found = await other.get([KIT["id"], ATTIC["id"]])

        assert found == {ATTIC["id"]: ATTIC}

    async def test_durable_over_restarts(self, connect: Connect) -> None:
        """What was confirmed is there when the index is opened again."""
        async with connect() as first:
            await first.setup(apply=True)
            await first.apply([Upsert(KIT), Upsert(ATTIC)])
            await first.apply([Delete(KIT["id"])])
        async with connect() as second:
            assert await second.get([KIT["id"], ATTIC["id"]]) == {ATTIC["id"]: ATTIC}
            assert await _found(second, "fox") == [ATTIC["id"]]

    async def test_many(self, indexer: Indexer) -> None:
        """Large batches are taken, given and counted whole."""
        documents = [document(f"many/{number:05}.jpg", {"owl": 0.5}) for number in range(MANY)]
        await indexer.apply([Upsert(each) for each in documents])
        found = await indexer.get([each["id"] for each in documents])
        page = await indexer.search(SearchRequest(query=parse("owl"), limit=1, facets=("labels",)))

        assert len(found) == MANY
        assert page.total == page.facets["labels"]["owl"] == MANY
        assert await _scanned(indexer, SITE, Scope(BUCKET)) == [each["key"] for each in documents]

    # Other calls, other processes, other indexes.

    async def test_calls_overlap(self, filled: Indexer) -> None:
        """Many calls at once, of all kinds, are each answered as if they were alone."""
        documents = [document(f"overlap/{number}.jpg", {"owl": 0.5}) for number in range(CALLS)]
        answers: list[tuple[object, object]] = []

        async def change(number: int) -> None:
            (outcome,) = await filled.apply([Upsert(documents[number])])
            answers.append((outcome.error, None))

        async def ask() -> None:
            answers.append((await filled.get([KIT["id"]]), {KIT["id"]: KIT}))
            answers.append(((await filled.search(SearchRequest(query=parse("fox")))).total, 2))
            answers.append((await _scanned(filled, SITE, Scope("attic")), [ATTIC["key"]]))
            answers.append((await filled.known(["animal"]), {"animal"}))

        async with anyio.create_task_group() as tasks:
            for number in range(CALLS):
                tasks.start_soon(change, number)
                tasks.start_soon(ask)

        assert [answer for answer, _ in answers] == [expected for _, expected in answers]
        assert len(await filled.get([each["id"] for each in documents])) == CALLS

    async def test_the_event_loop_turns(self, connect: Connect) -> None:
        """No call blocks the event loop while it works: neither on a large batch nor on a large answer."""
        documents = [document(f"many/{number:05}.jpg", {"owl": 0.5}) for number in range(CALLS * 10)]
        async with Pulse() as pulse:
            await anyio.sleep(0.1)
            async with connect() as indexer:
                await indexer.setup(apply=True)
                await indexer.apply([Upsert(each) for each in documents])
                await indexer.get([each["id"] for each in documents])
                await indexer.search(SearchRequest(query=parse("owl"), limit=1_000, facets=("labels",)))
                await _scanned(indexer, SITE, Scope(BUCKET))
                await indexer.count(SITE, Scope(BUCKET))
                await indexer.known(["owl"])
                await indexer.suggest("o")
                await indexer.index_id()
                assert [check async for check in indexer.checks()]

        assert pulse.longest <= MAX_STILL, "a call blocks the event loop: run what blocks in a thread"

    async def test_a_second_process_uses_the_index(self, second: SecondProcess, connect: Connect) -> None:
        """While the index is open here, another process opens it, sees what was confirmed, and changes it."""
        with second:
            async with connect() as indexer:
                await indexer.setup(apply=True)
                await indexer.apply([Upsert(KIT), Upsert(ATTIC)])
                seen: dict[str, Any] = {}

                async def run() -> None:
                    seen.update(await second.run())

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    for number in range(CALLS):
                        await indexer.apply([Upsert(document(f"first/{number}.jpg", {"owl": 0.5}))])

                assert seen == {"ids": sorted([KIT["id"], ATTIC["id"]]), "total": 2, "index": await indexer.index_id()}
                assert await indexer.get([KIT["id"], ATTIC["id"]]) == {KIT["id"]: KIT}
                keys = [f"{name}/{number}.jpg" for name in ("first", "second") for number in range(CALLS)]
                assert await _scanned(indexer, SITE, Scope(BUCKET)) == sorted([*keys, KIT["key"]])

    async def test_index_id_stays(self, filled: Indexer, connect: Connect) -> None:
        """It is the same for every instance, and whatever is written."""
        first = await filled.index_id()
        await filled.apply([Delete(document["id"]) for document in CORPUS.values()])
        async with connect() as other:
            assert first == await other.index_id() == await filled.index_id() != ""

    async def test_index_id_tells_a_new_index(self, filled: Indexer, delete_index: Callable[[], None]) -> None:
        """An index that was deleted is empty, is written to again, and has another id."""
        first = await filled.index_id()
        await anyio.to_thread.run_sync(delete_index)
        assert await filled.get([KIT["id"]]) == {}
        assert await filled.index_id() != first
        await filled.apply([Upsert(ATTIC)])

        assert await filled.index_id() not in {first, ""}
        assert await filled.get([KIT["id"], ATTIC["id"]]) == {ATTIC["id"]: ATTIC}

    # Words.

    async def test_known(self, filled: Indexer) -> None:
        """Texts are known that equal a whole term, or a word of a key; nothing else is."""
        known = {"kit fox", "fox", "animal", "creme brulee", "creme", "zoo", "2024", "01", "\U0001f98a"}
        unknown = {"fo", "foxe", "kit fox 01", "wildlife", "canon", "zoo kit", ""}

        assert await filled.known(sorted(known | unknown)) == known
        assert await filled.known(["nosuchword"]) == frozenset()
        assert await filled.known([]) == frozenset()

    async def test_known_follows_changes(self, filled: Indexer) -> None:
        """What only a replaced or deleted document had is not known any more."""
        await filled.apply([Upsert(document(KIT["key"], {"puma": 0.5})), Delete(LOCKED["id"])])

        assert await filled.known(["puma", "animal", "owl", "locked"]) == {"puma", "animal"}

    async def test_suggest(self, indexer: Indexer) -> None:
        """Terms with the prefix come: those of most documents first, then alphabetically, at most the limit."""
        labels = ("red fox", "redstart", "red panda", "red fox", "redshank", "fox red", "red panda", "red fox")
        await indexer.apply([Upsert(document(f"{number}.jpg", {each: 0.5})) for number, each in enumerate(labels)])

        assert list(await indexer.suggest("red")) == ["red", "red fox", "red panda", "redshank", "redstart"]
        assert list(await indexer.suggest("red ")) == ["red fox", "red panda"]
        assert list(await indexer.suggest("red", 2)) == ["red", "red fox"]
        assert list(await indexer.suggest("", 1)) == ["red"]
        assert list(await indexer.suggest("red", 0)) == []
        assert list(await indexer.suggest("ed")) == []

    async def test_suggest_follows_changes(self, indexer: Indexer) -> None:
        """What is deleted is neither suggested nor counted."""
        labels = ("red fox", "red fox", "red panda", "redshank")
        documents = [document(f"{number}.jpg", {each: 0.5}) for number, each in enumerate(labels)]
        await indexer.apply([Upsert(each) for each in documents])
        await indexer.apply([Delete(documents[0]["id"]), Delete(documents[3]["id"])])

        assert list(await indexer.suggest("red ")) == ["red fox", "red panda"]
        assert list(await indexer.suggest("redsh")) == []

    # Scanning.

    async def test_scan_order(self, indexer: Indexer) -> None:
        """Documents come in the order of their keys' UTF-8 bytes, whatever the order in which they were put."""
        await _put(indexer, *reversed(ORDERED))

        assert await _scanned(indexer, SITE, Scope(BUCKET)) == list(ORDERED)

    @pytest.mark.parametrize(
        "prefix", ["", "a", "A", "a%", "a*", "a_", "a/", "a/b", "a/b/", "\u00e9", "\U0001f98a", "z"]
    )
    async def test_scan_prefix(self, indexer: Indexer, prefix: str) -> None:
        """Exactly the keys that begin so are scanned and counted, case and wildcard signs taken as they are."""
        await _put(indexer, *ORDERED)
        within = [key for key in ORDERED if key.startswith(prefix)]

        assert await _scanned(indexer, SITE, Scope(BUCKET, prefix)) == within
        assert await indexer.count(SITE, Scope(BUCKET, prefix)) == len(within)

    async def test_scan_keeps_to_site_and_bucket(self, indexer: Indexer) -> None:
        """Documents of other sites and buckets are not scanned, though their keys are the same."""
        here, away, other = (
            document("a.jpg", {"owl": 0.5}, site=site, bucket=bucket)
            for site, bucket in ((SITE, BUCKET), ("away", BUCKET), (SITE, "attic"))
        )
        await indexer.apply([Upsert(each) for each in (here, away, other)])

        assert [each async for each in indexer.scan(SITE, Scope(BUCKET))] == [here]
        assert [each async for each in indexer.scan("away", Scope(BUCKET))] == [away]
        assert await indexer.count(SITE, Scope("attic")) == 1
        assert await indexer.count("nowhere", Scope(BUCKET)) == 0

    async def test_scan_fields(self, filled: Indexer) -> None:
        """Named fields come alone, with the key; what a document lacks is left out; without names all come."""
        some = [each async for each in filled.scan(SITE, Scope(BUCKET), fields=("etag", "code"))]
        (whole,) = [each async for each in filled.scan(SITE, Scope("attic"))]

        assert all(set(each) in ({"key", "etag"}, {"key", "etag", "code"}) for each in some)
        assert {each["key"]: each.get("code") for each in some}["huge.tif"] == "too_large"
        assert whole == ATTIC

    async def test_scan_while_it_changes(self, indexer: Indexer) -> None:
        """Documents that stay are scanned once each, though others go and come meanwhile."""
        keys = [f"{number:05}.jpg" for number in range(MANY)]
        await _put(indexer, *keys)
        seen = []
        async for each in indexer.scan(SITE, Scope(BUCKET)):
            seen.append(each["key"])
            if len(seen) % 400 == 0:
                await indexer.apply([Delete(document(key)["id"]) for key in keys[:300]])
                await _put(indexer, "zz.jpg")

        assert [key for key in seen if key in keys[300:]] == keys[300:]


async def _put(indexer: Indexer, *keys: str) -> None:
    await indexer.apply([Upsert(document(key, {"owl": 0.5})) for key in keys])


async def _scanned(indexer: Indexer, site: str, scope: Scope) -> list[str]:
    return [found["key"] async for found in indexer.scan(site, scope)]


async def _found(indexer: Indexer, text: str) -> list[str]:
    hits: list[Document] = list((await indexer.search(SearchRequest(query=parse(text), limit=100))).hits)
    return [hit["id"] for hit in hits]
