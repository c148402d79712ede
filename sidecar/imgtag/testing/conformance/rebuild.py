"""What an indexer must do that can be rebuilt (`Rebuilder`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import anyio
import pytest

from imgtag.plugin.indexer import Delete, Indexer, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.testing.conformance.corpus import ATTIC, BUCKET, CORPUS, DOG, KIT, SITE, document
from imgtag.testing.conformance.processes import SecondProcess
from imgtag.types.ref import Scope

Connect: TypeAlias = Callable[[], Indexer]

HERONS = 400
"""Documents of a spare; the search for them is watched while it is swapped."""


class RebuildConformance:
    """Fills a spare that nobody sees, and puts it in the place of the index in use at one moment. Optional.

    Fixtures: as `IndexerConformance`, of which this is a part.
    """

    shares_processes: bool

    @pytest.fixture
    def rebuilder(self, indexer: Any) -> Any:
        """An indexer that can be rebuilt; it is both an `Indexer` and a `Rebuilder`."""
        if not hasattr(indexer, "open_spare"):
            pytest.skip("an indexer without `imgtag.plugin.Rebuilder`")
        return indexer

    async def test_spare_is_empty_and_apart(self, rebuilder: Any) -> None:
        """A spare begins empty, keeps what it is given, and shows nothing of it in the index in use."""
        await _fill(rebuilder)
        first = await rebuilder.index_id()
        assert not await rebuilder.has_spare()
        await rebuilder.check_rebuild()
        assert not await rebuilder.has_spare()
        async with rebuilder.open_spare() as spare:
            assert await spare.get([KIT["id"]]) == {}
            assert await _count(spare) == 0
            await _fill(spare, _heron(1), _heron(2))
            await spare.apply([Delete(_heron(2)["id"])])
            assert await spare.get([_heron(1)["id"], _heron(2)["id"]]) == {_heron(1)["id"]: _heron(1)}
            assert await spare.index_id() not in {first, ""}

        assert await rebuilder.has_spare()
        assert await rebuilder.index_id() == first
        assert await rebuilder.get([_heron(1)["id"], KIT["id"]]) == {KIT["id"]: KIT}
        assert await _total(rebuilder, "heron") == 0
        assert await rebuilder.known(["heron"]) == frozenset()

    async def test_spare_outlives_its_process(self, rebuilder: Any, connect: Connect) -> None:
        """Another instance, after a crash say, finds the spare as it was, with its id."""
        async with rebuilder.open_spare() as spare:
            await _fill(spare, _heron(1))
            first = await spare.index_id()
        async with connect() as other:
            assert await other.has_spare()  # type: ignore[attr-defined]
            async with other.open_spare() as spare:  # type: ignore[attr-defined]
                assert await spare.get([_heron(1)["id"]]) == {_heron(1)["id"]: _heron(1)}
                assert await spare.index_id() == first

    async def test_swap_exchanges_the_two(self, rebuilder: Any, connect: Connect) -> None:
        """Every way of asking answers from the spare afterwards, in each instance; the other index is the spare."""
        await _fill(rebuilder)
        before = await rebuilder.index_id()
        async with connect() as other:
            assert await _total(other, "fox") == 2
            async with rebuilder.open_spare() as spare:
                await _fill(spare, *map(_heron, range(HERONS)))
                new = await spare.index_id()
            await rebuilder.swap()

            for index in (rebuilder, other):
                assert await index.index_id() == new
                assert await _count(index) == HERONS
                assert (await _total(index, "fox"), await _total(index, "heron")) == (0, HERONS)
                assert await index.get([KIT["id"], _heron(1)["id"]]) == {_heron(1)["id"]: _heron(1)}
                assert list(await index.suggest("her")) == ["heron"]
                assert await index.known(["fox", "heron"]) == {"heron"}
            async with rebuilder.open_spare() as spare:
                assert await spare.index_id() == before
                assert await spare.get([KIT["id"], _heron(1)["id"]]) == {KIT["id"]: KIT}
                keys = [each["key"] async for each in spare.scan(SITE, Scope(BUCKET))]
            assert keys == sorted(
                each["key"] for each in CORPUS.values() if (each["site"], each["bucket"]) == (SITE, BUCKET)
            )

    async def test_changes_go_to_the_index_in_use(self, rebuilder: Any, connect: Connect) -> None:
        """What another instance puts, replaces and deletes is in what was in use: before a swap, and after it."""
        newer = {**KIT, "title": "newer"}
        async with connect() as other:
            await _fill(other)
            async with rebuilder.open_spare() as spare:
                await _fill(spare, _heron(1))
            await other.apply([Upsert(newer), Delete(ATTIC["id"])])
            await rebuilder.swap()
            await other.apply([Upsert(_heron(2)), Delete(_heron(1)["id"]), Upsert(DOG)])

            async with rebuilder.open_spare() as spare:
                ids = [KIT["id"], ATTIC["id"], _heron(1)["id"], _heron(2)["id"]]
                assert await spare.get(ids) == {KIT["id"]: newer}
            for index in (rebuilder, other):
                assert await index.get([DOG["id"], *ids]) == {_heron(2)["id"]: _heron(2), DOG["id"]: DOG}
                assert await _count(index) == 2

    async def test_searches_see_one_of_the_two(self, rebuilder: Any, connect: Connect) -> None:
        """While it is swapped and the spare is dropped, each search sees one whole index, and writes are kept."""
        await _fill(rebuilder, KIT, ATTIC)
        async with rebuilder.open_spare() as spare:
            await _fill(spare, *map(_heron, range(HERONS)))
        totals: set[int] = set()
        written: list[str] = []
        done = anyio.Event()

        async def search(index: Indexer) -> None:
            while not done.is_set():
                page = await index.search(
                    SearchRequest(query=parse("label:kit_fox OR label:red_fox OR heron"), limit=1)
                )
                totals.add(page.total)

        async def write(index: Indexer) -> None:
            for number in range(10_000):
                if done.is_set():
                    return
                tiger = document(f"tiger/{number}.jpg", {"tiger": 0.5})
                await index.apply([Upsert(tiger)])
                written.append(tiger["id"])
                await anyio.sleep(0.01)

        async with connect() as reader, connect() as writer, anyio.create_task_group() as tasks:
            tasks.start_soon(search, reader)
            tasks.start_soon(write, writer)
            await anyio.sleep(0.05)
            await rebuilder.swap()
            async with rebuilder.open_spare() as old:
                in_old = set(await old.get(written))
            await rebuilder.drop_spare()
            await anyio.sleep(0.05)
            done.set()

        assert totals <= {2, HERONS}
        assert written
        assert set(written) <= in_old | set(await rebuilder.get(written))

    async def test_drop_spare(self, rebuilder: Any) -> None:
        """A spare that is dropped is gone, half filled or swapped out; a new one is empty. The index in use stays."""
        await _fill(rebuilder)
        await rebuilder.drop_spare()
        async with rebuilder.open_spare() as spare:
            await _fill(spare, _heron(1))
        await rebuilder.drop_spare()
        assert not await rebuilder.has_spare()
        assert await _total(rebuilder, "fox") == 2
        async with rebuilder.open_spare() as spare:
            assert await _count(spare) == 0
            await _fill(spare, _heron(2))
        await rebuilder.swap()
        assert await rebuilder.has_spare()
        await rebuilder.drop_spare()

        assert not await rebuilder.has_spare()
        assert await rebuilder.get([KIT["id"], _heron(2)["id"]]) == {_heron(2)["id"]: _heron(2)}
        async with rebuilder.open_spare() as spare:
            assert await spare.get([KIT["id"], _heron(1)["id"], _heron(2)["id"]]) == {}

    async def test_a_second_process_goes_on(self, connect: Callable[[], Any]) -> None:
        """A process that has the index open through a swap writes to what is in use, and finds it."""
        if not self.shares_processes:
            pytest.skip("an index in memory")

        async def use() -> dict[str, Any]:
            async with connect() as index:
                seen = set()
                for number in range(10_000):
                    tiger = document(f"tiger/{number}.jpg", {"tiger": 0.5})
                    await index.apply([Upsert(tiger)])
                    seen.add(await _total(index, "heron"))
                    if HERONS in seen:
                        break
                return {"seen": sorted(seen), "last": tiger["id"]}

        with SecondProcess(use) as second:
            async with connect() as rebuilder:
                if not hasattr(rebuilder, "open_spare"):
                    pytest.skip("an indexer without `imgtag.plugin.Rebuilder`")
                await rebuilder.setup(apply=True)
                async with rebuilder.open_spare() as spare:
                    await _fill(spare, *map(_heron, range(HERONS)))
                answer: dict[str, Any] = {}

                async def run() -> None:
                    answer.update(await second.run())

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(run)
                    await _until_there(rebuilder, document("tiger/2.jpg", {"tiger": 0.5})["id"])
                    await rebuilder.swap()

                assert answer["seen"] == [0, HERONS]
                there = await rebuilder.get([answer["last"]])
                async with rebuilder.open_spare() as old:
                    assert answer["last"] in {**there, **await old.get([answer["last"]])}


def _heron(number: int) -> Any:
    return document(f"heron/{number:04}.jpg", {"heron": 0.5})


async def _fill(index: Indexer, *documents: Any) -> None:
    """Put these documents, or those of the corpus."""
    await index.apply([Upsert(each) for each in documents or CORPUS.values()])


async def _count(index: Indexer) -> int:
    return await index.count(SITE, Scope(BUCKET))


async def _total(index: Indexer, text: str) -> int:
    return (await index.search(SearchRequest(query=parse(text), limit=1))).total


async def _until_there(index: Indexer, id_: str) -> None:
    with anyio.fail_after(30):
        while not await index.get([id_]):  # noqa: ASYNC110 - another process puts it
            await anyio.sleep(0.02)
